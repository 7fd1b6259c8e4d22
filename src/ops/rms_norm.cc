#include "ops/rms_norm.h"

#include "ops/checks.h"

namespace hadal::ops {

Status rms_norm(Stream& stream, const RmsNorm::Args& args) {
  const auto& [input, weight, out, eps] = args;
  const std::int64_t rows = input.extent(0);
  const std::int64_t channels = input.extent(1);
  Checker check(stream, RmsNorm::name);
  check.source("input", input, kRealOrBf16, 2, "[rows, channels]", Layout::kStridedRows);
  if (!weight.codes.absent()) check.constant("weight", weight, kF32OrBf16, {channels}, "channels of input");
  check.tensor("out", out, kRealOrBf16, {rows, channels}, "like input");
  check.number("eps", eps, eps >= 0, "at least 0");
  check.separate("out", out, {{"input", input, Sharing::kSameView}, {"weight", weight.codes}});
  return run<RmsNorm>(stream, args, check, rows, {{"input", input}, {"weight", weight.codes}, {"out", out}});
}

}  // namespace hadal::ops
