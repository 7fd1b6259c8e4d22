#include "ops/gate.h"

#include <algorithm>
#include <cmath>

#include "backends/cpu/register.h"
#include "backends/cpu/rows.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

/// Whether a value ranks before another of a lower index: larger first, NaN last.
bool outranks(float value, float other) { return value > other || (std::isnan(other) && !std::isnan(value)); }

/// The `count` largest of the n values; the lower index on ties. `chosen` in descending order.
void choose_largest(const float* values, std::int64_t n, std::int64_t count, std::int32_t* chosen) {
  std::int64_t held = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    if (held == count && !outranks(values[i], values[chosen[count - 1]])) continue;
    std::int64_t place = held == count ? count - 1 : held++;
    while (place > 0 && outranks(values[i], values[chosen[place - 1]])) {
      chosen[place] = chosen[place - 1];
      --place;
    }
    chosen[place] = static_cast<std::int32_t>(i);
  }
}

/// Scores and scores with bias of one row, in a worker's scratch memory.
struct Scores {
  float* plain;
  float* biased;
};

void route(const OperatorKernels& kernels, const ops::Gate::Args& args, std::int64_t token, const Scores& scores) {
  const std::int64_t experts = args.logits.extent(1);
  const std::int64_t count = args.experts.extent(1);
  std::int32_t* chosen = args.experts.row<std::int32_t>(token);
  float* weights = args.weights.row<float>(token);
  kernels.sqrt_softplus(args.logits.row<float>(token), scores.plain, experts);
  if (args.token_experts.codes.absent()) {
    kernels.add(scores.plain, args.bias.codes.as<float>(), scores.biased, experts);
    choose_largest(scores.biased, experts, count, chosen);
  } else {
    const std::byte* row = element(args.token_experts.codes, args.tokens.as<std::int64_t>()[token], 0);
    for (std::int64_t slot = 0; slot < count; ++slot) {
      chosen[slot] = static_cast<std::int32_t>(load_unaligned<std::int64_t>(row + slot * 8));
    }
  }
  std::sort(chosen, chosen + count);
  float sum = 0;
  for (std::int64_t slot = 0; slot < count; ++slot) sum += scores.plain[chosen[slot]];
  for (std::int64_t slot = 0; slot < count; ++slot) {
    const float score = scores.plain[chosen[slot]];
    weights[slot] = (args.normalize ? score / sum : score) * static_cast<float>(args.routed_scaling_factor);
  }
}

std::int64_t worker_bytes(const ops::Gate::Args& args) {
  return 2 * padded(args.logits.extent(1) * static_cast<std::int64_t>(sizeof(float)));
}

void enqueue(ops::Stream& stream, const ops::Gate::Args& args) {
  CpuBackend& backend = backend_of(stream);
  const std::int64_t experts = args.logits.extent(1);
  for_rows(backend.pool(), args.logits.extent(0), 4 * experts, [&](std::int64_t begin, std::int64_t end, int worker) {
    Carver carver(stream.scratch() + worker * worker_bytes(args));
    const Scores scores{.plain = carver.take<float>(experts), .biased = carver.take<float>(experts)};
    for (std::int64_t token = begin; token < end; ++token) route(backend.kernels(), args, token, scores);
  });
}

}  // namespace

void add_gate(ops::OpTable& table) {
  table.add<ops::Gate>(
      {.implementation = "cpu",
       .supports = [](const ops::Gate::Args& args) { return is_f32(args.logits); },
       .scratch_bytes = [](const ops::Backend& backend,
                           const ops::Gate::Args& args) { return worker_bytes(args) * backend.workers(); },
       .enqueue = enqueue});
}

}  // namespace hadal::cpu
