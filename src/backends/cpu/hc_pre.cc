#include "ops/hc_pre.h"

#include <algorithm>

#include "backends/cpu/hyper_connection.h"
#include "backends/cpu/register.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

constexpr std::int64_t kGroup = 16;  // tokens

/// The mixing constants, copied because they may lie unaligned in their file.
struct Constants {
  float base[kMaxHyperProducts];
  float scale[3];
  explicit Constants(const ops::HcPre::Args& args) {
    for (std::int64_t i = 0; i < args.fn.rows(); ++i) base[i] = load<float>(args.base.codes, i);
    for (std::int64_t i = 0; i < 3; ++i) scale[i] = load<float>(args.scale.codes, i);
  }
};

void enqueue(ops::Stream& stream, const ops::HcPre::Args& args) {
  CpuBackend& backend = backend_of(stream);
  const OperatorKernels& kernels = backend.kernels();
  const TensorView& x = args.streams;
  const std::int64_t tokens = x.extent(0);
  const std::int64_t n = x.extent(1);
  const std::int64_t channels = x.extent(2);
  const std::int64_t outputs = args.fn.rows();
  const HyperScratch scratch = hyper_scratch(stream, x, args.fn);
  const Constants constants(args);
  const auto mix = [&](std::int64_t begin, std::int64_t end) {
    kernels.hc_mix(scratch.products + begin * outputs, outputs, scratch.inverse_rms + begin, end - begin,
                   constants.base, constants.scale, n, args.sinkhorn_iterations, static_cast<float>(args.hc_eps),
                   scratch.pre + begin * n, args.post.as<float>() + begin * n, args.comb.as<float>() + begin * n * n);
  };
  if (splits_tokens(backend, tokens)) {
    backend.pool().parallel_for(tokens, 1, [&](std::int64_t first, std::int64_t last, int worker) {
      // The streams of a group stay in cache for all their uses.
      for (std::int64_t begin = first; begin < last; begin += kGroup) {
        const std::int64_t end = std::min(last, begin + kGroup);
        for (std::int64_t token = begin; token < end; ++token) hyper_rms(backend, x, args.norm_eps, token, scratch);
        hyper_products(backend, x, args.fn, begin, end, 0, outputs, worker, scratch);
        mix(begin, end);
        for (std::int64_t token = begin; token < end; ++token) {
          mix_streams(kernels, x, token, scratch.pre + token * n, 0, channels, args.input.row<float>(token));
        }
      }
    });
    return;
  }
  const std::int64_t grain = std::max<std::int64_t>(4, kElementsPerFork / args.fn.columns());
  backend.pool().parallel_for(outputs, grain, [&](std::int64_t begin, std::int64_t end, int worker) {
    for (std::int64_t token = 0; begin == 0 && token < tokens; ++token) {
      hyper_rms(backend, x, args.norm_eps, token, scratch);
    }
    hyper_products(backend, x, args.fn, 0, tokens, begin, end, worker, scratch);
  });
  mix(0, tokens);
  for_token_pieces(
      backend.pool(), tokens, channels, n, [&](std::int64_t token, std::int64_t channel, std::int64_t count) {
        mix_streams(kernels, x, token, scratch.pre + token * n, channel, count, args.input.row<float>(token) + channel);
      });
}

}  // namespace

void add_hc_pre(ops::OpTable& table) {
  table.add<ops::HcPre>({.implementation = "cpu",
                         .supports = [](const ops::HcPre::Args& args) { return is_f32(args.streams); },
                         .scratch_bytes =
                             [](const ops::Backend& backend, const ops::HcPre::Args& args) {
                               return hyper_scratch_bytes(backend, args.streams, args.fn);
                             },
                         .enqueue = enqueue});
}

}  // namespace hadal::cpu
