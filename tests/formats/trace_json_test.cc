#include "formats/trace_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace hadal::formats {
namespace {

TEST(TraceJson, IsATraceEventFile) {
  const trace::Trace trace{
      .records = {{.name = "forward", .value_name = "", .begin = 1500, .end = 9000, .thread = 2},
                  {.name = "a \"name\"", .value_name = "rows", .value = 7, .begin = 2000, .end = 2500}},
      .dropped = 3};
  const auto json = nlohmann::json::parse(trace_json(trace));
  EXPECT_EQ(json["otherData"]["dropped_spans"], 3);
  ASSERT_EQ(json["traceEvents"].size(), 2U);
  EXPECT_EQ(json["traceEvents"][0],
            nlohmann::json::parse(R"({"name": "forward", "ph": "X", "pid": 1, "tid": 2, "ts": 1.5, "dur": 7.5})"));
  EXPECT_EQ(json["traceEvents"][1],
            nlohmann::json::parse(R"({"name": "a \"name\"", "ph": "X", "pid": 1, "tid": 0, "ts": 2.0,
                                                              "dur": 0.5, "args": {"rows": 7}})"));
}

TEST(TraceJson, OfNothingIsValid) { EXPECT_TRUE(nlohmann::json::parse(trace_json({}))["traceEvents"].empty()); }

}  // namespace
}  // namespace hadal::formats
