#include "ops/indexer_select.h"

#include "ops/checks.h"

namespace hadal::ops {

Status indexer_select(Stream& stream, const IndexerSelect::Args& args) {
  const TensorView& query = args.query;
  const TensorView& pages = args.pages;
  const std::int64_t tokens = query.extent(0);
  Checker check(stream, IndexerSelect::name);
  check.source("query", query, kRealOrBf16, 3, "[tokens, heads, channels]");
  check.tensor("head_weights", args.head_weights, {sum_type(query.type())}, {tokens, query.extent(1)},
               "tokens and heads of query");
  check.ratio(args.ratio);
  if (check.ok()) {
    check.tensor("pages", pages, {query.type()}, {pages.extent(0), kPageTokens / args.ratio, query.extent(2)},
                 "entries a page, channels of query", Layout::kStridedRows);
  }
  check.number("max_entries", args.max_entries, args.max_entries >= 0, "at least 0");
  check.source("selected", args.selected, {DType::kI32}, 2, "[tokens, topk]");
  check.tensor("selected", args.selected, {DType::kI32}, {tokens, args.selected.extent(1)}, "tokens of query");
  check.rows_of_step(args.layout, tokens);
  check.pages_of_step(args.layout, args.layout.page_table.extent(0));
  check.separate("selected", args.selected, {{"query", query}, {"head_weights", args.head_weights}, {"pages", pages}});
  return run<IndexerSelect>(stream, args, check, tokens,
                            {{"query", query}, {"pages", pages}, {"selected", args.selected}});
}

}  // namespace hadal::ops
