#include "ops/embedding.h"

#include <algorithm>

#include "backends/cpu/register.h"
#include "backends/cpu/rows.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

void enqueue(ops::Stream& stream, const ops::Embedding::Args& args) {
  CpuBackend& backend = backend_of(stream);
  const TensorView& table = args.table.codes;
  const TensorView& out = args.out;
  const std::int64_t streams = out.extent(1);
  const std::int64_t channels = out.extent(2);
  for_rows(backend.pool(), out.extent(0), streams * channels, [&](std::int64_t begin, std::int64_t end, int) {
    alignas(64) float piece[kPiece];
    for (std::int64_t token = begin; token < end; ++token) {
      const std::int64_t id = args.tokens.as<std::int64_t>()[token];
      for (std::int64_t channel = 0; channel < channels; channel += kPiece) {
        const std::int64_t count = std::min(kPiece, channels - channel);
        const float* values = read_f32(backend.kernels(), table.type(), element(table, id, channel), count, piece);
        for (std::int64_t i = 0; i < streams; ++i) {
          write_f32(backend.kernels(), out.type(), values, count, element(out, token, i * out.stride(1) + channel));
        }
      }
    }
  });
}

}  // namespace

void add_embedding(ops::OpTable& table) {
  table.add<ops::Embedding>({.implementation = "cpu",
                             .supports =
                                 [](const ops::Embedding::Args& args) {
                                   return is_f32_or_bf16(args.out) && is_f32_or_bf16(args.table.codes);
                                 },
                             .scratch_bytes = no_scratch<ops::Embedding::Args>,
                             .enqueue = enqueue});
}

}  // namespace hadal::cpu
