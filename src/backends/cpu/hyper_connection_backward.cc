#include "backends/cpu/hyper_connection_backward.h"

#include <algorithm>

#include "backends/cpu/chunks.h"
#include "backends/cpu/hyper_connection.h"
#include "backends/cpu/product.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

constexpr std::int64_t kFloat = sizeof(float);
constexpr std::int64_t kTile = 64;   // tokens whose streams stay in L2 for all their uses
constexpr std::int64_t kGroup = 16;  // tokens of one product

/// Extents that lengths of arrays follow from.
struct Extents {
  std::int64_t tokens, n, channels, outputs, length, scales;

  explicit Extents(const MixSite& site)
      : tokens(site.streams.extent(0)),
        n(site.streams.extent(1)),
        channels(site.streams.extent(2)),
        outputs(site.fn.rows()),
        length(site.fn.columns()),
        scales(site.scale.codes.extent(0)) {}

  /// Floats of one chunk's sums: d_fn, d_base, d_scale.
  [[nodiscard]] std::int64_t sums() const { return padded((outputs * length + outputs + scales) * kFloat) / kFloat; }
  [[nodiscard]] std::int64_t stages(const CpuBackend& backend, std::int64_t iterations) const {
    return 2 * iterations * n * (n + 1) * backend.kernels().lanes;
  }
};

/// One worker's memory for a tile of tokens.
struct Tile {
  HyperScratch products;  // fn . flat, 1 / rms, pre
  float* d_pre;           // [kTile, n]
  float* d_products;      // [kTile, outputs]
  float* radial;          // [kTile]
  float* stages;
};

Tile take_tile(Carver& carver, const CpuBackend& backend, const MixSite& site) {
  const Extents e(site);
  return {.products = {.products = carver.take<float>(kTile * e.outputs),
                       .inverse_rms = carver.take<float>(kTile),
                       .pre = carver.take<float>(kTile * e.n),
                       .product_scratch = carver.take<std::byte>(product_scratch(backend, e.length))},
          .d_pre = carver.take<float>(kTile * e.n),
          .d_products = carver.take<float>(kTile * e.outputs),
          .radial = carver.take<float>(kTile),
          .stages = carver.take<float>(e.stages(backend, site.iterations))};
}

std::int64_t tile_bytes(const CpuBackend& backend, const MixSite& site) {
  const Extents e(site);
  return 2 * padded(kTile * e.outputs * kFloat) + 2 * padded(kTile * kFloat) + 2 * padded(kTile * e.n * kFloat) +
         padded(product_scratch(backend, e.length)) + padded(e.stages(backend, site.iterations) * kFloat);
}

/// The mixing constants, copied because they may lie unaligned in their file.
struct Constants {
  float base[kMaxHyperProducts];
  float scale[3];
  explicit Constants(const MixSite& site) {
    for (std::int64_t i = 0; i < site.fn.rows(); ++i) base[i] = load<float>(site.base.codes, i);
    for (std::int64_t i = 0; i < site.scale.codes.extent(0); ++i) scale[i] = load<float>(site.scale.codes, i);
  }
};

/// A chunk's sums of the gradients of the constants.
struct Sums {
  float* fn;
  float* base;
  float* scale;
};

