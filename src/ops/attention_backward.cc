#include "ops/attention.h"
#include "ops/checks.h"

namespace hadal::ops {
namespace {

void check_forward_arguments(Checker& check, const AttentionBackward::Args& args) {
  const TensorView& query = args.query;
  const DType type = query.type();
  const std::int64_t tokens = query.extent(0);
  const std::int64_t channels = query.extent(2);
  check.source("query", query, kRealOrBf16, 3, "[tokens, heads, channels]");
  check.tensor("step_keys", args.step_keys, {type}, {tokens, channels}, "tokens and channels of query");
  check.tensor("window_begin", args.window_begin, {DType::kI64}, {tokens}, "tokens of query");
  check.tensor("window_end", args.window_end, {DType::kI64}, {tokens}, "tokens of query");
  check.rows_of_step(args.layout, tokens);
  check.rings_of_step(args.layout, args.layout.first_row.extent(0));
  if (args.ratio == 0) {
    check.absent("pages", args.pages, "ratio is 0");
    check.absent("selected", args.selected, "ratio is 0");
    check.absent("d_entries", args.d_entries, "ratio is 0");
  } else {
    check.ratio(args.ratio);
    if (check.ok()) {
      check.tensor("pages", args.pages, {type}, {args.pages.extent(0), kPageTokens / args.ratio, channels},
                   "entries a page, channels of query", Layout::kStridedRows);
    }
    check.pages_of_step(args.layout, args.layout.first_row.extent(0));
    check.tensor("first_block", args.first_block, {DType::kI32}, {args.layout.first_row.extent(0)},
                 "sequences of the step");
    check.tensor("d_entries", args.d_entries, {sum_type(type)}, {args.d_entries.extent(0), channels},
                 "channels of query");
  }
  if (!args.selected.absent()) {
    check.source("selected", args.selected, {DType::kI32}, 2, "[tokens, topk]");
    check.tensor("selected", args.selected, {DType::kI32}, {tokens, args.selected.extent(1)}, "tokens of query");
  }
  check.constant("sink", args.sink, {DType::kF32}, {query.extent(1)}, "heads of query");
  check.number("max_keys", args.max_keys, args.max_keys >= 0, "at least 0");
}

}  // namespace

Status attention_backward(Stream& stream, const AttentionBackward::Args& args) {
  const TensorView& query = args.query;
  const DType real = sum_type(query.type());
  const std::int64_t tokens = query.extent(0);
  const std::int64_t heads = query.extent(1);
  Checker check(stream, AttentionBackward::name);
  check_forward_arguments(check, args);
  check.tensor("out", args.out, {real}, query.shape(), "like query");
  check.tensor("log_sum", args.log_sum, {real}, {tokens, heads}, "tokens and heads of query");
  check.tensor("d_out", args.d_out, {real}, query.shape(), "like query");
  check.tensor("d_query", args.d_query, {real}, query.shape(), "like query");
  check.tensor("d_step_keys", args.d_step_keys, {real}, args.step_keys.shape(), "like step_keys");
  if (!args.d_sink.absent()) check.tensor("d_sink", args.d_sink, {real}, {heads}, "heads of query");
  for (const NamedView& gradient : {NamedView{"d_query", args.d_query}, NamedView{"d_step_keys", args.d_step_keys},
                                    NamedView{"d_entries", args.d_entries}, NamedView{"d_sink", args.d_sink}}) {
    if (gradient.view.absent()) continue;
    check.separate(gradient.name, gradient.view,
                   {{"query", query},
                    {"step_keys", args.step_keys},
                    {"pages", args.pages},
                    {"out", args.out},
                    {"log_sum", args.log_sum},
                    {"d_out", args.d_out}});
  }
  check.separate("d_step_keys", args.d_step_keys, {{"d_query", args.d_query}, {"d_entries", args.d_entries}});
  return run<AttentionBackward>(stream, args, check, tokens, {{"query", query}, {"pages", args.pages}});
}

}  // namespace hadal::ops
