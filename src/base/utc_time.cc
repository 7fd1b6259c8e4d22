#include "base/utc_time.h"

#include <fmt/core.h>

#include <algorithm>

namespace hadal {
namespace {

/// `text` with the digits of `shape` ("0000-00-00") replaced by any digits.
bool has_shape(std::string_view text, std::string_view shape) {
  return std::ranges::equal(text, shape, [](char character, char wanted) {
    return wanted == '0' ? character >= '0' && character <= '9' : character == wanted;
  });
}

int digits(std::string_view text, std::size_t from, std::size_t count) {
  int number = 0;
  for (const char digit : text.substr(from, count)) number = number * 10 + (digit - '0');
  return number;
}

}  // namespace

std::string utc_text(std::chrono::sys_seconds time) {
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::hh_mm_ss clock(time - day);
  return fmt::format("{}T{:02}:{:02}:{:02}Z", utc_day(day), clock.hours().count(), clock.minutes().count(),
                     clock.seconds().count());
}

std::string utc_day(std::chrono::sys_days day) {
  const std::chrono::year_month_day date(day);
  return fmt::format("{:04}-{:02}-{:02}", static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                     static_cast<unsigned>(date.day()));
}

std::optional<std::chrono::sys_seconds> read_utc(std::string_view text) {
  using namespace std::chrono;
  const bool day_only = has_shape(text, "0000-00-00");
  if (!day_only && !has_shape(text, "0000-00-00T00:00:00Z")) return std::nullopt;
  const year_month_day date(year(digits(text, 0, 4)), month(static_cast<unsigned>(digits(text, 5, 2))),
                            day(static_cast<unsigned>(digits(text, 8, 2))));
  if (!date.ok()) return std::nullopt;
  const sys_seconds midnight = sys_days(date);
  if (day_only) return midnight;
  const int hour = digits(text, 11, 2);
  const int minute = digits(text, 14, 2);
  const int second = digits(text, 17, 2);
  if (hour > 23 || minute > 59 || second > 59) return std::nullopt;
  return midnight + hours(hour) + minutes(minute) + seconds(second);
}

}  // namespace hadal
