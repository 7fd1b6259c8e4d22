#include "ops/cross_entropy.h"

#include <algorithm>

#include "backends/cpu/register.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

void enqueue(ops::Stream& stream, const ops::CrossEntropy::Args& args) {
  CpuBackend& backend = backend_of(stream);
  const std::int64_t vocabulary = args.logits.extent(1);
  const auto weight = static_cast<float>(args.weight);
  for_rows(backend.pool(), args.logits.extent(0), 8 * vocabulary, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t target = args.targets.as<std::int32_t>()[row];
      float* d_logits = args.d_logits.absent() ? nullptr : args.d_logits.row<float>(row);
      if (target >= 0) {
        args.loss.as<float>()[row] =
            backend.kernels().cross_entropy(args.logits.row<float>(row), vocabulary, target, weight, d_logits);
        continue;
      }
      args.loss.as<float>()[row] = 0;
      if (d_logits != nullptr) std::fill(d_logits, d_logits + vocabulary, 0.0F);
    }
  });
}

}  // namespace

void add_cross_entropy(ops::OpTable& table) {
  table.add<ops::CrossEntropy>({.implementation = "cpu",
                                .supports = [](const ops::CrossEntropy::Args& args) { return is_f32(args.logits); },
                                .scratch_bytes = no_scratch<ops::CrossEntropy::Args>,
                                .enqueue = enqueue});
}

}  // namespace hadal::cpu
