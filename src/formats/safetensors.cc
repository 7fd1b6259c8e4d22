#include "formats/safetensors.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>

#include "base/units.h"

namespace hadal::formats {
namespace {

constexpr std::int64_t kLengthBytes = 8;
constexpr std::int64_t kMaxHeaderBytes = std::int64_t{512} << 20;

struct TypeName {
  std::string_view text;
  DType type;
};
// The first name of a type is the one that is written. kE2m1x2 has none: files hold FP4 weights as I8.
constexpr std::array<TypeName, 9> kTypeNames = {{{"I64", DType::kI64},
                                                 {"I32", DType::kI32},
                                                 {"F64", DType::kF64},
                                                 {"F32", DType::kF32},
                                                 {"BF16", DType::kBf16},
                                                 {"F8_E8M0", DType::kE8m0},
                                                 {"F8_E4M3", DType::kE4m3},
                                                 {"I8", DType::kI8},
                                                 {"U8", DType::kI8}}};

std::optional<DType> type_named(std::string_view text) {
  for (const TypeName& known : kTypeNames) {
    if (known.text == text) return known.type;
  }
  return std::nullopt;
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {static_cast<const char*>(static_cast<const void*>(bytes.data())), bytes.size()};
}

/// Builds the entries while the library's parser walks the header, without a tree in between: a shard has some 1,600
/// of them. Each event answers "go on"; the first thing out of place is kept in `error`.
class HeaderReader {
 public:
  using Json = nlohmann::json;

  explicit HeaderReader(std::vector<TensorInfo>& tensors) : tensors_(tensors) {}

  Error error;  // its message is empty while all is well

  bool null() { return unexpected("null"); }
  bool boolean(bool /*value*/) { return unexpected("a truth value"); }
  bool number_integer(Json::number_integer_t /*value*/) { return unexpected("a negative number"); }
  bool number_float(Json::number_float_t /*value*/, const std::string& text) { return unexpected(text); }
  bool binary(Json::binary_t& /*value*/) { return unexpected("bytes"); }

  bool number_unsigned(Json::number_unsigned_t value) {
    if (place_ != Place::kShape && place_ != Place::kOffsets) return unexpected("a number");
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
      return unexpected("a huge number");
    if (count_ < numbers_.size()) numbers_[count_] = static_cast<std::int64_t>(value);
    ++count_;
    return true;
  }

  bool string(std::string& value) {
    if (place_ == Place::kMetadata) return true;
    if (place_ != Place::kEntry || field_ != Field::kType) return unexpected("a text");
    const auto type = type_named(value);
    if (!type) {
      return stop(ErrorCode::kUnsupported, fmt::format("tensor '{}' has the element type '{}', which no DeepSeek V4 "
                                                       "checkpoint has",
                                                       name(), value));
    }
    tensors_.back().type = *type;
    return field_done();
  }

  bool start_object(std::size_t /*size*/) {
    if (place_ == Place::kOutside) {
      place_ = Place::kTop;
    } else if (place_ == Place::kTopValue) {
      place_ = metadata_ ? Place::kMetadata : Place::kEntry;
    } else {
      return unexpected("an object");
    }
    return true;
  }

  bool key(std::string& value) {
    switch (place_) {
      case Place::kTop:
        metadata_ = value == "__metadata__";
        if (metadata_ && std::exchange(had_metadata_, true)) return stop_corrupt("has '__metadata__' twice");
        if (!metadata_) {
          tensors_.emplace_back().name = std::move(value);
          seen_ = {};
        }
        place_ = Place::kTopValue;
        return true;
      case Place::kMetadata:
        return true;
      case Place::kEntry:
        field_ = value == "dtype"          ? Field::kType
                 : value == "shape"        ? Field::kShape
                 : value == "data_offsets" ? Field::kOffsets
                                           : Field::kNone;
        if (field_ == Field::kNone)
          return stop_corrupt(fmt::format("tensor '{}' has an unknown field '{}'", name(), value));
        if (seen_[static_cast<std::size_t>(field_)]) {
          return stop_corrupt(fmt::format("tensor '{}' has the field '{}' twice", name(), value));
        }
        return true;
      default:
        return unexpected("a key");
    }
  }

  bool end_object() {
    if (place_ == Place::kTop) {
      place_ = Place::kOutside;
      return true;
    }
    if (place_ == Place::kEntry && seen_ != std::array{true, true, true}) {
      return stop_corrupt(fmt::format("tensor '{}' lacks its dtype, shape or data_offsets", name()));
    }
    place_ = Place::kTop;
    return true;
  }

  bool start_array(std::size_t /*size*/) {
    if (place_ != Place::kEntry || (field_ != Field::kShape && field_ != Field::kOffsets)) return unexpected("a list");
    place_ = field_ == Field::kShape ? Place::kShape : Place::kOffsets;
    count_ = 0;
    return true;
  }

