#include "ops/routed_experts.h"

#include "ops/checks.h"

namespace hadal::ops {
namespace {

/// The table is a constant of the model: all of it is looked at while a step is planned, its first expert always.
void check_table(Checker& check, const Stream& stream, const ExpertWeights& table, std::int64_t channels,
                 Rounding rounding) {
  const bool complete = table.count >= 1 && table.gate != nullptr && table.up != nullptr && table.down != nullptr;
  check.number("number of experts of table", table.count, complete, "at least 1, with gate, up and down");
  if (!check.ok()) return;
  const std::int64_t inter = table.gate[0].rows();
  check.number("number of rows of gate", inter, inter >= 1 && inter % block_length(rounding) == 0,
               "a positive multiple of the rounding's block");
  const std::int64_t looked_at = stream.plan() != nullptr ? table.count : 1;
  for (std::int64_t expert = 0; expert < looked_at && check.ok(); ++expert) {
    check.matrix("gate", table.gate[expert], inter, channels, "channels of input");
    check.matrix("up", table.up[expert], inter, channels, "like gate");
    check.matrix("down", table.down[expert], channels, inter, "like gate, transposed");
  }
}

const TensorView& first_codes(const ExpertWeights& table) {
  static const TensorView none;
  return table.count >= 1 && table.gate != nullptr ? table.gate[0].codes : none;
}

/// Gradients of the table's experts, as many as those or none.
void check_gradients(Checker& check, const Stream& stream, const ExpertWeights& gradients, const ExpertWeights& table,
                     DType type) {
  if (!check.ok() || gradients.count == 0) return;
  const bool complete = gradients.count == table.count && gradients.gate != nullptr && gradients.up != nullptr &&
                        gradients.down != nullptr;
  check.number("number of experts of gradients", gradients.count, complete,
               "as many as of table, with gate, up and down, or 0");
  const std::int64_t looked_at = stream.plan() != nullptr ? table.count : 1;
  const Shape wide{table.gate[0].rows(), table.gate[0].columns()};
  for (std::int64_t expert = 0; expert < looked_at && check.ok(); ++expert) {
    check.tensor("gradient of gate", gradients.gate[expert].codes, {type}, wide, "like gate");
    check.tensor("gradient of up", gradients.up[expert].codes, {type}, wide, "like up");
    check.tensor("gradient of down", gradients.down[expert].codes, {type}, {wide[1], wide[0]}, "like down");
  }
}

}  // namespace

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
  check_table(check, stream, table, channels, rounding);
  check.separate("out", out, {{"input", input}, {"experts", experts}, {"weights", weights}});
  return run<RoutedExperts>(stream, args, check, tokens,
                            {{"input", input}, {"experts", experts}, {"gate", first_codes(table)}, {"out", out}});
}

Status routed_experts_backward(Stream& stream, const RoutedExpertsBackward::Args& args) {
  const auto& [input, experts, weights, table, swiglu_limit, rounding, d_out, d_input, d_weights, gradients] = args;
  const std::int64_t tokens = input.extent(0);
  const DType sums = sum_type(input.type());
  Checker check(stream, RoutedExpertsBackward::name);
  check.source("input", input, kRealOrBf16, 2, "[tokens, channels]");
  check.source("experts", experts, {DType::kI32}, 2, "[tokens, chosen experts]");
  check.tensor("experts", experts, {DType::kI32}, {tokens, experts.extent(1)}, "tokens of input");
  check.tensor("weights", weights, {sums}, experts.shape(), "like experts");
  check.tensor("d_out", d_out, {sums}, input.shape(), "like input");
  check.tensor("d_input", d_input, {sums}, input.shape(), "like input");
  check.tensor("d_weights", d_weights, {sums}, experts.shape(), "like experts");
  check.number("swiglu_limit", swiglu_limit, swiglu_limit >= 0, "at least 0");
  check_table(check, stream, table, input.extent(1), rounding);
  check_gradients(check, stream, gradients, table, sums);
  check.separate("d_input", d_input, {{"input", input}, {"experts", experts}, {"weights", weights}, {"d_out", d_out}});
  check.separate(
      "d_weights", d_weights,
      {{"input", input}, {"experts", experts}, {"weights", weights}, {"d_out", d_out}, {"d_input", d_input}});
  return run<RoutedExpertsBackward>(
      stream, args, check, tokens,
      {{"input", input}, {"experts", experts}, {"gate", first_codes(table)}, {"d_out", d_out}});
}

}  // namespace hadal::ops
