// The file of one kept state: what was written is read; a file of which any byte was changed, or that was cut off
// anywhere, is refused with a reason.

#include "engine/prefix_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "base/input_file.h"
#include "engine/made_up_states.h"
#include "testing/temp_directory.h"

namespace hadal::engine {
namespace {

using ::testing::HasSubstr;
using testing::MadeUpStates;

/// What a cache does with a file: header, state, pages. The name of the first part that was refused; empty: none.
std::string read_all(const std::string& file, const PrefixFormat& format, std::string* message = nullptr) {
  const ReadAt read = [&file](std::int64_t offset, std::span<std::byte> out) -> Status {
    if (static_cast<std::size_t>(offset) + out.size() > file.size()) return fail(ErrorCode::kCorrupt, "too short");
    std::memcpy(out.data(), file.data() + offset, out.size());
    return {};
  };
  const auto size = static_cast<std::int64_t>(file.size());
  const auto note = [&](const Error& error, const char* part) {
    EXPECT_EQ(error.code, ErrorCode::kCorrupt);
    if (message != nullptr) *message = error.message;
    return std::string(part);
  };
  const auto header = PrefixFile::read_header(read, size, format, "file");
  if (!header) return note(header.error(), "header");
  const auto opened = PrefixFile::open(read, size, format, "file");
  if (!opened) return note(opened.error(), "table");
  const auto state = opened->read_state();
  if (!state) return note(state.error(), "state");
  std::vector<std::byte> pages(static_cast<std::size_t>(header->pages * format.page_bytes));
  const Status status = opened->read_pages(header->first_page, pages);
  if (!status) return note(status.error(), "pages");
  return "";
}

class PrefixFileTest : public ::testing::Test {
 protected:
  std::string written(const PrefixRecord& record) {
    EXPECT_TRUE(write_prefix_file(temp_ / "file", record, states_.format()));
    return testing_support::read_text(temp_ / "file");
  }
  /// Three pages on two others, and an unfinished one.
  PrefixRecord record() {
    const auto keys = MadeUpStates::keys(tokens_);
    auto made = states_.record({.key = keys.entry(keys.length()),
                                .node = keys.node(keys.pages()),
                                .parent = keys.node(2),
                                .length = keys.length(),
                                .parent_length = 256},
                               keys);
    return made;
  }