/// Tokens [begin, end), at most kTile.
void tile_backward(const CpuBackend& backend, const MixSite& site, const Constants& constants, const float* fn,
                   const Tile& tile, const Sums& sums, std::int64_t begin, std::int64_t end) {
  const Extents e(site);
  const OperatorKernels& kernels = backend.kernels();
  const std::int64_t count = end - begin;
  const TensorView x = site.streams.rows(begin, count);
  for (std::int64_t token = 0; token < count; ++token) {
    hyper_rms(backend, x, site.norm_eps, token, tile.products);
    const float* d_out = site.d_out.row<float>(begin + token);
    for (std::int64_t i = 0; i < e.n; ++i) {
      tile.d_pre[token * e.n + i] = kernels.dot(x.row<float>(token) + i * x.stride(1), d_out, e.channels);
    }
  }
  for (std::int64_t group = 0; group < count; group += kGroup) {
    hyper_products(backend, x, site.fn, group, std::min(count, group + kGroup), 0, e.outputs, 0, tile.products);
  }
  const bool head = site.d_post.absent();
  kernels.hc_mix_backward({.products = tile.products.products,
                           .inverse_rms = tile.products.inverse_rms,
                           .base = constants.base,
                           .scale = constants.scale,
                           .d_pre = tile.d_pre,
                           .d_post = head ? nullptr : site.d_post.row<float>(begin),
                           .d_comb = head ? nullptr : site.d_comb.row<float>(begin),
                           .tokens = count,
                           .n = e.n,
                           .channels = e.channels,
                           .iterations = site.iterations,
                           .eps = static_cast<float>(site.hc_eps),
                           .stages = tile.stages,
                           .pre = tile.products.pre,
                           .d_products = tile.d_products,
                           .radial = tile.radial,
                           .d_base = sums.base,
                           .d_scale = sums.scale});
  kernels.hc_streams_backward({.fn = fn,
                               .x = x.row<float>(0),
                               .d_out = site.d_out.row<float>(begin),
                               .pre = tile.products.pre,
                               .d_products = tile.d_products,
                               .radial = tile.radial,
                               .tokens = count,
                               .n = e.n,
                               .channels = e.channels,
                               .outputs = e.outputs,
                               .add = site.add_streams,
                               .d_x = site.d_streams.row<float>(begin)});
  if (!site.d_fn.absent()) {
    kernels.add_outer_products(tile.d_products, e.outputs, x.row<float>(0), e.length, count, sums.fn);
  }
}

void add_sums(CpuBackend& backend, const MixSite& site, const float* sums, std::int64_t chunks) {
  const Extents e(site);
  const float* part = sums;
  for (const TensorView* out : {&site.d_fn, &site.d_base, &site.d_scale}) {
    const std::int64_t count = out == &site.d_fn ? e.outputs * e.length : out == &site.d_base ? e.outputs : e.scales;
    if (!out->absent()) add_chunks(backend, part, chunks, e.sums(), out->as<float>(), count);
    part += count;
  }
}

}  // namespace

std::int64_t mix_backward_scratch(const ops::Backend& backend, const MixSite& site) {
  const auto& cpu = static_cast<const CpuBackend&>(backend);
  const Extents e(site);
  return padded(e.outputs * e.length * kFloat) + RowChunks(e.tokens).count() * e.sums() * kFloat +
         cpu.workers() * tile_bytes(cpu, site);
}

void mix_backward(ops::Stream& stream, const MixSite& site) {
  CpuBackend& backend = backend_of(stream);
  const Extents e(site);
  const RowChunks chunks(e.tokens);
  const Constants constants(site);
  Carver carver(stream.scratch());
  auto* fn = carver.take<float>(e.outputs * e.length);
  auto* sums = carver.take<float>(chunks.count() * e.sums());
  auto* tiles = carver.take<std::byte>(backend.workers() * tile_bytes(backend, site));
  backend.kernels().pack_columns(site.fn.codes.row<float>(0), e.outputs, e.n, e.channels, fn);
  backend.pool().parallel_for(chunks.count(), 1, [&](std::int64_t first, std::int64_t last, int worker) {
    Carver own(tiles + worker * tile_bytes(backend, site));
    const Tile tile = take_tile(own, backend, site);
    for (std::int64_t chunk = first; chunk < last; ++chunk) {
      float* of_chunk = sums + chunk * e.sums();
      std::fill(of_chunk, of_chunk + e.sums(), 0.0F);
      const Sums parts{.fn = of_chunk,
                       .base = of_chunk + e.outputs * e.length,
                       .scale = of_chunk + e.outputs * e.length + e.outputs};
      for (std::int64_t begin = chunks.begin(chunk); begin < chunks.end(chunk); begin += kTile) {
        tile_backward(backend, site, constants, fn, tile, parts, begin, std::min(chunks.end(chunk), begin + kTile));
      }
    }
  });
  add_sums(backend, site, sums, chunks.count());
}

}  // namespace hadal::cpu
