#pragma once

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/utc_time.h"
#include "text/json_text.h"

namespace hadal::server {

/// One line of a log: the members of a JSON object, in the order in which they are added.
class JsonLine {
 public:
  void text(std::string_view key, std::string_view value) {
    begin(key);
    text::append_json_string(out_, value);
  }
  void texts(std::string_view key, const std::vector<std::string>& values) {
    begin(key);
    char separator = '[';
    for (const std::string& value : values) {
      out_ += std::exchange(separator, ',');
      text::append_json_string(out_, value);
    }
    out_ += values.empty() ? "[]" : "]";
  }
  void number(std::string_view key, std::int64_t value) {
    begin(key);
    fmt::format_to(std::back_inserter(out_), "{}", value);
  }
  void milliseconds(std::string_view key, double seconds) {
    begin(key);
    fmt::format_to(std::back_inserter(out_), "{:.1f}", 1000 * seconds);
  }
  /// UTC, with milliseconds.
  void time(std::string_view key, std::chrono::system_clock::time_point value) {
    const auto second = std::chrono::floor<std::chrono::seconds>(value);
    const auto rest = std::chrono::duration_cast<std::chrono::milliseconds>(value - second);
    std::string made = utc_text(second);
    made.pop_back();
    text(key, made + fmt::format(".{:03}Z", rest.count()));
  }
  /// The line with its line feed.
  [[nodiscard]] std::string take() { return std::move(out_) + "}\n"; }

 private:
  void begin(std::string_view key) {
    out_ += out_.empty() ? '{' : ',';
    fmt::format_to(std::back_inserter(out_), "\"{}\":", key);
  }

  std::string out_;
};

}  // namespace hadal::server
