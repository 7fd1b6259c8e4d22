#include "ops/checks.h"
#include "ops/compress.h"

namespace hadal::ops {

Status compress_backward(Stream& stream, const CompressBackward::Args& args) {
  const TensorView& value = args.value;
  const DType type = value.type();
  const std::int64_t tokens = value.extent(0);
  const std::int64_t columns = value.extent(1);
  const std::int64_t blocks = args.last_row.extent(0);
  const std::int64_t halves = args.overlap ? 2 : 1;
  Checker check(stream, CompressBackward::name);
  check.source("value", value, kReal, 2, args.overlap ? "[tokens, 2 * channels]" : "[tokens, channels]");
  check.tensor("gate", args.gate, {type}, {tokens, columns}, "like value");
  check.source("last_row", args.last_row, {DType::kI32}, 1, "[blocks]");
  // A plan's upper bound of the blocks may be larger.
  check.number("number of blocks", blocks, stream.plan() != nullptr || blocks <= tokens,
               "at most the tokens of the step");
  check.number("ratio", args.ratio, args.ratio >= 1, "at least 1");
  check.number("number of columns of value", columns, columns % halves == 0, "even when blocks overlap");
  check.source("d_out", args.d_out, {type}, 2, "[blocks, channels]");
  check.tensor("d_out", args.d_out, {type}, {blocks, columns / halves}, "blocks, channels of value");
  check.tensor("d_value", args.d_value, {type}, value.shape(), "like value");
  check.tensor("d_gate", args.d_gate, {type}, value.shape(), "like value");
  check.rows_of_step(args.layout, tokens);
  check.rings_of_step(args.layout, args.layout.first_row.extent(0));
  check.separate("d_value", args.d_value, {{"value", value}, {"gate", args.gate}, {"d_out", args.d_out}});
  check.separate("d_gate", args.d_gate,
                 {{"value", value}, {"gate", args.gate}, {"d_out", args.d_out}, {"d_value", args.d_value}});
  return run<CompressBackward>(stream, args, check, tokens, {{"value", value}, {"d_out", args.d_out}});
}

}  // namespace hadal::ops
