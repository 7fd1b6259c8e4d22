#include "ops/mean_streams.h"

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

}  // namespace

void add_mean_streams(ops::OpTable& table) {
  table.add<ops::MeanStreams>({.implementation = "cpu",
                               .supports = [](const ops::MeanStreams::Args& args) { return is_f32(args.streams); },
                               .scratch_bytes = no_scratch<ops::MeanStreams::Args>,
                               .enqueue = enqueue});
}

}  // namespace hadal::cpu
