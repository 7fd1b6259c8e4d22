#include <algorithm>

#include "backends/cpu/register.h"
#include "backends/cpu/work.h"
#include "ops/gate.h"

namespace hadal::cpu {
namespace {

using Args = ops::GateBackward::Args;
constexpr std::int64_t kFloat = sizeof(float);

bool has_balance(const Args& args) { return args.balance_weight != 0 || !args.balance_loss.absent(); }

/// The sequences' routing in scratch memory.
struct Balance {
  float* shares;   // [sequences, experts]: f_e of each
  float* rows;     // [sequences]: how many each has
  float* means;    // [tokens]: sum_e f_e s_e / sum s of each row
  double* losses;  // [sequences]
};

std::int64_t worker_bytes(const Args& args) { return 2 * padded(args.logits.extent(1) * kFloat); }

std::int64_t scratch_bytes(const ops::Backend& backend, const Args& args) {
  std::int64_t bytes = worker_bytes(args) * backend.workers();
  if (has_balance(args)) {
    bytes += padded(args.sequences * args.logits.extent(1) * kFloat) + padded(args.sequences * kFloat) +
             padded(args.logits.extent(0) * kFloat) + padded(args.sequences * 2 * kFloat);
  }
  return bytes;
}

/// Counts rows and choices of each sequence; a serial pass over some thousand numbers.
Balance count_shares(const Args& args, Carver& carver) {
  const std::int64_t experts = args.logits.extent(1);
  const std::int64_t chosen = args.experts.extent(1);
  const Balance balance{.shares = carver.take<float>(args.sequences * experts),
                        .rows = carver.take<float>(args.sequences),
                        .means = carver.take<float>(args.logits.extent(0)),
                        .losses = carver.take<double>(args.sequences)};
  std::fill(balance.shares, balance.shares + args.sequences * experts, 0.0F);
  std::fill(balance.rows, balance.rows + args.sequences, 0.0F);
  for (std::int64_t token = 0; token < args.logits.extent(0); ++token) {
    const std::int64_t sequence = args.sequence.as<std::int32_t>()[token];
    if (sequence < 0) continue;
    balance.rows[sequence] += 1;
    const auto* row = args.experts.row<std::int32_t>(token);
    for (std::int64_t slot = 0; slot < chosen; ++slot) balance.shares[sequence * experts + row[slot]] += 1;
  }
  for (std::int64_t sequence = 0; sequence < args.sequences; ++sequence) {
    if (balance.rows[sequence] == 0) continue;
    const float even = static_cast<float>(chosen) * balance.rows[sequence] / static_cast<float>(experts);
    float* shares = balance.shares + sequence * experts;
    for (std::int64_t expert = 0; expert < experts; ++expert) shares[expert] /= even;
  }
  return balance;
}

/// d_logits of one token; `scores` and `slopes` are a worker's memory.
void token_backward(const OperatorKernels& kernels, const Args& args, const Balance& balance, std::int64_t token,
                    float* scores, float* slopes) {
  const std::int64_t experts = args.logits.extent(1);
  const float total = kernels.score_slopes(args.logits.row<float>(token), scores, slopes, experts);
  float* out = args.d_logits.row<float>(token);
  const std::int64_t sequence = has_balance(args) ? args.sequence.as<std::int32_t>()[token] : -1;
  if (sequence < 0) {
    std::fill(out, out + experts, 0.0F);
  } else {
    const float* shares = balance.shares + sequence * experts;
    const float mean = kernels.dot(shares, scores, experts) / total;
    balance.means[token] = mean;
    const float factor = static_cast<float>(args.balance_weight) / balance.rows[sequence] / total;
    kernels.balance_backward(shares, mean, factor, slopes, out, experts);
  }
  const std::int64_t count = args.experts.extent(1);
  const auto* chosen = args.experts.row<std::int32_t>(token);
  const float* d_weights = args.d_weights.row<float>(token);
  const auto by = static_cast<float>(args.routed_scaling_factor);
  float sum = 0;
  float inner = 0;
  for (std::int64_t slot = 0; slot < count; ++slot) {
    sum += scores[chosen[slot]];
    inner += d_weights[slot] * scores[chosen[slot]];
  }
  for (std::int64_t slot = 0; slot < count; ++slot) {
    const float d_score = args.normalize ? by / sum * (d_weights[slot] - inner / sum) : by * d_weights[slot];
    out[chosen[slot]] += d_score * slopes[chosen[slot]];
  }
}

/// Mean of each sequence's rows, added in their order.
void store_losses(const Args& args, const Balance& balance) {
  std::fill(balance.losses, balance.losses + args.sequences, 0.0);
  for (std::int64_t token = 0; token < args.logits.extent(0); ++token) {
    const std::int64_t sequence = args.sequence.as<std::int32_t>()[token];
    if (sequence >= 0) balance.losses[sequence] += static_cast<double>(balance.means[token]);
  }
  for (std::int64_t sequence = 0; sequence < args.sequences; ++sequence) {
    const float rows = balance.rows[sequence];
    args.balance_loss.as<float>()[sequence] =
        rows == 0 ? 0.0F : static_cast<float>(balance.losses[sequence] / static_cast<double>(rows));
  }
}

void enqueue(ops::Stream& stream, const Args& args) {
  CpuBackend& backend = backend_of(stream);
  const std::int64_t experts = args.logits.extent(1);
  Carver carver(stream.scratch());
  auto* rows = carver.take<std::byte>(worker_bytes(args) * backend.workers());
  const Balance balance = has_balance(args) ? count_shares(args, carver) : Balance{};
  for_rows(backend.pool(), args.logits.extent(0), 8 * experts, [&](std::int64_t begin, std::int64_t end, int worker) {
    Carver own(rows + worker * worker_bytes(args));
    auto* scores = own.take<float>(experts);
    auto* slopes = own.take<float>(experts);
    for (std::int64_t token = begin; token < end; ++token) {
      token_backward(backend.kernels(), args, balance, token, scores, slopes);
    }
  });
  if (!args.balance_loss.absent()) store_losses(args, balance);
}

}  // namespace

void add_gate_backward(ops::OpTable& table) {
  table.add<ops::GateBackward>({.implementation = "cpu",
                                .supports = [](const Args& args) { return is_f32(args.logits); },
                                .scratch_bytes = scratch_bytes,
                                .enqueue = enqueue});
}

}  // namespace hadal::cpu
