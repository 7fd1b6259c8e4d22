#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/checksum.h"
#include "base/result.h"
#include "model/state.h"

namespace hadal::engine {

/// What all files of one cache have in common; a file of anything else is refused.
struct PrefixFormat {
  Hash128 model;  // prefix_model_key
  std::int64_t slot_bytes = 0;
  std::int64_t page_bytes = 0;  // 0: there are no pages
  std::int64_t roll_back_tokens = 0;

  [[nodiscard]] static PrefixFormat of(const Hash128& model, const model::StateLayout& layout);
};

/// Which state a file holds. Its pages begin behind the state that it builds on.
struct PrefixPlace {
  Hash128 key;
  Hash128 node;    // behind its last whole page; the key itself where nothing is beyond
  Hash128 parent;  // key of the state that it builds on; zero: none
  std::int64_t length = 0;
  std::int64_t parent_length = 0;  // a multiple of 128

  [[nodiscard]] friend bool operator==(const PrefixPlace&, const PrefixPlace&) = default;
};

/// A state on its way to a file. The state's bytes are shared with the memory tier, which does not wait for the disk.
struct PrefixRecord {
  PrefixPlace place;
  std::shared_ptr<const model::StateBytes> state;
  std::vector<std::byte> pages;  // those since the parent's length, in order
};

inline constexpr std::int64_t kPrefixHeaderBytes = 256;

/// The beginning of a file, checked: docs/formats.md.
struct PrefixHeader {
  PrefixPlace place;
  std::int64_t can_roll_back = 0;
  std::uint64_t table_checksum = 0, slot_checksum = 0, tail_checksum = 0;
  std::int64_t first_page = 0, pages = 0;

  /// Without checksums.
  [[nodiscard]] static PrefixHeader of(const PrefixPlace& place, const PrefixFormat& format);
  /// Bytes of the whole file.
  [[nodiscard]] std::int64_t file_bytes(const PrefixFormat& format) const;
  [[nodiscard]] std::int64_t tail_bytes(const PrefixFormat& format) const;
};

/// Reads `out.size()` bytes from `offset` on. Errors: kCorrupt beyond the end.
using ReadAt = std::function<Status(std::int64_t offset, std::span<std::byte> out)>;

/// A file of one state; its bytes may be anything. What is returned has passed its checksum.
class PrefixFile {
 public:
  /// Reads and checks the beginning alone. `name` is for messages. Errors: kCorrupt, of `read`.
  [[nodiscard]] static Result<PrefixHeader> read_header(const ReadAt& read, std::int64_t size,
                                                        const PrefixFormat& format, const std::string& name);
  /// Reads and checks the header and the pages' checksums. Errors: as read_header.
  [[nodiscard]] static Result<PrefixFile> open(ReadAt read, std::int64_t size, const PrefixFormat& format,
                                               std::string name);

  [[nodiscard]] const PrefixHeader& header() const { return header_; }
  /// Errors: kCorrupt, of `read`.
  [[nodiscard]] Result<model::StateBytes> read_state() const;
  /// Fills `out` with the pages from number `first` of the sequence to the last one. Errors: kCorrupt, of `read`.
  [[nodiscard]] Status read_pages(std::int64_t first, std::span<std::byte> out) const;

 private:
  PrefixFile(ReadAt read, const PrefixFormat& format, std::string name)
      : read_(std::move(read)), format_(format), name_(std::move(name)) {}
  [[nodiscard]] Status read_section(std::int64_t offset, std::span<std::byte> out, std::uint64_t checksum) const;
  [[nodiscard]] std::int64_t state_offset() const;

  ReadAt read_;
  PrefixFormat format_;
  std::string name_;
  PrefixHeader header_;
  std::vector<std::uint64_t> page_checksums_;
};

/// Writes `record` to `path` through a file beside it, which is synced and renamed; on failure nothing is left of it.
/// Errors: kResourceExhausted (the disk is full), kUnavailable.
[[nodiscard]] Status write_prefix_file(const std::filesystem::path& path, const PrefixRecord& record,
                                       const PrefixFormat& format);

}  // namespace hadal::engine
