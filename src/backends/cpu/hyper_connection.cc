#include "backends/cpu/hyper_connection.h"

#include <cmath>

#include "backends/cpu/product.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {

std::int64_t hyper_scratch_bytes(const ops::Backend& backend, const TensorView& streams, const ops::Weight& fn) {
  constexpr std::int64_t kFloat = sizeof(float);
  const std::int64_t tokens = streams.extent(0);
  return padded(tokens * fn.rows() * kFloat) + padded(tokens * kFloat) + padded(tokens * streams.extent(1) * kFloat) +
         product_scratch_of_all(backend, fn.columns());
}

HyperScratch hyper_scratch(ops::Stream& stream, const TensorView& streams, const ops::Weight& fn) {
  const std::int64_t tokens = streams.extent(0);
  Carver carver(stream.scratch());
  return {.products = carver.take<float>(tokens * fn.rows()),
          .inverse_rms = carver.take<float>(tokens),
          .pre = carver.take<float>(tokens * streams.extent(1)),
          .product_scratch = carver.take<std::byte>(0)};
}

void hyper_rms(const CpuBackend& backend, const TensorView& streams, double norm_eps, std::int64_t token,
               const HyperScratch& scratch) {
  const std::int64_t length = streams.extent(1) * streams.extent(2);
  const float sum = backend.kernels().sum_of_squares(streams.row<float>(token), length);
  scratch.inverse_rms[token] = 1.0F / std::sqrt(sum / static_cast<float>(length) + static_cast<float>(norm_eps));
}

void hyper_products(const CpuBackend& backend, const TensorView& streams, const ops::Weight& fn, std::int64_t begin,
                    std::int64_t end, std::int64_t n_begin, std::int64_t n_end, int worker,
                    const HyperScratch& scratch) {
  const MatrixRef matrix = matrix_of(fn);
  backend.products().multiply_f32(streams.row<float>(begin), streams.stride(0), end - begin, matrix, n_begin, n_end,
                                  scratch.products + begin * matrix.n, matrix.n,
                                  scratch.product_scratch + worker * product_scratch(backend, matrix.k));
}

void mix_streams(const OperatorKernels& kernels, const TensorView& streams, std::int64_t token, const float* pre,
                 std::int64_t channel, std::int64_t count, float* out) {
  const float* rows[kMaxHyperStreams];
  const std::int64_t n = streams.extent(1);
  for (std::int64_t i = 0; i < n; ++i) rows[i] = streams.row<float>(token) + i * streams.stride(1) + channel;
  kernels.combine(rows, pre, n, out, count);
}

}  // namespace hadal::cpu
