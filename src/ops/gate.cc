#include "ops/gate.h"

#include "ops/checks.h"

namespace hadal::ops {

Status gate(Stream& stream, const Gate::Args& args) {
  const TensorView& logits = args.logits;
  const TensorView& table = args.token_experts.codes;
  const std::int64_t tokens = logits.extent(0);
  const std::int64_t chosen = args.experts.extent(1);
  const bool hashed = !table.absent();
  Checker check(stream, Gate::name);
  check.source("logits", logits, kReal, 2, "[tokens, experts]");
  check.source("experts", args.experts, {DType::kI32}, 2, "[tokens, chosen experts]");
  check.tensor("experts", args.experts, {DType::kI32}, {tokens, chosen}, "tokens of logits");
  check.number("number of chosen experts", chosen, chosen <= logits.extent(1), "at most the experts of logits");
  check.tensor("weights", args.weights, {logits.type()}, {tokens, chosen}, "like experts");
  if (hashed) {
    check.absent("bias", args.bias.codes, "token_experts is given");
    check.source("token_experts", table, {DType::kI64}, 2, "[vocabulary, chosen experts]");
    check.constant("token_experts", args.token_experts, {DType::kI64}, {table.extent(0), chosen}, "like experts");
    check.tensor("tokens", args.tokens, {DType::kI64}, {tokens}, "tokens of logits");
  } else {
    check.constant("bias", args.bias, {DType::kF32}, {logits.extent(1)}, "experts of logits");
  }
  const TensorView none;
  const TensorView& ids = hashed ? args.tokens : none;
  check.separate("experts", args.experts,
                 {{"logits", logits}, {"bias", args.bias.codes}, {"token_experts", table}, {"tokens", ids}});
  check.separate("weights", args.weights,
                 {{"logits", logits},
                  {"bias", args.bias.codes},
                  {"token_experts", table},
                  {"tokens", ids},
                  {"experts", args.experts}});
  return run<Gate>(stream, args, check, tokens,
                   {{"logits", logits}, {"token_experts", table}, {"experts", args.experts}});
}

Status gate_backward(Stream& stream, const GateBackward::Args& args) {
  const TensorView& logits = args.logits;
  const DType type = logits.type();
  const std::int64_t tokens = logits.extent(0);
  const std::int64_t chosen = args.experts.extent(1);
  Checker check(stream, GateBackward::name);
  check.source("logits", logits, kReal, 2, "[tokens, experts]");
  check.source("experts", args.experts, {DType::kI32}, 2, "[tokens, chosen experts]");
  check.tensor("experts", args.experts, {DType::kI32}, {tokens, chosen}, "tokens of logits");
  check.number("number of chosen experts", chosen, chosen <= logits.extent(1), "at most the experts of logits");
  check.tensor("d_weights", args.d_weights, {type}, {tokens, chosen}, "like experts");
  if (args.balance_weight != 0 || !args.balance_loss.absent()) {
    check.tensor("sequence", args.sequence, {DType::kI32}, {tokens}, "tokens of logits");
    check.number("sequences", args.sequences, args.sequences >= 1, "at least 1");
  }
  if (!args.balance_loss.absent()) {
    check.tensor("balance_loss", args.balance_loss, {type}, {args.sequences}, "sequences");
  }
  check.tensor("d_logits", args.d_logits, {type}, {tokens, logits.extent(1)}, "like logits");
  check.separate("d_logits", args.d_logits,
                 {{"logits", logits, Sharing::kSameView},
                  {"experts", args.experts},
                  {"d_weights", args.d_weights},
                  {"sequence", args.sequence}});
  check.separate("balance_loss", args.balance_loss,
                 {{"logits", logits},
                  {"experts", args.experts},
                  {"d_weights", args.d_weights},
                  {"sequence", args.sequence},
                  {"d_logits", args.d_logits}});
  return run<GateBackward>(stream, args, check, tokens, {{"logits", logits}, {"experts", args.experts}});
}

}  // namespace hadal::ops
