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

}  // namespace hadal::ops
