#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "base/check.h"
#include "engine/prefix_file.h"
#include "ops/step_layout.h"

namespace {

using hadal::checksum;

constexpr hadal::engine::PrefixFormat kFormat{
    .model = {.low = 11, .high = 22}, .slot_bytes = 64, .page_bytes = 32, .roll_back_tokens = 8};

/// Puts the right checksums into a file, as far as it has room for them, so that what they guard is reached.
void seal(std::vector<std::byte>& file) {
  if (file.size() < hadal::engine::kPrefixHeaderBytes) return;
  const auto set = [&](std::size_t at, std::uint64_t value) { std::memcpy(file.data() + at, &value, 8); };
  const std::span<const std::byte> bytes(file);
  std::int64_t length = 0;
  std::int64_t parent_length = 0;
  std::memcpy(&length, file.data() + 80, 8);
  std::memcpy(&parent_length, file.data() + 88, 8);
  const std::int64_t pages = length / 128 - parent_length / 128;
  const auto table = static_cast<std::size_t>(pages) * 8;
  const std::size_t tail = length % 128 == 0 ? 0 : 32;
  if (pages >= 0 && pages <= 64 && file.size() == 256 + table + 64 + tail + static_cast<std::size_t>(pages) * 32) {
    const std::size_t state = 256 + table;
    for (std::size_t page = 0; page < static_cast<std::size_t>(pages); ++page) {
      set(256 + 8 * page, checksum(bytes.subspan(state + 64 + tail + 32 * page, 32)));
    }
    set(120, checksum(bytes.subspan(256, table)));
    set(128, checksum(bytes.subspan(state, 64)));
    set(136, checksum(bytes.subspan(state + 64, tail)));
  }
  set(248, checksum(bytes.first(248)));
}

void read(const std::vector<std::byte>& file, bool sealed) {
  const auto size = static_cast<std::int64_t>(file.size());
  const auto read_at = [&](std::int64_t offset, std::span<std::byte> out) -> hadal::Status {
    HADAL_CHECK(offset >= 0 && out.size() <= file.size() + hadal::engine::kPrefixHeaderBytes, "a read is of this file");
    if (static_cast<std::size_t>(offset) + out.size() > file.size()) {
      HADAL_CHECK(offset == 0, "only the header is read before the size is checked");
      return hadal::fail(hadal::ErrorCode::kCorrupt, "too short");
    }
    if (!out.empty()) std::memcpy(out.data(), file.data() + offset, out.size());
    return {};
  };
  const auto opened = hadal::engine::PrefixFile::open(read_at, size, kFormat, "file");
  if (!opened) {
    HADAL_CHECK(!opened.error().message.empty(), "an error has a message");
    return;
  }
  const hadal::engine::PrefixHeader& header = opened->header();
  HADAL_CHECK(header.place.length > 0 && header.place.parent_length < header.place.length, "a state has a length");
  HADAL_CHECK(header.first_page + header.pages == header.place.length / hadal::ops::kPageTokens,
              "the pages reach to the end");
  HADAL_CHECK(header.file_bytes(kFormat) == size, "every byte is accounted for");
  const auto state = opened->read_state();
  std::vector<std::byte> pages(static_cast<std::size_t>(header.pages * kFormat.page_bytes));
  const hadal::Status read_pages = opened->read_pages(header.first_page, pages);
  HADAL_CHECK(!sealed || (state && read_pages), "what has its checksums is read");
  if (state) {
    HADAL_CHECK(std::memcmp(state->slot.data(), file.data() + 256 + header.pages * 8, 64) == 0, "the slot is read");
  }
  if (read_pages && !pages.empty()) {
    HADAL_CHECK(std::memcmp(pages.data(), file.data() + file.size() - pages.size(), pages.size()) == 0,
                "the pages are read");
  }
}

}  // namespace

/// A file of the prefix cache: as it is, and with right checksums, any bytes are read or refused with a reason, and
/// nothing outside the file is touched.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  std::vector<std::byte> file(bytes.begin(), bytes.end());
  read(file, false);
  seal(file);
  read(file, true);
  return 0;
}
