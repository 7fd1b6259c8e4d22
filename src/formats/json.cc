#include "formats/json.h"

#include <fmt/core.h>

#include <set>
#include <string>
#include <vector>

#include "base/units.h"

namespace hadal::formats {
namespace {

constexpr std::size_t kMaxDepth = 32;

/// What is wrong with the document's shape; thrown inside this file only, to leave the library's parser.
struct ShapeError {
  std::string message;
};

}  // namespace

Result<nlohmann::ordered_json> parse_json(std::string_view text, std::string_view where, std::int64_t max_bytes) {
  if (static_cast<std::int64_t>(text.size()) > max_bytes) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("{}: has {} bytes, more than the {} that are read of it", where,
                            with_separators(static_cast<std::int64_t>(text.size())), with_separators(max_bytes)));
  }
  using Json = nlohmann::ordered_json;
  std::vector<std::set<std::string>> keys;  // of the objects that are open, outermost first
  const auto watch = [&keys](int depth, Json::parse_event_t event, Json& value) {
    // The depth of a start event counts the containers around it, that of a key includes its object.
    const auto level = static_cast<std::size_t>(depth);
    if (event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start) {
      if (level >= kMaxDepth) throw ShapeError{fmt::format("is nested deeper than {} levels", kMaxDepth)};
      keys.resize(level + 1);
      keys.back().clear();
    } else if (event == Json::parse_event_t::key) {
      auto name = value.get<std::string>();
      keys.resize(level);
      if (!keys.back().insert(name).second) throw ShapeError{fmt::format("has the key '{}' twice", name)};
    }
    return true;
  };
  try {
    return Json::parse(text, watch);
  } catch (const ShapeError& error) {
    return fail(ErrorCode::kCorrupt, fmt::format("{}: {}", where, error.message));
  } catch (const nlohmann::json::exception& error) {
    return fail(ErrorCode::kCorrupt, fmt::format("{}: is not JSON ({})", where, error.what()));
  }
}

}  // namespace hadal::formats
