#include "ops/mean_streams.h"

#include "ops/checks.h"

namespace hadal::ops {

Status mean_streams(Stream& stream, const MeanStreams::Args& args) {
  const auto& [streams, out] = args;
  const std::int64_t tokens = streams.extent(0);
  Checker check(stream, MeanStreams::name);
  check.source("streams", streams, kReal, 3, "[tokens, streams, channels]");
  check.tensor("out", out, {streams.type()}, {tokens, streams.extent(2)}, "tokens and channels of streams",
               Layout::kStridedRows);
  check.separate("out", out, {{"streams", streams}});
  return run<MeanStreams>(stream, args, check, tokens, {{"streams", streams}, {"out", out}});
}

Status mean_streams_backward(Stream& stream, const MeanStreamsBackward::Args& args) {
  const auto& [d_out, d_streams] = args;
  const std::int64_t tokens = d_streams.extent(0);
  Checker check(stream, MeanStreamsBackward::name);
  check.source("d_streams", d_streams, kReal, 3, "[tokens, streams, channels]");
  check.tensor("d_out", d_out, {d_streams.type()}, {tokens, d_streams.extent(2)}, "tokens and channels of d_streams",
               Layout::kStridedRows);
  check.separate("d_streams", d_streams, {{"d_out", d_out}});
  return run<MeanStreamsBackward>(stream, args, check, tokens, {{"d_out", d_out}, {"d_streams", d_streams}});
}

}  // namespace hadal::ops
