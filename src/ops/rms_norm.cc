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

Status rms_norm_backward(Stream& stream, const RmsNormBackward::Args& args) {
  const auto& [input, weight, d_out, eps, d_input, accumulate_input, d_weight] = args;
  const std::int64_t rows = input.extent(0);
  const std::int64_t channels = input.extent(1);
  Checker check(stream, RmsNormBackward::name);
  check.source("input", input, kReal, 2, "[rows, channels]", Layout::kStridedRows);
  if (!weight.codes.absent()) check.constant("weight", weight, kF32OrBf16, {channels}, "channels of input");
  check.tensor("d_out", d_out, {input.type()}, {rows, channels}, "like input", Layout::kStridedRows);
  check.number("eps", eps, eps >= 0, "at least 0");
  check.tensor("d_input", d_input, {input.type()}, {rows, channels}, "like input", Layout::kStridedRows);
  check.separate("d_input", d_input,
                 {{"input", input},
                  {"weight", weight.codes},
                  {"d_out", d_out, accumulate_input ? Sharing::kNone : Sharing::kSameView}});
  if (!d_weight.absent()) {
    check.tensor("d_weight", d_weight, {input.type()}, {channels}, "channels of input");
    check.separate("d_weight", d_weight,
                   {{"input", input}, {"weight", weight.codes}, {"d_out", d_out}, {"d_input", d_input}});
  }
  return run<RmsNormBackward>(stream, args, check, rows,
                              {{"input", input}, {"weight", weight.codes}, {"d_input", d_input}});
}

}  // namespace hadal::ops
