#include "ops/append_entries.h"

#include "ops/checks.h"

namespace hadal::ops {

Status append_entries(Stream& stream, const AppendEntries::Args& args) {
  const auto& [rows, last_row, layout, ratio, pages] = args;
  const std::int64_t blocks = rows.extent(0);
  const std::int64_t tokens = layout.positions.extent(0);
  Checker check(stream, AppendEntries::name);
  check.source("rows", rows, kRealOrBf16, 2, "[blocks, channels]");
  check.tensor("last_row", last_row, {DType::kI32}, {blocks}, "blocks of rows");
  // A plan's upper bound of the blocks may be larger.
  check.number("number of blocks", blocks, stream.plan() != nullptr || blocks <= tokens,
               "at most the tokens of the step");
  check.ratio(ratio);
  if (check.ok()) {
    check.tensor("pages", pages, {rows.type()}, {pages.extent(0), kPageTokens / ratio, rows.extent(1)},
                 "entries a page, channels of rows", Layout::kStridedRows);
  }
  check.rows_of_step(layout, tokens);
  check.pages_of_step(layout, layout.page_table.extent(0));
  check.separate("pages", pages, {{"rows", rows}, {"last_row", last_row}});
  return run<AppendEntries>(stream, args, check, blocks, {{"rows", rows}, {"pages", pages}});
}

}  // namespace hadal::ops
