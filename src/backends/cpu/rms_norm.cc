#include "ops/rms_norm.h"

#include <algorithm>
#include <cmath>

#include "backends/cpu/register.h"
#include "backends/cpu/rows.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

void normalize(const OperatorKernels& kernels, const ops::RmsNorm::Args& args, std::int64_t row) {
  const std::int64_t channels = args.input.extent(1);
  const std::byte* input = element(args.input, row, 0);
  const float sum = is_bf16(args.input) ? kernels.sum_of_squares_bf16(input, channels)
                                        : kernels.sum_of_squares(args.input.row<float>(row), channels);
  const float factor = 1.0F / std::sqrt(sum / static_cast<float>(channels) + static_cast<float>(args.eps));
  alignas(64) float piece[kPiece];
  alignas(64) float weights[kPiece];
  const TensorView& weight = args.weight.codes;
  for (std::int64_t channel = 0; channel < channels; channel += kPiece) {
    const std::int64_t count = std::min(kPiece, channels - channel);
    const float* values = read_f32(kernels, args.input.type(), element(args.input, row, channel), count, piece);
    kernels.scale(values, factor, piece, count);
    if (!weight.absent()) {
      const std::byte* address = weight.bytes() + channel * size_of(weight.type());
      kernels.multiply(piece, read_f32(kernels, weight.type(), address, count, weights), piece, count);
    }
    write_f32(kernels, args.out.type(), piece, count, element(args.out, row, channel));
  }
}

void enqueue(ops::Stream& stream, const ops::RmsNorm::Args& args) {
  CpuBackend& backend = backend_of(stream);
  for_rows(backend.pool(), args.input.extent(0), args.input.extent(1), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) normalize(backend.kernels(), args, row);
  });
}

}  // namespace

void add_rms_norm(ops::OpTable& table) {
  table.add<ops::RmsNorm>({.implementation = "cpu",
                           .supports =
                               [](const ops::RmsNorm::Args& args) {
                                 return is_f32_or_bf16(args.input) && is_f32_or_bf16(args.out) &&
                                        (args.weight.codes.absent() || is_f32_or_bf16(args.weight.codes));
                               },
                           .scratch_bytes = no_scratch<ops::RmsNorm::Args>,
                           .enqueue = enqueue});
}

}  // namespace hadal::cpu
