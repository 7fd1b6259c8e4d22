#include "ops/hc_head.h"

#include "backends/cpu/hyper_connection.h"
#include "backends/cpu/register.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

void enqueue(ops::Stream& stream, const ops::HcHead::Args& args) {
  CpuBackend& backend = backend_of(stream);
  const OperatorKernels& kernels = backend.kernels();
  const TensorView& x = args.streams;
  const std::int64_t n = x.extent(1);
  const HyperScratch scratch = hyper_scratch(stream, x, args.fn);
  float base[kMaxHyperStreams];  // copied because it may lie unaligned in its file
  for (std::int64_t i = 0; i < n; ++i) base[i] = load<float>(args.base.codes, i);
  const float scale = load<float>(args.scale.codes, 0);
  for_rows(backend.pool(), x.extent(0), n * args.fn.columns(), [&](std::int64_t begin, std::int64_t end, int worker) {
    hyper_products(backend, x, args.fn, begin, end, 0, n, worker, scratch);
    for (std::int64_t token = begin; token < end; ++token) {
      hyper_rms(backend, x, args.norm_eps, token, scratch);
      float* pre = scratch.pre + token * n;
      kernels.hc_weights(scratch.products + token * n, scratch.inverse_rms[token], base, scale, n,
                         static_cast<float>(args.hc_eps), pre);
      mix_streams(kernels, x, token, pre, 0, x.extent(2), args.out.row<float>(token));
    }
  });
}

}  // namespace

void add_hc_head(ops::OpTable& table) {
  table.add<ops::HcHead>({.implementation = "cpu",
                          .supports = [](const ops::HcHead::Args& args) { return is_f32(args.streams); },
                          .scratch_bytes =
                              [](const ops::Backend& backend, const ops::HcHead::Args& args) {
                                return hyper_scratch_bytes(backend, args.streams, args.fn);
                              },
                          .enqueue = enqueue});
}

}  // namespace hadal::cpu
