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

}  // namespace hadal::ops