  const testing_support::TempDirectory temp_;
  const MadeUpStates states_;
  const std::vector<std::int64_t> tokens_ = MadeUpStates::tokens(5 * 128 + 77);
};

TEST_F(PrefixFileTest, HasTheBytesThatTheFormatSays) {
  const PrefixRecord made = record();
  const std::string file = written(made);
  ASSERT_EQ(file.size(), 256U + 3 * 8 + 448 + 192 + 3 * 192);
  const auto number = [&](std::size_t offset) {
    std::uint64_t value = 0;
    std::memcpy(&value, file.data() + offset, 8);
    return value;
  };
  EXPECT_EQ(file.substr(0, 8), "HADALPFX");
  EXPECT_EQ(number(8), 1U | std::uint64_t{256} << 32);
  EXPECT_EQ(number(16), 11U);
  EXPECT_EQ(number(24), 22U);
  EXPECT_EQ(number(32), made.place.key.low);
  EXPECT_EQ(number(40), made.place.key.high);
  EXPECT_EQ(number(48), made.place.node.low);
  EXPECT_EQ(number(64), made.place.parent.low);
  EXPECT_EQ(number(80), 717U);
  EXPECT_EQ(number(88), 256U);
  EXPECT_EQ(number(96), static_cast<std::uint64_t>(made.state->can_roll_back));
  EXPECT_EQ(number(104), 448U);
  EXPECT_EQ(number(112), 192U);
  const auto bytes = std::as_bytes(std::span(file));
  EXPECT_EQ(number(120), checksum(bytes.subspan(256, 24)));
  EXPECT_EQ(number(128), checksum(bytes.subspan(280, 448)));
  EXPECT_EQ(number(136), checksum(bytes.subspan(728, 192)));
  EXPECT_EQ(number(248), checksum(bytes.first(248)));
  for (std::size_t page = 0; page < 3; ++page) {
    EXPECT_EQ(number(256 + 8 * page), checksum(bytes.subspan(920 + 192 * page, 192)));
  }
  EXPECT_EQ(std::memcmp(file.data() + 280, made.state->slot.data(), 448), 0);
  EXPECT_EQ(std::memcmp(file.data() + 728, made.state->tail.data(), 192), 0);
  EXPECT_EQ(std::memcmp(file.data() + 920, made.pages.data(), made.pages.size()), 0);
}

TEST_F(PrefixFileTest, IsReadAsItWasWritten) {
  for (const std::int64_t length : {1, 127, 128, 129, 256, 717}) {
    for (const std::int64_t page_bytes : {0, 192}) {
      const MadeUpStates states(448, page_bytes);
      const auto keys = MadeUpStates::keys(std::span(tokens_).first(static_cast<std::size_t>(length)));
      const PrefixRecord made = states.record(keys);
      ASSERT_TRUE(write_prefix_file(temp_ / "file", made, states.format()));
      const auto input = InputFile::open(temp_ / "file");
      ASSERT_TRUE(input);
      const auto file =
          PrefixFile::open([&](std::int64_t offset, std::span<std::byte> out) { return input->read(offset, out); },
                           input->size(), states.format(), "file");
      ASSERT_TRUE(file) << file.error().message;
      EXPECT_EQ(file->header().place, made.place);
      const auto state = file->read_state();
      ASSERT_TRUE(state) << state.error().message;
      EXPECT_EQ(state->length, length);
      EXPECT_EQ(state->can_roll_back, made.state->can_roll_back);
      EXPECT_EQ(state->slot, made.state->slot);
      EXPECT_EQ(state->tail, made.state->tail);
      for (std::int64_t first = 0; first <= states.pages(length); ++first) {
        std::vector<std::byte> pages(made.pages.size() - static_cast<std::size_t>(first * page_bytes));
        ASSERT_TRUE(file->read_pages(first, pages));
        EXPECT_EQ(pages, states.page_bytes(keys, first));
      }
    }
  }
}

TEST_F(PrefixFileTest, RefusesEveryChangedByte) {
  const std::string file = written(record());
  ASSERT_EQ(read_all(file, states_.format()), "");
  for (std::size_t at = 0; at < file.size(); ++at) {
    for (const int bit : {0, 3, 7}) {
      std::string changed = file;
      changed[at] = static_cast<char>(changed[at] ^ (1 << bit));
      const char* part = at < 256 ? "header" : at < 280 ? "table" : at < 920 ? "state" : "pages";
      ASSERT_EQ(read_all(changed, states_.format()), part) << "byte " << at << ", bit " << bit;
    }
  }
}

TEST_F(PrefixFileTest, RefusesWhatIsCutOffOrTooLong) {
  const std::string file = written(record());
  for (std::size_t size = 0; size < file.size(); ++size) {
    ASSERT_EQ(read_all(file.substr(0, size), states_.format()), "header") << "size " << size;
  }
  EXPECT_EQ(read_all(file + '\0', states_.format()), "header");
}

// A header with a right checksum may still say anything.
TEST_F(PrefixFileTest, RefusesImpossibleHeaders) {
  const std::string file = written(record());
  const auto refused = [&](std::size_t offset, std::uint64_t value, std::size_t bytes = 8) {
    std::string changed = file;
    std::memcpy(changed.data() + offset, &value, bytes);
    const std::uint64_t sum = checksum(std::as_bytes(std::span(changed)).first(248));
    std::memcpy(changed.data() + 248, &sum, 8);
    std::string message = "nothing was refused";
    EXPECT_EQ(read_all(changed, states_.format(), &message), "header") << "offset " << offset;
    return message;
  };
  constexpr std::uint64_t kMinusOne = ~std::uint64_t{0};
  constexpr std::uint64_t kHuge = std::uint64_t{1} << 62;
  EXPECT_THAT(refused(8, 2, 4), HasSubstr("version"));
  EXPECT_THAT(refused(12, 128, 4), HasSubstr("does not know"));
  EXPECT_THAT(refused(16, 12), HasSubstr("another model"));
  for (const std::uint64_t value : {std::uint64_t{0}, kMinusOne, kHuge, (std::uint64_t{1} << 32) + 77}) {
    EXPECT_THAT(refused(80, value), HasSubstr("length is impossible"));
  }
  for (const std::uint64_t value : {std::uint64_t{255}, std::uint64_t{768}, kMinusOne - 127, kHuge}) {
    EXPECT_THAT(refused(88, value), HasSubstr("length of the state before"));
  }
  EXPECT_THAT(refused(80, 717 + 128), HasSubstr("bytes where its header promises"));
  EXPECT_THAT(refused(80, 640), HasSubstr("keys do not belong"));
  EXPECT_THAT(refused(88, 0), HasSubstr("not both"));
  EXPECT_THAT(refused(96, 9), HasSubstr("taken back"));
  EXPECT_THAT(refused(96, kMinusOne), HasSubstr("taken back"));
  for (const std::size_t offset : {std::size_t{104}, std::size_t{112}}) {
    for (const std::uint64_t value : {std::uint64_t{0}, std::uint64_t{64}, kMinusOne, kHuge}) {
      EXPECT_THAT(refused(offset, value), HasSubstr("another size"));
    }
  }
  EXPECT_THAT(refused(240, 1), HasSubstr("does not know"));
}

}  // namespace
}  // namespace hadal::engine
