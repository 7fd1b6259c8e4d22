#include "ops/mean_streams.h"

#include <algorithm>

#include "backends/cpu/register.h"
#include "backends/cpu/rows.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

void enqueue(ops::Stream& stream, const ops::MeanStreams::Args& args) {
  CpuBackend& backend = backend_of(stream);
  const std::int64_t streams = args.streams.extent(1);
  const std::int64_t channels = args.streams.extent(2);
  const float count = static_cast<float>(streams);
  for_rows(backend.pool(), args.streams.extent(0), streams * channels, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t token = begin; token < end; ++token) {
      const float* x = args.streams.row<float>(token);
      float* out = args.out.row<float>(token);
      backend.kernels().sum_rows(x, args.streams.stride(1), streams, out, channels);
      backend.kernels().divide(out, count, out, channels);
    }
  });
}

void enqueue_backward(ops::Stream& stream, const ops::MeanStreamsBackward::Args& args) {
  CpuBackend& backend = backend_of(stream);
  const std::int64_t streams = args.d_streams.extent(1);
  const std::int64_t channels = args.d_streams.extent(2);
  for_rows(
      backend.pool(), args.d_streams.extent(0), streams * channels, [&](std::int64_t begin, std::int64_t end, int) {
        alignas(64) float piece[kPiece];
        for (std::int64_t token = begin; token < end; ++token) {
          for (std::int64_t channel = 0; channel < channels; channel += kPiece) {
            const std::int64_t count = std::min(kPiece, channels - channel);
            backend.kernels().divide(args.d_out.row<float>(token) + channel, static_cast<float>(streams), piece, count);
            float* out = args.d_streams.row<float>(token) + channel;
            for (std::int64_t i = 0; i < streams; ++i) {
              backend.kernels().accumulate(piece, out + i * args.d_streams.stride(1), count);
            }
          }
        }
      });
}

}  // namespace

void add_mean_streams(ops::OpTable& table) {
  table.add<ops::MeanStreams>({.implementation = "cpu",
                               .supports = [](const ops::MeanStreams::Args& args) { return is_f32(args.streams); },
                               .scratch_bytes = no_scratch<ops::MeanStreams::Args>,
                               .enqueue = enqueue});
  table.add<ops::MeanStreamsBackward>(
      {.implementation = "cpu",
       .supports = [](const ops::MeanStreamsBackward::Args& args) { return is_f32(args.d_streams); },
       .scratch_bytes = no_scratch<ops::MeanStreamsBackward::Args>,
       .enqueue = enqueue_backward});
}

}  // namespace hadal::cpu
