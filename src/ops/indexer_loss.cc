#include "ops/indexer_loss.h"

#include "ops/checks.h"

namespace hadal::ops {
namespace {

void check_inputs(Checker& check, const IndexerLoss::Args& args) {
  const TensorView& attention = args.attention_query;
  const TensorView& query = args.query;
  const DType type = attention.type();
  const DType real = sum_type(type);
  const std::int64_t tokens = attention.extent(0);
  check.source("attention_query", attention, kRealOrBf16, 3, "[tokens, heads, channels]");
  check.source("query", query, {type}, 3, "[tokens, heads, channels]");
  check.tensor("query", query, {type}, {tokens, query.extent(1), query.extent(2)}, "tokens of attention_query");
  check.tensor("log_sum", args.log_sum, {real}, {tokens, attention.extent(1)}, "tokens and heads of attention_query");
  check.tensor("head_weights", args.head_weights, {real}, {tokens, query.extent(1)}, "tokens and heads of query");
  check.ratio(args.ratio);
  if (check.ok()) {
    const std::int64_t entries = kPageTokens / args.ratio;
    check.tensor("attention_pages", args.attention_pages, {type},
                 {args.attention_pages.extent(0), entries, attention.extent(2)},
                 "entries a page, channels of attention_query", Layout::kStridedRows);
    check.tensor("pages", args.pages, {type}, {args.pages.extent(0), entries, query.extent(2)},
                 "entries a page, channels of query", Layout::kStridedRows);
  }
  check.number("max_entries", args.max_entries, args.max_entries >= 0, "at least 0");
  check.rows_of_step(args.layout, tokens);
  check.rings_of_step(args.layout, args.layout.first_row.extent(0));
  check.pages_of_step(args.layout, args.layout.first_row.extent(0));
  check.tensor("first_block", args.first_block, {DType::kI32}, {args.layout.first_row.extent(0)},
               "sequences of the step");
  for (const NamedView& choice : {NamedView{"selected", args.selected}, NamedView{"chosen", args.chosen}}) {
    if (choice.view.absent()) continue;
    check.source(choice.name, choice.view, {DType::kI32}, 2, "[tokens, topk]");
    check.tensor(choice.name, choice.view, {DType::kI32}, {tokens, choice.view.extent(1)}, "tokens of attention_query");
  }
}

}  // namespace

Status indexer_loss(Stream& stream, const IndexerLoss::Args& args) {
  const TensorView& query = args.query;
  const DType real = sum_type(args.attention_query.type());
  const std::int64_t tokens = args.attention_query.extent(0);
  Checker check(stream, IndexerLoss::name);
  check_inputs(check, args);
  check.tensor("loss", args.loss, {real}, {tokens}, "tokens of attention_query");
  if (args.chosen.absent()) {
    check.absent("captured", args.captured, "chosen is absent");
  } else {
    check.tensor("captured", args.captured, {real}, {tokens}, "tokens of attention_query");
  }
  check.tensor("d_query", args.d_query, {real}, query.shape(), "like query");
  check.tensor("d_head_weights", args.d_head_weights, {real}, args.head_weights.shape(), "like head_weights");
  check.tensor("d_entries", args.d_entries, {real}, {args.d_entries.extent(0), query.extent(2)}, "channels of query");
  for (const NamedView& out :
       {NamedView{"loss", args.loss}, NamedView{"captured", args.captured}, NamedView{"d_query", args.d_query},
        NamedView{"d_head_weights", args.d_head_weights}, NamedView{"d_entries", args.d_entries}}) {
    if (out.view.absent()) continue;
    check.separate(out.name, out.view,
                   {{"attention_query", args.attention_query},
                    {"attention_pages", args.attention_pages},
                    {"log_sum", args.log_sum},
                    {"query", query},
                    {"head_weights", args.head_weights},
                    {"pages", args.pages}});
  }
  return run<IndexerLoss>(stream, args, check, tokens, {{"attention_query", args.attention_query}, {"query", query}});
}

}  // namespace hadal::ops