  bool end_array() {
    TensorInfo& info = tensors_.back();
    if (place_ == Place::kShape) {
      if (count_ > Shape::kMaxRank) {
        return stop(ErrorCode::kUnsupported,
                    fmt::format("tensor '{}' has {} dimensions, more than {}", name(), count_, Shape::kMaxRank));
      }
      info.shape = shape_from(numbers_, count_);
    } else {
      if (count_ != 2) return stop_corrupt(fmt::format("tensor '{}' has {} data_offsets instead of 2", name(), count_));
      info.begin = numbers_[0];
      info.end = numbers_[1];
    }
    place_ = Place::kEntry;
    return field_done();
  }

  bool parse_error(std::size_t position, const std::string& /*token*/, const Json::exception& exception) {
    return stop_corrupt(fmt::format("its header is not JSON at byte {} ({})", position, exception.what()));
  }

 private:
  enum class Place : std::uint8_t { kOutside, kTop, kTopValue, kMetadata, kEntry, kShape, kOffsets };
  enum class Field : std::uint8_t { kType, kShape, kOffsets, kNone };

  static Shape shape_from(const std::array<std::int64_t, Shape::kMaxRank>& numbers, std::size_t count) {
    switch (count) {
      case 0:
        return {};
      case 1:
        return {numbers[0]};
      case 2:
        return {numbers[0], numbers[1]};
      case 3:
        return {numbers[0], numbers[1], numbers[2]};
      default:
        return {numbers[0], numbers[1], numbers[2], numbers[3]};
    }
  }

  [[nodiscard]] std::string_view name() const { return tensors_.back().name; }
  bool field_done() {
    seen_[static_cast<std::size_t>(field_)] = true;
    field_ = Field::kNone;
    return true;
  }
  bool stop(ErrorCode code, std::string message) {
    error = {code, std::move(message)};
    return false;
  }
  bool stop_corrupt(std::string message) { return stop(ErrorCode::kCorrupt, std::move(message)); }
  bool unexpected(std::string_view what) {
    if (place_ == Place::kOutside) return stop_corrupt(fmt::format("its header is {} instead of an object", what));
    if (metadata_ || tensors_.empty()) {
      return stop_corrupt(fmt::format("its '__metadata__' holds {}; only texts belong there", what));
    }
    return stop_corrupt(
        fmt::format("the header's entry for tensor '{}' has {} in a place where it does not belong", name(), what));
  }

