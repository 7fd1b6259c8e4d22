#include "ops/gather_rows.h"

#include "ops/checks.h"

namespace hadal::ops {

Status gather_rows(Stream& stream, const GatherRows::Args& args) {
  const auto& [input, index, out] = args;
  const std::int64_t rows = index.extent(0);
  Checker check(stream, GatherRows::name);
  check.source("input", input, kRealOrBf16, 2, "[rows, channels]", Layout::kStridedRows);
  check.source("index", index, {DType::kI32}, 1, "[rows of out]");
  check.number("number of rows of input", input.extent(0), input.extent(0) >= 1 || rows == 0, "at least 1");
  check.tensor("out", out, kRealOrBf16, {rows, input.extent(1)}, "rows of index, channels of input",
               Layout::kStridedRows);
  check.separate("out", out, {{"input", input}, {"index", index}});
  return run<GatherRows>(stream, args, check, rows, {{"input", input}, {"out", out}});
}

Status gather_rows_backward(Stream& stream, const GatherRowsBackward::Args& args) {
  const auto& [d_out, index, d_input] = args;
  const std::int64_t rows = d_input.extent(0);
  Checker check(stream, GatherRowsBackward::name);
  check.source("d_input", d_input, kReal, 2, "[rows, channels]", Layout::kStridedRows);
  check.source("index", index, {DType::kI32}, 1, "[rows of d_out]");
  check.number("number of rows of d_input", rows, rows >= 1 || index.extent(0) == 0, "at least 1");
  check.tensor("d_out", d_out, {d_input.type()}, {index.extent(0), d_input.extent(1)},
               "rows of index, channels of d_input", Layout::kStridedRows);
  check.separate("d_input", d_input, {{"d_out", d_out}, {"index", index}});
  return run<GatherRowsBackward>(stream, args, check, rows, {{"d_out", d_out}, {"d_input", d_input}});
}

}  // namespace hadal::ops
