#include "ops/linear.h"

#include "ops/checks.h"

namespace hadal::ops {

Status linear(Stream& stream, const Linear::Args& args) {
  const auto& [input, weight, out] = args;
  const std::int64_t rows = input.extent(0);
  Checker check(stream, Linear::name);
  check.source("input", input, kRealOrBf16, 2, "[rows, columns of weight]", Layout::kStridedRows);
  check.source("out", out, {sum_type(input.type())}, 2, "[rows, rows of weight]", Layout::kStridedRows);
  check.tensor("out", out, {sum_type(input.type())}, {rows, out.extent(1)}, "rows of input", Layout::kStridedRows);
  check.matrix("weight", weight, out.extent(1), input.extent(1), "columns of out and of input");
  check.separate("out", out, {{"input", input}, {"weight", weight.codes}, {"scales", weight.scales}});
  return run<Linear>(stream, args, check, rows, {{"input", input}, {"weight", weight.codes}, {"out", out}});
}

Status linear_backward(Stream& stream, const LinearBackward::Args& args) {
  const auto& [input, weight, d_out, d_input, accumulate_input, d_weight] = args;
  const std::int64_t rows = input.extent(0);
  const DType sums = sum_type(input.type());
  Checker check(stream, LinearBackward::name);
  check.source("input", input, kRealOrBf16, 2, "[rows, columns of weight]", Layout::kStridedRows);
  check.source("d_out", d_out, {sums}, 2, "[rows, rows of weight]", Layout::kStridedRows);
  check.tensor("d_out", d_out, {sums}, {rows, d_out.extent(1)}, "rows of input", Layout::kStridedRows);
  check.matrix("weight", weight, d_out.extent(1), input.extent(1), "columns of d_out and of input");
  if (!d_input.absent()) {
    check.tensor("d_input", d_input, {sums}, input.shape(), "like input", Layout::kStridedRows);
    check.separate("d_input", d_input, {{"input", input}, {"d_out", d_out}, {"d_weight", d_weight}});
  }
  if (!d_weight.absent()) {
    check.tensor("d_weight", d_weight, {sums}, {d_out.extent(1), input.extent(1)}, "like weight", Layout::kStridedRows);
    check.separate("d_weight", d_weight, {{"input", input}, {"weight", weight.codes}, {"d_out", d_out}});
  }
  return run<LinearBackward>(
      stream, args, check, rows,
      {{"input", input}, {"weight", weight.codes}, {"d_out", d_out}, {"d_input", d_input}, {"d_weight", d_weight}});
}

}  // namespace hadal::ops
