#include "trace_file.h"

#include <fmt/format.h>

#include <span>

#include "base/output_file.h"
#include "base/trace.h"
#include "formats/trace_json.h"

namespace hadal::apps {
namespace {

constexpr std::int64_t kSpans = std::int64_t{1} << 18;  // 18 MiB; some 100 decode steps of Flash

}  // namespace

void add_trace_flag(CLI::App& command, std::string& path) {
  command.add_option("--trace", path,
                     "Write how long each operator took to this file, for Perfetto or chrome://tracing");
}

Status traced(const std::string& path, const std::function<Status()>& work) {
  if (path.empty()) return work();
  auto file = OutputFile::create(path);
  if (!file) {
    return fail(file.error().code,
                fmt::format("--trace: {}; name a file in a directory that can be written", file.error().message));
  }
  trace::start(kSpans);
  const Status status = work();
  const std::string json = formats::trace_json(trace::stop());
  Status written = file->append(std::as_bytes(std::span(json)));
  if (written) written = file->close();
  return status ? written : status;
}

}  // namespace hadal::apps
