// Any bytes as JSON: the reader that builds and the one that only checks agree, what is written reads back as itself,
// and another reader accepts it.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <source_location>
#include <string>
#include <string_view>

#include "base/check.h"
#include "text/json_text.h"

namespace {

void require(bool condition, std::source_location at = std::source_location::current()) {
  if (!condition)
    hadal::check_failed(at.file_name(), static_cast<int>(at.line()), "require", "the law above does not hold");
}

/// Numbers beyond double are JSON as well; nlohmann's reader gives up at one of many digits, and only Python reads the
/// Infinity that one with an exponent becomes.
bool accepted_by_nlohmann(const std::string& text) {
  if (text.find("Infinity") != std::string::npos) return true;
  try {
    return !nlohmann::json::parse(text).is_discarded();
  } catch (const nlohmann::json::out_of_range&) {
    return true;
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(data, data + size);
  const auto value = hadal::text::parse_json(text);
  require(value.has_value() == hadal::text::is_json(text));
  const auto lenient = hadal::text::parse_json(text, {.non_finite = true});
  require(!value || lenient);
  if (lenient) {
    const std::string written = to_json(*lenient);
    const auto again = hadal::text::parse_json(written, {.non_finite = true});
    require(again && to_json(*again) == written);
  }
  if (value) {
    const std::string written = to_json(*value);
    require(accepted_by_nlohmann(written));
  }
  return 0;
}
