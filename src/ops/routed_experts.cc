#include "ops/routed_experts.h"

#include "ops/checks.h"

namespace hadal::ops {

Status routed_experts(Stream& stream, const RoutedExperts::Args& args) {
  const auto& [input, experts, weights, table, swiglu_limit, rounding, out] = args;
  const std::int64_t tokens = input.extent(0);
  const std::int64_t channels = input.extent(1);
  const DType sums = sum_type(input.type());
  Checker check(stream, RoutedExperts::name);
  check.source("input", input, kRealOrBf16, 2, "[tokens, channels]");
  check.source("experts", experts, {DType::kI32}, 2, "[tokens, chosen experts]");
  check.tensor("experts", experts, {DType::kI32}, {tokens, experts.extent(1)}, "tokens of input");
  check.tensor("weights", weights, {sums}, experts.shape(), "like experts");
  check.tensor("out", out, {sums}, {tokens, channels}, "like input");
  check.number("swiglu_limit", swiglu_limit, swiglu_limit >= 0, "at least 0");
  const bool complete = table.count >= 1 && table.gate != nullptr && table.up != nullptr && table.down != nullptr;
  check.number("number of experts of table", table.count, complete, "at least 1, with gate, up and down");
  if (check.ok()) {
    const std::int64_t inter = table.gate[0].rows();
    check.number("number of rows of gate", inter, inter >= 1 && inter % block_length(rounding) == 0,
                 "a positive multiple of the rounding's block");
    // The table is a constant of the model: all of it is looked at while a step is planned, its first expert always.
    const std::int64_t looked_at = stream.plan() != nullptr ? table.count : 1;
    for (std::int64_t expert = 0; expert < looked_at && check.ok(); ++expert) {
      check.matrix("gate", table.gate[expert], inter, channels, "channels of input");
      check.matrix("up", table.up[expert], inter, channels, "like gate");
      check.matrix("down", table.down[expert], channels, inter, "like gate, transposed");
    }
  }
  check.separate("out", out, {{"input", input}, {"experts", experts}, {"weights", weights}});
  const TensorView none;
  const TensorView& codes = complete ? table.gate[0].codes : none;
  return run<RoutedExperts>(stream, args, check, tokens,
                            {{"input", input}, {"experts", experts}, {"gate", codes}, {"out", out}});
}

}  // namespace hadal::ops
