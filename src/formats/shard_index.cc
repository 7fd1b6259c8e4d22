#include "formats/shard_index.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <unordered_set>

namespace hadal::formats {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{512} << 20;
constexpr std::int64_t kMaxDepth = 32;

bool stays_inside(const std::string& file) {
  const std::filesystem::path path(file);
  if (file.empty() || file.find('\0') != std::string::npos || path.is_absolute()) return false;
  return std::none_of(path.begin(), path.end(), [](const auto& part) { return part == ".." || part == "."; }) &&
         path.has_filename();
}

/// Collects the weight map while the library's parser walks the file: 72 thousand names need no tree.
class IndexReader {
 public:
  using Json = nlohmann::json;

  explicit IndexReader(ShardIndex& index) : index_(index) {}

  std::string error;
  bool had_map = false;

  bool null() { return value("null"); }
  bool boolean(bool /*value*/) { return value("a truth value"); }
  bool number_integer(Json::number_integer_t /*value*/) { return value("a number"); }
  bool number_float(Json::number_float_t /*value*/, const std::string& /*text*/) { return value("a number"); }
  bool binary(Json::binary_t& /*value*/) { return value("bytes"); }
  bool number_unsigned(Json::number_unsigned_t number) {
    if (in_metadata_ && depth_ == 2 && key_ == "total_size" &&
        number <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      index_.total_size = static_cast<std::int64_t>(number);
    }
    return value("a number");
  }
  bool string(std::string& text) {
    if (!in_map_) return value("a text");
    if (depth_ != 2) return stop("has a text in the wrong place");
    const auto found = files_.find(text);
    if (found != files_.end()) {
      index_.tensors.back().file = found->second;
      return true;
    }
    if (!stays_inside(text)) {
      return stop(fmt::format("names the file '{}' for tensor '{}': shards must lie in the checkpoint's directory",
                              text, index_.tensors.back().name));
    }
    const auto number = static_cast<std::uint32_t>(index_.files.size());
    index_.files.push_back(text);
    files_.emplace(text, number);
    index_.tensors.back().file = number;
    return true;
  }
  bool key(std::string& text) {
    if (depth_ == 1) {
      in_map_ = text == "weight_map";
      in_metadata_ = text == "metadata";
      if (in_map_ && std::exchange(had_map, true)) return stop("has 'weight_map' twice");
    } else if (in_map_) {
      index_.tensors.push_back({std::move(text), 0});
      return true;
    }
    key_ = text;
    return true;
  }
  bool start_object(std::size_t /*size*/) {
    if (in_map_ && depth_ != 1) return value("an object");
    return deeper();
  }
  bool start_array(std::size_t /*size*/) {
    if (depth_ == 0) return stop("is a list instead of an object");
    if (in_map_) return value("a list");
    return deeper();
  }
  bool end_object() { return shallower(); }
  bool end_array() { return shallower(); }
  bool parse_error(std::size_t position, const std::string& /*token*/, const Json::exception& exception) {
    return stop(fmt::format("is not JSON at byte {} ({})", position, exception.what()));
  }

 private:
  bool stop(std::string message) {
    error = std::move(message);
    return false;
  }
  bool value(std::string_view what) {
    if (depth_ == 0) return stop(fmt::format("is {} instead of an object", what));
    if (!in_map_) return true;
    if (depth_ == 1) return stop(fmt::format("its 'weight_map' is {} instead of an object", what));
    return stop(fmt::format("names {} instead of a file for tensor '{}'", what, index_.tensors.back().name));
  }
  bool deeper() {
    ++depth_;
    return depth_ <= kMaxDepth || stop("is nested too deeply");
  }
  bool shallower() {
    if (--depth_ == 1) in_map_ = in_metadata_ = false;
    return true;
  }

  ShardIndex& index_;
  std::unordered_map<std::string, std::uint32_t> files_;
  std::string key_;
  std::int64_t depth_ = 0;
  bool in_map_ = false;
  bool in_metadata_ = false;
};

}  // namespace

Result<ShardIndex> parse_shard_index(std::string_view text, std::string_view where) {
  if (text.size() > kMaxBytes) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("{}: has {} bytes, more than the {} that are read of it", where, text.size(), kMaxBytes));
  }
  ShardIndex index;
  IndexReader reader(index);
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &reader)) {
    return fail(ErrorCode::kCorrupt, fmt::format("{}: {}", where, reader.error));
  }
  if (!reader.had_map || index.tensors.empty()) {
    return fail(ErrorCode::kCorrupt, fmt::format("{}: has no 'weight_map' with tensors in it", where));
  }
  std::unordered_set<std::string_view> names;
  names.reserve(index.tensors.size());
  for (const ShardIndex::Entry& entry : index.tensors) {
    if (!names.insert(entry.name).second) {
      return fail(ErrorCode::kCorrupt, fmt::format("{}: names the tensor '{}' twice", where, entry.name));
    }
  }
  return index;
}

}  // namespace hadal::formats
