#include "formats/json.h"

#include <fmt/core.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/units.h"

namespace hadal::formats {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMaxDepth = 32;

/// Builds the document from the parser's events. Each event answers "go on"; the first thing out of place is kept in
/// `error`.
class Builder {
 public:
  Json document;
  std::string error;

  bool null() { return scalar(nullptr); }
  bool boolean(bool value) { return scalar(value); }
  bool number_integer(Json::number_integer_t value) { return scalar(value); }
  bool number_unsigned(Json::number_unsigned_t value) { return scalar(value); }
  bool number_float(Json::number_float_t value, const std::string& /*text*/) { return scalar(value); }
  bool string(std::string& value) { return scalar(std::move(value)); }
  bool binary(Json::binary_t& /*value*/) { return stop("holds bytes"); }

  bool start_object(std::size_t /*size*/) { return open(Json::object()); }
  bool start_array(std::size_t /*size*/) { return open(Json::array()); }
  bool key(std::string& name) {
    // Not by operator[], which would look for the key among all others; end_object does so once.
    slot_ = &members().emplace_back(std::move(name), nullptr).second;
    return true;
  }
  bool end_object() {
    std::vector<std::string_view> names;
    names.reserve(members().size());
    for (const auto& [name, value] : members()) names.push_back(name);
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end()) return stop(fmt::format("has the key '{}' twice", *twice));
    return end_array();
  }
  bool end_array() {
    open_.pop_back();
    return true;
  }
  bool parse_error(std::size_t /*position*/, const std::string& /*token*/, const Json::exception& exception) {
    return stop(fmt::format("is not JSON ({})", exception.what()));
  }

 private:
  bool stop(std::string message) {
    error = std::move(message);
    return false;
  }
  Json::object_t& members() { return open_.back()->get_ref<Json::object_t&>(); }

  /// Puts a value where the last events say.
  Json& place(Json value) {
    if (open_.empty()) return document = std::move(value);
    if (open_.back()->is_array()) return open_.back()->get_ref<Json::array_t&>().emplace_back(std::move(value));
    return *slot_ = std::move(value);
  }
  template <class Value>
  bool scalar(Value&& value) {
    place(Json(std::forward<Value>(value)));
    return true;
  }
  bool open(Json container) {
    if (open_.size() == kMaxDepth) return stop(fmt::format("is nested deeper than {} levels", kMaxDepth));
    open_.push_back(&place(std::move(container)));
    return true;
  }

  std::vector<Json*> open_;  // the containers around the next event, outermost first; they stay where they are
  Json* slot_ = nullptr;     // of the object's last key
};

}  // namespace

Result<nlohmann::ordered_json> parse_json(std::string_view text, std::string_view where, std::int64_t max_bytes) {
  if (static_cast<std::int64_t>(text.size()) > max_bytes) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("{}: has {} bytes, more than the {} that are read of it", where,
                            with_separators(static_cast<std::int64_t>(text.size())), with_separators(max_bytes)));
  }
  Builder builder;
  if (!Json::sax_parse(text.begin(), text.end(), &builder)) {
    return fail(ErrorCode::kCorrupt, fmt::format("{}: {}", where, builder.error));
  }
  return std::move(builder.document);
}

}  // namespace hadal::formats
