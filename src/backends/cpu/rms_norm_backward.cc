#include <algorithm>
#include <cmath>

#include "backends/cpu/chunks.h"
#include "backends/cpu/register.h"
#include "backends/cpu/rows.h"
#include "backends/cpu/work.h"
#include "ops/rms_norm.h"

namespace hadal::cpu {
namespace {

constexpr std::int64_t kFloat = sizeof(float);

/// Chunks of rows with sums of their own; none when no gradient of the weight is wanted.
std::int64_t chunks_of(const ops::RmsNormBackward::Args& args) {
  return args.d_weight.absent() ? 0 : RowChunks(args.input.extent(0)).count();
}

std::int64_t scratch_bytes(const ops::Backend&, const ops::RmsNormBackward::Args& args) {
  return (1 + chunks_of(args)) * padded(args.input.extent(1) * kFloat);
}

/// The weight as f32, or null without one.
const float* weight_of(const OperatorKernels& kernels, const ops::RmsNormBackward::Args& args, float* out) {
  const TensorView& weight = args.weight.codes;
  return weight.absent() ? nullptr : read_f32(kernels, weight.type(), weight.bytes(), weight.extent(0), out);
}

void enqueue(ops::Stream& stream, const ops::RmsNormBackward::Args& args) {
  CpuBackend& backend = backend_of(stream);
  const OperatorKernels& kernels = backend.kernels();
  const std::int64_t rows = args.input.extent(0);
  const std::int64_t channels = args.input.extent(1);
  const std::int64_t stride = padded(channels * kFloat) / kFloat;
  Carver carver(stream.scratch());
  const float* weight = weight_of(kernels, args, carver.take<float>(channels));
  auto* partials = carver.take<float>(chunks_of(args) * stride);
  const auto row_backward = [&](std::int64_t row, float* d_weight) {
    const float* x = args.input.row<float>(row);
    const float sum = kernels.sum_of_squares(x, channels);
    const float factor = 1.0F / std::sqrt(sum / static_cast<float>(channels) + static_cast<float>(args.eps));
    kernels.norm_backward(x, weight, args.d_out.row<float>(row), factor, args.accumulate_input,
                          args.d_input.row<float>(row), d_weight, channels);
  };
  if (args.d_weight.absent()) {
    for_rows(backend.pool(), rows, channels, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t row = begin; row < end; ++row) row_backward(row, nullptr);
    });
    return;
  }
  const RowChunks chunks(rows);
  backend.pool().parallel_for(chunks.count(), 1, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t chunk = first; chunk < last; ++chunk) {
      float* d_weight = partials + chunk * stride;
      std::fill(d_weight, d_weight + channels, 0.0F);
      for (std::int64_t row = chunks.begin(chunk); row < chunks.end(chunk); ++row) row_backward(row, d_weight);
    }
  });
  add_chunks(backend, partials, chunks.count(), stride, args.d_weight.as<float>(), channels);
}

}  // namespace

void add_rms_norm_backward(ops::OpTable& table) {
  table.add<ops::RmsNormBackward>({.implementation = "cpu",
                                   .supports =
                                       [](const ops::RmsNormBackward::Args& args) {
                                         return is_f32(args.input) &&
                                                (args.weight.codes.absent() || is_f32_or_bf16(args.weight.codes));
                                       },
                                   .scratch_bytes = scratch_bytes,
                                   .enqueue = enqueue});
}

}  // namespace hadal::cpu
