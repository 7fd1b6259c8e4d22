#include "ops/compress.h"

#include "ops/checks.h"

namespace hadal::ops {

Status compress(Stream& stream, const Compress::Args& args) {
  const TensorView& value = args.value;
  const TensorView& out = args.out;
  const DType type = value.type();
  const std::int64_t tokens = value.extent(0);
  const std::int64_t columns = value.extent(1);
  const std::int64_t blocks = args.last_row.extent(0);
  const std::int64_t halves = args.overlap ? 2 : 1;
  const std::int64_t slots = args.value_ring.extent(0);
  const std::int64_t ring_rows = args.value_ring.extent(1);
  Checker check(stream, Compress::name);
  check.source("value", value, kReal, 2, args.overlap ? "[tokens, 2 * channels]" : "[tokens, channels]");
  check.tensor("gate", args.gate, {type}, {tokens, columns}, "like value");
  check.source("value_ring", args.value_ring, {type}, 3, "[slots, ring rows, columns of value]", Layout::kStridedRows);
  check.tensor("value_ring", args.value_ring, {type}, {slots, ring_rows, columns}, "columns of value",
               Layout::kStridedRows);
  check.tensor("gate_ring", args.gate_ring, {type}, {slots, ring_rows, columns}, "like value_ring",
               Layout::kStridedRows);
  check.source("last_row", args.last_row, {DType::kI32}, 1, "[blocks]");
  // A plan's upper bound of the blocks may be larger.
  check.number("number of blocks", blocks, stream.plan() != nullptr || blocks <= tokens,
               "at most the tokens of the step");
  check.number("ratio", args.ratio, args.ratio >= 1, "at least 1");
  check.number("number of ring rows", ring_rows, ring_rows >= halves * args.ratio,
               args.overlap ? "at least 2 * ratio" : "at least ratio");
  check.source("out", out, {type}, 2, "[blocks, channels]");
  check.tensor("out", out, {type}, {blocks, columns / halves}, "blocks, channels of value");
  check.number("number of columns of value", columns, columns % halves == 0, "even when blocks overlap");
  check.rows_of_step(args.layout, tokens);
  check.rings_of_step(args.layout, args.layout.first_row.extent(0));
  check.separate("out", out,
                 {{"value", value},
                  {"gate", args.gate},
                  {"value_ring", args.value_ring},
                  {"gate_ring", args.gate_ring},
                  {"last_row", args.last_row}});
  return run<Compress>(stream, args, check, blocks, {{"value", value}, {"value_ring", args.value_ring}, {"out", out}});
}

}  // namespace hadal::ops
