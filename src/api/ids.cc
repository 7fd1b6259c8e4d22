#include "api/ids.h"

#include <fmt/core.h>

#include <span>
#include <string_view>

#include "base/checksum.h"

namespace hadal::api {
namespace {

std::string hex32(const RandomBits& random) {
  const std::uint64_t high = random();
  return fmt::format("{:016x}{:016x}", high, random());
}

std::string uuid(const RandomBits& random) {
  std::string digits = hex32(random);
  digits[12] = '4';                                                                         // version
  digits[16] = "89ab"[(digits[16] >= 'a' ? digits[16] - 'a' + 10 : digits[16] - '0') & 3];  // variant
  for (const std::size_t at : {20U, 16U, 12U, 8U}) digits.insert(at, 1, '-');
  return digits;
}

/// 24 letters or digits, each equally likely.
std::string letters24(const RandomBits& random) {
  constexpr std::string_view kAlphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  std::string out;
  while (out.size() < 24) {
    std::uint64_t bits = random();
    for (int i = 0; i < 10 && out.size() < 24; ++i, bits >>= 6) {
      if ((bits & 63) < kAlphabet.size()) out += kAlphabet[bits & 63];
    }
  }
  return out;
}

}  // namespace

std::string chat_id(Family family, const RandomBits& random) {
  return family == Family::kDeepSeek ? uuid(random) : "chatcmpl-" + hex32(random);
}

std::string completion_id(Family family, const RandomBits& random) {
  return family == Family::kDeepSeek ? uuid(random) : "cmpl-" + hex32(random);
}

std::string call_id(Family family, int index, const RandomBits& random) {
  const std::string head = family == Family::kDeepSeek ? fmt::format("call_{:02}_", index) : std::string("call_");
  return head + letters24(random);
}

std::string fingerprint(std::string_view parts) {
  return "fp_" + fmt::format("{:016x}", hash128(std::as_bytes(std::span(parts))).low).substr(0, 10);
}

std::string request_id(const RandomBits& random) { return "req_" + letters24(random); }

}  // namespace hadal::api
