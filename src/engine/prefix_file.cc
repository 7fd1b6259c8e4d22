#include "engine/prefix_file.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <system_error>
#include <utility>

#include "base/atomic_file.h"
#include "base/check.h"
#include "ops/step_layout.h"

namespace hadal::engine {
namespace {

static_assert(std::endian::native == std::endian::little, "the file's numbers are little-endian");

constexpr std::array<char, 8> kMagic{'H', 'A', 'D', 'A', 'L', 'P', 'F', 'X'};
constexpr std::uint32_t kVersion = 1;
// No sequence is longer; and below it no sum of sizes leaves 64 bits.
constexpr std::int64_t kMostTokens = std::int64_t{1} << 32;

/// The file's first bytes as they lie there.
struct RawHeader {
  std::array<char, 8> magic = kMagic;
  std::uint32_t version = kVersion;
  std::uint32_t header_bytes = kPrefixHeaderBytes;
  Hash128 model{}, key{}, node{}, parent{};
  std::int64_t length = 0, parent_length = 0, can_roll_back = 0;
  std::int64_t slot_bytes = 0, page_bytes = 0;
  std::uint64_t table_checksum = 0, slot_checksum = 0, tail_checksum = 0;
  std::array<std::uint64_t, 13> reserved{};
  std::uint64_t checksum = 0;  // of all before
};
static_assert(sizeof(RawHeader) == kPrefixHeaderBytes);
using HeaderBytes = std::array<std::byte, kPrefixHeaderBytes>;

std::uint64_t own_checksum(const RawHeader& header) {
  return checksum(std::as_bytes(std::span(&header, 1)).first(kPrefixHeaderBytes - sizeof(std::uint64_t)));
}

std::int64_t pages_before(std::int64_t tokens, const PrefixFormat& format) {
  return format.page_bytes > 0 ? tokens / ops::kPageTokens : 0;
}

tl::unexpected<Error> corrupt(const std::string& name, std::string_view what) {
  return fail(ErrorCode::kCorrupt, fmt::format("{}: {}; the file is of no use any more", name, what));
}

/// What is wrong with the header's values; empty: nothing.
std::string_view problem(const RawHeader& raw, const PrefixFormat& format) {
  if (raw.magic != kMagic) return "is no file of a prefix cache";
  if (raw.version != kVersion) return "has another version of the format";
  if (raw.checksum != own_checksum(raw)) return "the header's checksum is wrong";
  if (raw.header_bytes != kPrefixHeaderBytes || raw.reserved != decltype(raw.reserved){})
    return "the header has parts that this version does not know";
  if (raw.model != format.model) return "belongs to another model or another way of computing it";
  if (raw.slot_bytes != format.slot_bytes || raw.page_bytes != format.page_bytes)
    return "has states of another size than the model's";
  if (raw.length <= 0 || raw.length > kMostTokens) return "the length is impossible";
  if (raw.parent_length < 0 || raw.parent_length >= raw.length || raw.parent_length % ops::kPageTokens != 0)
    return "the length of the state before is impossible";
  if ((raw.parent == Hash128{}) != (raw.parent_length == 0)) return "the state before has a key or a length, not both";
  if ((raw.key == raw.node) != (raw.length % ops::kPageTokens == 0)) return "the keys do not belong to the length";
  if (raw.can_roll_back < 0 || raw.can_roll_back > std::min(raw.length, format.roll_back_tokens))
    return "the tokens that can be taken back are too many";
  return {};
}

/// `record` with its checksums, and those of its pages.
RawHeader raw_header(const PrefixRecord& record, const PrefixFormat& format, std::vector<std::uint64_t>& table) {
  const std::span<const std::byte> pages(record.pages);
  const auto page_bytes = static_cast<std::size_t>(format.page_bytes);
  for (std::size_t at = 0; at < pages.size(); at += page_bytes)
    table.push_back(checksum(pages.subspan(at, page_bytes)));
  RawHeader raw{.model = format.model,
                .key = record.place.key,
                .node = record.place.node,
                .parent = record.place.parent,
                .length = record.place.length,
                .parent_length = record.place.parent_length,
                .can_roll_back = record.state->can_roll_back,
                .slot_bytes = format.slot_bytes,
                .page_bytes = format.page_bytes,
                .table_checksum = checksum(std::as_bytes(std::span(table))),
                .slot_checksum = checksum(record.state->slot),
                .tail_checksum = checksum(record.state->tail)};
  raw.checksum = own_checksum(raw);
  return raw;
}

}  // namespace

PrefixFormat PrefixFormat::of(const Hash128& model, const model::StateLayout& layout) {
  return {.model = model,
          .slot_bytes = layout.slot_bytes,
          .page_bytes = layout.page_bytes,
          .roll_back_tokens = layout.roll_back_tokens};
}

PrefixHeader PrefixHeader::of(const PrefixPlace& place, const PrefixFormat& format) {
  PrefixHeader header{.place = place};
  header.first_page = pages_before(place.parent_length, format);
  header.pages = pages_before(place.length, format) - header.first_page;
  return header;
}

std::int64_t PrefixHeader::tail_bytes(const PrefixFormat& format) const {
  return place.length % ops::kPageTokens == 0 ? 0 : format.page_bytes;
}

std::int64_t PrefixHeader::file_bytes(const PrefixFormat& format) const {
  return kPrefixHeaderBytes + pages * static_cast<std::int64_t>(sizeof(std::uint64_t)) + format.slot_bytes +
         tail_bytes(format) + pages * format.page_bytes;
}

Result<PrefixHeader> PrefixFile::read_header(const ReadAt& read, std::int64_t size, const PrefixFormat& format,
                                             const std::string& name) {
  HeaderBytes bytes;
  HADAL_TRY(read(0, bytes));
  const auto raw = std::bit_cast<RawHeader>(bytes);
  if (const std::string_view wrong = problem(raw, format); !wrong.empty()) return corrupt(name, wrong);
  PrefixHeader header = PrefixHeader::of({.key = raw.key,
                                          .node = raw.node,
                                          .parent = raw.parent,
                                          .length = raw.length,
                                          .parent_length = raw.parent_length},
                                         format);
  header.can_roll_back = raw.can_roll_back;
  header.table_checksum = raw.table_checksum;
  header.slot_checksum = raw.slot_checksum;
  header.tail_checksum = raw.tail_checksum;
  if (size != header.file_bytes(format)) {
    return corrupt(name, fmt::format("has {} bytes where its header promises {}", size, header.file_bytes(format)));
  }
  return header;
}

Result<PrefixFile> PrefixFile::open(ReadAt read, std::int64_t size, const PrefixFormat& format, std::string name) {
  PrefixFile file(std::move(read), format, std::move(name));
  HADAL_ASSIGN(file.header_, read_header(file.read_, size, format, file.name_));
  file.page_checksums_.resize(static_cast<std::size_t>(file.header_.pages));
  HADAL_TRY(file.read_section(kPrefixHeaderBytes, std::as_writable_bytes(std::span(file.page_checksums_)),
                              file.header_.table_checksum));
  return file;
}

Status PrefixFile::read_section(std::int64_t offset, std::span<std::byte> out, std::uint64_t expected) const {
  HADAL_TRY(read_(offset, out));
  if (checksum(out) == expected) return {};
  return corrupt(name_, fmt::format("the {} bytes from {} on do not have their checksum", out.size(), offset));
}

std::int64_t PrefixFile::state_offset() const {
  return kPrefixHeaderBytes + header_.pages * static_cast<std::int64_t>(sizeof(std::uint64_t));
}

Result<model::StateBytes> PrefixFile::read_state() const {
  model::StateBytes state{
      .length = header_.place.length, .can_roll_back = header_.can_roll_back, .slot = {}, .tail = {}};
  state.slot.resize(static_cast<std::size_t>(format_.slot_bytes));
  state.tail.resize(static_cast<std::size_t>(header_.tail_bytes(format_)));
  HADAL_TRY(read_section(state_offset(), state.slot, header_.slot_checksum));
  HADAL_TRY(read_section(state_offset() + format_.slot_bytes, state.tail, header_.tail_checksum));
  return state;
}

Status PrefixFile::read_pages(std::int64_t first, std::span<std::byte> out) const {
  const std::int64_t end = header_.first_page + header_.pages;
  const auto page_bytes = static_cast<std::size_t>(format_.page_bytes);
  HADAL_CHECK(
      first >= header_.first_page && first <= end && out.size() == static_cast<std::size_t>(end - first) * page_bytes,
      "pages are read that the file holds");
  for (std::int64_t page = first; page < end; ++page) {
    const std::int64_t index = page - header_.first_page;
    const std::int64_t offset =
        state_offset() + format_.slot_bytes + header_.tail_bytes(format_) + index * format_.page_bytes;
    HADAL_TRY(read_section(offset, out.first(page_bytes), page_checksums_[static_cast<std::size_t>(index)]));
    out = out.subspan(page_bytes);
  }
  return {};
}

Status write_prefix_file(const std::filesystem::path& path, const PrefixRecord& record, const PrefixFormat& format) {
  std::vector<std::uint64_t> table;
  const RawHeader header = raw_header(record, format, table);
  HADAL_ASSIGN(AtomicFile file, AtomicFile::create(path, 0600));
  HADAL_TRY(file.write(std::as_bytes(std::span(&header, 1))));
  HADAL_TRY(file.write(std::as_bytes(std::span(table))));
  HADAL_TRY(file.write(record.state->slot));
  HADAL_TRY(file.write(record.state->tail));
  HADAL_TRY(file.write(record.pages));
  const Status published = file.publish();
  if (!published) {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);  // it may have had its name already
  }
  return published;
}

}  // namespace hadal::engine
