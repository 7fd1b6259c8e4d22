#pragma once

#include <cstdint>

#include "backends/cpu/cpu_backend.h"
#include "ops/backend.h"
#include "ops/weight.h"
#include "tensor/tensor.h"

namespace hadal::cpu {

inline constexpr std::int64_t kMaxHyperStreams = 8;
inline constexpr std::int64_t kMaxHyperProducts = (2 + kMaxHyperStreams) * kMaxHyperStreams;

/// What the statistics of a step's streams are kept in between the phases of hc_pre and hc_head.
struct HyperScratch {
  float* products;     // [T, N]: fn . flat
  float* inverse_rms;  // [T]
  float* pre;          // [T, n]
  std::byte* product_scratch;
};

[[nodiscard]] std::int64_t hyper_scratch_bytes(const ops::Backend& backend, const TensorView& streams,
                                               const ops::Weight& fn);
[[nodiscard]] HyperScratch hyper_scratch(ops::Stream& stream, const TensorView& streams, const ops::Weight& fn);

/// Whether each worker takes whole tokens; else the products of few tokens are split by outputs.
[[nodiscard]] inline bool splits_tokens(const CpuBackend& backend, std::int64_t tokens) {
  return tokens >= 4 * backend.workers();
}

/// 1 / rms of one token's streams.
void hyper_rms(const CpuBackend& backend, const TensorView& streams, double norm_eps, std::int64_t token,
               const HyperScratch& scratch);
/// Products of tokens [begin, end) for the outputs [n_begin, n_end).
void hyper_products(const CpuBackend& backend, const TensorView& streams, const ops::Weight& fn, std::int64_t begin,
                    std::int64_t end, std::int64_t n_begin, std::int64_t n_end, int worker,
                    const HyperScratch& scratch);

/// out = sum_i pre_i streams_i for the channels [channel, channel + count) of one token.
void mix_streams(const OperatorKernels& kernels, const TensorView& streams, std::int64_t token, const float* pre,
                 std::int64_t channel, std::int64_t count, float* out);

/// body(token, channel, count) over all tokens in pieces of channels, shared out over the pool.
template <class Body>
void for_token_pieces(ThreadPool& pool, std::int64_t tokens, std::int64_t channels, std::int64_t elements_per_channel,
                      Body&& body) {
  constexpr std::int64_t kChannels = 512;
  const std::int64_t pieces = (channels + kChannels - 1) / kChannels;
  const std::int64_t grain = std::max<std::int64_t>(1, 8192 / (kChannels * elements_per_channel));
  pool.parallel_for(tokens * pieces, grain, [&](std::int64_t begin, std::int64_t end, int) {
    while (begin < end) {
      const std::int64_t token = begin / pieces;
      const std::int64_t stop = std::min(end, (token + 1) * pieces);
      const std::int64_t channel = begin % pieces * kChannels;
      body(token, channel, std::min(channels, (stop - token * pieces) * kChannels) - channel);
      begin = stop;
    }
  });
}

}  // namespace hadal::cpu
