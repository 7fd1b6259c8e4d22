#include "formats/trace_json.h"

#include <nlohmann/json.hpp>

namespace hadal::formats {

std::string trace_json(const trace::Trace& trace) {
  std::string text =
      "{\"displayTimeUnit\": \"ms\", \"otherData\": {\"dropped_spans\": " + std::to_string(trace.dropped) +
      "},\n\"traceEvents\": [";
  // An object a span: a million spans never stand in memory as a tree.
  for (std::size_t i = 0; i < trace.records.size(); ++i) {
    const trace::Record& record = trace.records[i];
    nlohmann::ordered_json event = {{"name", record.name},
                                    {"ph", "X"},
                                    {"pid", 1},
                                    {"tid", record.thread},
                                    {"ts", static_cast<double>(record.begin) / 1000},
                                    {"dur", static_cast<double>(record.end - record.begin) / 1000}};
    if (!record.value_name.empty()) event["args"][std::string(record.value_name)] = record.value;
    text += (i == 0 ? "\n" : ",\n") + event.dump();
  }
  return text + "\n]}\n";
}

}  // namespace hadal::formats
