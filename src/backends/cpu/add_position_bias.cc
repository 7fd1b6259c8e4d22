#include "ops/add_position_bias.h"

#include "backends/cpu/register.h"
#include "backends/cpu/rows.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

void enqueue(ops::Stream& stream, const ops::AddPositionBias::Args& args) {
  CpuBackend& backend = backend_of(stream);
  const std::int64_t channels = args.x.extent(1);
  const std::int64_t period = args.bias.codes.extent(0);
  for_rows(backend.pool(), args.x.extent(0), channels, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t phase = args.positions.as<std::int64_t>()[row] % period;
      float* x = args.x.row<float>(row);
      // The bias may lie unaligned in its file; kernels load from any address.
      backend.kernels().add(x, args.bias.codes.row<float>(phase), x, channels);
    }
  });
}

/// Each worker takes columns: an element of the bias is summed over rows in their order.
void enqueue_backward(ops::Stream& stream, const ops::AddPositionBiasBackward::Args& args) {
  CpuBackend& backend = backend_of(stream);
  const std::int64_t period = args.d_bias.extent(0);
  constexpr std::int64_t kColumns = 64;  // two workers never share a cache line
  const std::int64_t grain = (grain_of(args.d_x.extent(0)) + kColumns - 1) / kColumns * kColumns;
  backend.pool().parallel_for(args.d_x.extent(1), grain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = 0; row < args.d_x.extent(0); ++row) {
      const std::int64_t phase = args.positions.as<std::int64_t>()[row] % period;
      backend.kernels().accumulate(args.d_x.row<float>(row) + begin, args.d_bias.row<float>(phase) + begin,
                                   end - begin);
    }
  });
}

}  // namespace

void add_add_position_bias(ops::OpTable& table) {
  table.add<ops::AddPositionBias>(
      {.implementation = "cpu",
       .supports = [](const ops::AddPositionBias::Args& args) { return is_f32(args.x) && is_f32(args.bias.codes); },
       .scratch_bytes = no_scratch<ops::AddPositionBias::Args>,
       .enqueue = enqueue});
  table.add<ops::AddPositionBiasBackward>(
      {.implementation = "cpu",
       .supports = [](const ops::AddPositionBiasBackward::Args& args) { return is_f32(args.d_x); },
       .scratch_bytes = no_scratch<ops::AddPositionBiasBackward::Args>,
       .enqueue = enqueue_backward});
}

}  // namespace hadal::cpu
