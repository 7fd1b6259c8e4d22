#pragma once

#include <string>

#include "base/trace.h"

namespace hadal::formats {

/// A trace in the Chrome trace-event format, which Perfetto and chrome://tracing open: one complete event ("ph": "X") a
/// span, times in microseconds, the span's value under "args". "otherData" tells how many older spans were dropped.
[[nodiscard]] std::string trace_json(const trace::Trace& trace);

}  // namespace hadal::formats
