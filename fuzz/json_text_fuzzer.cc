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
    // A number beyond double is written as Infinity, which only Python reads.
    if (written.find("Infinity") == std::string::npos) require(nlohmann::json::accept(written));
  }
  return 0;
}
