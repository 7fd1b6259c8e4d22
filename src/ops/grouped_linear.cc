#include "ops/grouped_linear.h"

#include "ops/checks.h"

namespace hadal::ops {

Status grouped_linear(Stream& stream, const GroupedLinear::Args& args) {
  const auto& [input, weight, groups, out] = args;
  const std::int64_t rows = input.extent(0);
  Checker check(stream, GroupedLinear::name);
  check.source("input", input, kRealOrBf16, 2, "[rows, groups * columns of weight]");
  check.source("out", out, {sum_type(input.type())}, 2, "[rows, rows of weight]");
  check.tensor("out", out, {sum_type(input.type())}, {rows, out.extent(1)}, "rows of input");
  check.number("groups", groups, groups >= 1 && input.extent(1) % groups == 0 && out.extent(1) % groups == 0,
               "a positive divisor of the columns of input and of out");
  if (check.ok()) {
    check.matrix("weight", weight, out.extent(1), input.extent(1) / groups, "columns of out, and of input a group");
  }
  check.separate("out", out, {{"input", input}, {"weight", weight.codes}, {"scales", weight.scales}});
  return run<GroupedLinear>(stream, args, check, rows, {{"input", input}, {"weight", weight.codes}, {"out", out}});
}

Status grouped_linear_backward(Stream& stream, const GroupedLinearBackward::Args& args) {
  const auto& [input, weight, groups, d_out, d_input, accumulate_input, d_weight] = args;
  const std::int64_t rows = input.extent(0);
  const DType sums = sum_type(input.type());
  Checker check(stream, GroupedLinearBackward::name);
  check.source("input", input, kRealOrBf16, 2, "[rows, groups * columns of weight]");
  check.source("d_out", d_out, {sums}, 2, "[rows, rows of weight]");
  check.tensor("d_out", d_out, {sums}, {rows, d_out.extent(1)}, "rows of input");
  check.number("groups", groups, groups >= 1 && input.extent(1) % groups == 0 && d_out.extent(1) % groups == 0,
               "a positive divisor of the columns of input and of d_out");
  if (check.ok()) {
    check.matrix("weight", weight, d_out.extent(1), input.extent(1) / groups, "columns of d_out, and of input a group");
  }
  if (!d_input.absent()) {
    check.tensor("d_input", d_input, {sums}, input.shape(), "like input");
    check.separate("d_input", d_input, {{"input", input}, {"d_out", d_out}, {"d_weight", d_weight}});
  }
  if (check.ok() && !d_weight.absent()) {
    check.tensor("d_weight", d_weight, {sums}, {d_out.extent(1), input.extent(1) / groups}, "like weight");
    check.separate("d_weight", d_weight, {{"input", input}, {"weight", weight.codes}, {"d_out", d_out}});
  }
  return run<GroupedLinearBackward>(
      stream, args, check, rows,
      {{"input", input}, {"weight", weight.codes}, {"d_out", d_out}, {"d_input", d_input}, {"d_weight", d_weight}});
}

}  // namespace hadal::ops
