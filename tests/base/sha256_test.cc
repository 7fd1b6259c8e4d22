#include "base/sha256.h"

#include <gtest/gtest.h>

namespace hadal {
namespace {

// Examples of FIPS 180-4 and its validation texts.
TEST(Sha256, GivesThePublishedDigests) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_hex(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

// The padding changes at 55, 56 and 64 bytes; each length must give a digest of its own.
TEST(Sha256, TellsLengthsNearABlockApart) {
  std::string previous;
  for (std::size_t length = 50; length < 70; ++length) {
    const std::string digest = sha256_hex(std::string(length, '\0'));
    EXPECT_NE(digest, previous);
    previous = digest;
  }
  EXPECT_EQ(sha256_hex(std::string(64, '\0')), "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b");
}

}  // namespace
}  // namespace hadal
