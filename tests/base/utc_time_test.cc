#include "base/utc_time.h"

#include <gtest/gtest.h>

namespace hadal {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;

TEST(UtcTime, WritesAndReadsTheSame) {
  for (const auto& [count, text] : {std::pair{std::int64_t{0}, "1970-01-01T00:00:00Z"},
                                    {951'782'400, "2000-02-29T00:00:00Z"},
                                    {1'795'615'509, "2026-11-25T14:05:09Z"},
                                    {-1, "1969-12-31T23:59:59Z"},
                                    {253'402'300'799, "9999-12-31T23:59:59Z"}}) {
    const sys_seconds time{seconds(count)};
    EXPECT_EQ(utc_text(time), text);
    EXPECT_EQ(read_utc(text), time);
  }
}

TEST(UtcTime, DayIsItsBeginning) {
  EXPECT_EQ(read_utc("2026-11-25"), sys_seconds{seconds(1'795'564'800)});
  EXPECT_EQ(utc_day(std::chrono::floor<std::chrono::days>(sys_seconds{seconds(1'795'564'800)})), "2026-11-25");
}

TEST(UtcTime, RefusesOtherTexts) {
  for (const char* text : {"", "2026", "2026-11-25T14:05:09", "2026-11-25 14:05:09Z", "2026-11-25T14:05:09+00:00",
                           "2026-13-01", "2026-02-29", "2026-11-00", "2026-11-25T24:00:00Z", "2026-11-25T14:60:00Z",
                           "2026-11-25T14:05:60Z", "20x6-11-25", "2026-11-25T14:05:09Z "}) {
    EXPECT_EQ(read_utc(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace hadal
