#include "ops/attention.h"

#include "ops/checks.h"

namespace hadal::ops {

Status attention(Stream& stream, const Attention::Args& args) {
  const TensorView& query = args.query;
  const TensorView& window = args.window;
  const TensorView& pages = args.pages;
  const DType type = query.type();
  const std::int64_t tokens = query.extent(0);
  const std::int64_t channels = query.extent(2);
  Checker check(stream, Attention::name);
  check.source("query", query, kRealOrBf16, 3, "[tokens, heads, channels]");
  check.tensor("step_keys", args.step_keys, {type}, {args.step_keys.extent(0), channels}, "channels of query");
  check.source("window", window, {type}, 3, "[slots, ring rows, channels]", Layout::kStridedRows);
  check.tensor("window", window, {type}, {window.extent(0), window.extent(1), channels}, "channels of query",
               Layout::kStridedRows);
  check.tensor("window_begin", args.window_begin, {DType::kI64}, {tokens}, "tokens of query");
  check.tensor("window_end", args.window_end, {DType::kI64}, {tokens}, "tokens of query");
  if (args.ratio == 0) {
    check.absent("pages", pages, "ratio is 0");
    check.absent("selected", args.selected, "ratio is 0");
  } else {
    check.ratio(args.ratio);
    if (check.ok()) {
      check.tensor("pages", pages, {type}, {pages.extent(0), kPageTokens / args.ratio, channels},
                   "entries a page, channels of query", Layout::kStridedRows);
    }
    check.pages_of_step(args.layout, args.layout.first_row.extent(0));
  }
  if (!args.selected.absent()) {
    check.source("selected", args.selected, {DType::kI32}, 2, "[tokens, topk]");
    check.tensor("selected", args.selected, {DType::kI32}, {tokens, args.selected.extent(1)}, "tokens of query");
  }
  check.constant("sink", args.sink, {DType::kF32}, {query.extent(1)}, "heads of query");
  check.number("max_keys", args.max_keys, args.max_keys >= 0, "at least 0");
  check.tensor("out", args.out, {sum_type(type)}, query.shape(), "like query");
  if (!args.log_sum.absent()) {
    check.tensor("log_sum", args.log_sum, {sum_type(type)}, {tokens, query.extent(1)}, "tokens and heads of query");
    check.separate("log_sum", args.log_sum, {{"query", query}, {"step_keys", args.step_keys}, {"out", args.out}});
  }
  check.rows_of_step(args.layout, tokens);
  check.rings_of_step(args.layout, args.layout.first_row.extent(0));
  check.separate("out", args.out,
                 {{"query", query},
                  {"step_keys", args.step_keys},
                  {"window", window},
                  {"window_begin", args.window_begin},
                  {"window_end", args.window_end},
                  {"pages", pages},
                  {"selected", args.selected},
                  {"sink", args.sink.codes}});
  return run<Attention>(stream, args, check, tokens, {{"query", query}, {"window", window}, {"pages", pages}});
}

}  // namespace hadal::ops