  std::vector<TensorInfo>& tensors_;
  Place place_ = Place::kOutside;
  Field field_ = Field::kNone;
  bool metadata_ = false;  // the key that was read last
  bool had_metadata_ = false;
  std::array<bool, 3> seen_{};
  std::array<std::int64_t, Shape::kMaxRank> numbers_{};
  std::size_t count_ = 0;
};

/// Bytes of a tensor, or nothing when they do not fit 63 bits.
std::optional<std::int64_t> byte_size(DType type, const Shape& shape) {
  std::int64_t bytes = size_of(type);
  bool overflow = false;
  bool empty = false;
  for (int i = 0; i < shape.rank(); ++i) {
    empty = empty || shape[i] == 0;
    overflow = overflow || __builtin_mul_overflow(bytes, std::max<std::int64_t>(shape[i], 1), &bytes);
  }
  if (overflow) return std::nullopt;
  return empty ? 0 : bytes;
}

tl::unexpected<Error> corrupt(std::string_view where, std::string_view sentence) {
  return fail(ErrorCode::kCorrupt, fmt::format("{}: {}", where, sentence));
}

/// Turns offsets into the data into offsets into the file, and checks each entry by itself.
Status check_entries(std::vector<TensorInfo>& tensors, std::int64_t data_begin, std::string_view where) {
  std::unordered_set<std::string_view> names;
  names.reserve(tensors.size());
  for (TensorInfo& info : tensors) {
    if (!names.insert(info.name).second) return corrupt(where, fmt::format("has the tensor '{}' twice", info.name));
    const auto bytes = byte_size(info.type, info.shape);
    if (!bytes || info.begin > info.end || info.end - info.begin != *bytes) {
      return corrupt(where,
                     fmt::format("tensor '{}' ({} {}) has the data_offsets [{}, {}], which do not fit its type "
                                 "and shape; the file is damaged, fetch it again",
                                 info.name, safetensors_name(info.type), to_string(info.shape), info.begin, info.end));
    }
    if (info.end > std::numeric_limits<std::int64_t>::max() - data_begin) {
      return corrupt(where, fmt::format("tensor '{}' ends beyond any file", info.name));
    }
    info.begin += data_begin;
    info.end += data_begin;
  }
  return {};
}

/// Checks the entries against each other and against the file; gives the bytes of data that no tensor covers.
Result<std::int64_t> check_ranges(const std::vector<TensorInfo>& tensors, std::int64_t data_begin,
                                  std::int64_t file_bytes, std::string_view where) {
  std::vector<const TensorInfo*> order;
  order.reserve(tensors.size());
  for (const TensorInfo& info : tensors) order.push_back(&info);
  std::sort(order.begin(), order.end(), [](const TensorInfo* a, const TensorInfo* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  const TensorInfo* beyond = nullptr;
  std::int64_t count_beyond = 0;
  std::int64_t covered = 0;
  std::int64_t reached = data_begin;
  const TensorInfo* last = nullptr;
  for (const TensorInfo* info : order) {
    if (info->begin < reached && info->begin != info->end) {
      return corrupt(where, fmt::format("tensors '{}' and '{}' overlap; the file is damaged, fetch it again",
                                        last->name, info->name));
    }
    if (info->end > file_bytes) {
      if (beyond == nullptr) beyond = info;
      ++count_beyond;
    }
    covered += info->end - info->begin;
    if (info->end > reached) {
      reached = info->end;
      last = info;
    }
  }
  if (beyond != nullptr) {
    const std::string others =
        count_beyond == 1 ? "" : fmt::format(" ({} more tensors lie beyond it)", count_beyond - 1);
    return corrupt(where, fmt::format("tensor '{}' ends at byte {} but the file has {}{}; the download is incomplete, "
                                      "fetch it again",
                                      beyond->name, with_separators(beyond->end), with_separators(file_bytes), others));
  }
  return file_bytes - data_begin - covered;
}

/// Why eight bytes that promise an impossible header are not a safetensors file's.
std::string not_safetensors(std::string_view start, std::uint64_t header_bytes) {
  if (start.starts_with("version https://git-lfs")) {
    return "is a Git LFS pointer and not the file itself; fetch it with `git lfs pull`";
  }
  if (start.starts_with("<")) return "is a web page and not a safetensors file; fetch it again";
  return fmt::format("is not a safetensors file: its first 8 bytes promise a header of {} bytes", header_bytes);
}

}  // namespace

std::string_view safetensors_name(DType type) {
  for (const TypeName& known : kTypeNames) {
    if (known.type == type) return known.text;
  }
  return "";
}

Result<SafetensorsHeader> parse_safetensors_header(std::span<const std::byte> start, std::int64_t file_bytes,
                                                   std::string_view where) {
  const std::string_view text = text_of(start);
  if (start.size() < static_cast<std::size_t>(kLengthBytes)) {
    return corrupt(where, fmt::format("has only {} bytes, too few for a safetensors file; the download is incomplete, "
                                      "fetch it again",
                                      start.size()));
  }
  std::uint64_t length = 0;
  for (std::size_t i = kLengthBytes; i-- > 0;) length = length << 8 | std::to_integer<std::uint64_t>(start[i]);
  if (length > static_cast<std::uint64_t>(kMaxHeaderBytes)) return corrupt(where, not_safetensors(text, length));
  const auto header_bytes = static_cast<std::int64_t>(length);
  const std::int64_t data_begin = kLengthBytes + header_bytes;
  if (data_begin > file_bytes || static_cast<std::size_t>(data_begin) > start.size()) {
    return corrupt(where,
                   fmt::format("its header ends at byte {} but the file has {}; the download is incomplete, fetch "
                               "it again",
                               with_separators(data_begin), with_separators(file_bytes)));
  }

  SafetensorsHeader header;
  header.header_bytes = header_bytes;
  HeaderReader reader(header.tensors);
  const std::string_view json = text.substr(kLengthBytes, length);
  if (!nlohmann::json::sax_parse(json.begin(), json.end(), &reader)) {
    return fail(reader.error.code, fmt::format("{}: {}", where, reader.error.message));
  }
  HADAL_TRY(check_entries(header.tensors, data_begin, where));
  HADAL_ASSIGN(header.unused_bytes, check_ranges(header.tensors, data_begin, file_bytes, where));
  return header;
}

Result<std::unique_ptr<SafetensorsFile>> SafetensorsFile::open(const std::filesystem::path& path) {
  std::unique_ptr<SafetensorsFile> file(new SafetensorsFile);
  HADAL_ASSIGN(file->file_, MappedFile::open(path));
  HADAL_ASSIGN(file->header_, parse_safetensors_header(file->file_.bytes(), file->file_bytes(), path.string()));
  file->index_.reserve(file->header_.tensors.size());
  for (const TensorInfo& info : file->header_.tensors) file->index_.emplace(info.name, &info);
  return file;
}

HostTensor SafetensorsFile::at(const TensorInfo& info) const {
  return {file_.bytes().data() + info.begin, info.type, info.shape, info.end - info.begin};
}

Result<HostTensor> SafetensorsFile::tensor(std::string_view name) const {
  const auto found = index_.find(name);
  if (found == index_.end()) {
    return fail(ErrorCode::kNotFound, fmt::format("{}: has no tensor '{}'", description(), name));
  }
  return at(*found->second);
}

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> result;
  result.reserve(index_.size());
  for (const TensorInfo& info : header_.tensors) result.push_back(info.name);
  std::sort(result.begin(), result.end());
  return result;
}

}  // namespace hadal::formats
