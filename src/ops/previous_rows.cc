#include "ops/previous_rows.h"

#include "ops/checks.h"

namespace hadal::ops {

Status previous_rows(Stream& stream, const PreviousRows::Args& args) {
  const auto& [rows, ring, layout, out] = args;
  const std::int64_t tokens = rows.extent(0);
  const std::int64_t channels = rows.extent(1);
  Checker check(stream, PreviousRows::name);
  check.source("rows", rows, kReal, 2, "[tokens, channels]");
  check.source("ring", ring, {rows.type()}, 3, "[slots, ring rows, channels]", Layout::kStridedRows);
  check.tensor("ring", ring, {rows.type()}, {ring.extent(0), ring.extent(1), channels}, "channels of rows",
               Layout::kStridedRows);
  check.tensor("out", out, {rows.type()}, {tokens, channels}, "like rows");
  check.rows_of_step(layout, tokens);
  check.rings_of_step(layout, layout.first_row.extent(0));
  check.separate("out", out, {{"rows", rows}, {"ring", ring}});
  return run<PreviousRows>(stream, args, check, tokens, {{"rows", rows}, {"ring", ring}});
}

Status previous_rows_backward(Stream& stream, const PreviousRowsBackward::Args& args) {
  const auto& [d_out, layout, d_rows] = args;
  const std::int64_t tokens = d_out.extent(0);
  Checker check(stream, PreviousRowsBackward::name);
  check.source("d_out", d_out, kReal, 2, "[tokens, channels]");
  check.tensor("d_rows", d_rows, {d_out.type()}, {tokens, d_out.extent(1)}, "like d_out");
  check.rows_of_step(layout, tokens);
  check.rings_of_step(layout, layout.first_row.extent(0));
  check.separate("d_rows", d_rows, {{"d_out", d_out}});
  return run<PreviousRowsBackward>(stream, args, check, tokens, {{"d_out", d_out}, {"d_rows", d_rows}});
}

}  // namespace hadal::ops
