#include "backends/cpu/gemm.h"

#include <algorithm>
#include <cstring>

#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

constexpr std::int64_t kUnit = 4;           // bytes
constexpr std::int64_t kBlockUnits = 128;   // of a sum between two visits of c; a tile's columns of them stay in L1
constexpr std::int64_t kChunkUnits = 512;   // packed at once: whole blocks
constexpr std::int64_t kMostRows = 516;     // of a transposed a packed at once: with the columns of b they fit L2
constexpr std::int64_t kMostWide = 2048;    // columns of b packed at once
constexpr std::int64_t kRowsAtOnce = 96;    // rows of c that a worker goes through a chunk with: whole register tiles
constexpr std::int64_t kColumnsAtOnce = 8;  // that are transposed together: a divisor of every tile's columns
constexpr std::int64_t kPadUnits = 16;      // a cache line; breaks strides of a power of two, which share cache sets

constexpr std::int64_t round_up(std::int64_t value, std::int64_t unit) { return (value + unit - 1) / unit * unit; }

/// Units from one packed panel of `width` columns and `steps` steps to the next.
constexpr std::int64_t panel_units(std::int64_t steps, std::int64_t width) { return steps * width + kPadUnits; }

/// What the working memory holds for a product of these extents at most.
struct Layout {
  std::int64_t units;       // of a chunk
  std::int64_t a_bytes;     // packed columns of a transposed a
  std::int64_t b_bytes;     // packed columns of b
  std::int64_t rows_bytes;  // a worker's packed rows of a, or of b's transpose
  std::int64_t row_bytes;   // a worker's row before packing: as bf16, as f32, and as units

  Layout(const GemmKernels& kernels, std::int64_t m, std::int64_t n, std::int64_t k)
      : units(std::min(kChunkUnits, (k + kernels.inner - 1) / kernels.inner)) {
    const std::int64_t rows = std::min(m, kMostRows);
    const std::int64_t columns = std::min(n, kMostWide);
    a_bytes = padded(round_up(rows, kGemmRows) / kGemmRows * panel_units(units, kGemmRows) * kUnit);
    b_bytes =
        padded(round_up(columns, kernels.columns) / kernels.columns * panel_units(units, kernels.columns) * kUnit);
    rows_bytes = padded(kRowsAtOnce * (units + kPadUnits) * kUnit);
    const std::int64_t longest = std::max({rows, columns, units * kernels.inner});
    row_bytes = padded(longest * kUnit);
  }
  [[nodiscard]] std::int64_t worker_bytes() const { return rows_bytes + 3 * row_bytes; }
  [[nodiscard]] std::int64_t bytes(int workers) const { return a_bytes + b_bytes + workers * worker_bytes(); }
};

/// Units of bf16 where the instruction set has them and the product asks for it.
const GemmKernels& kernels_for(const CpuBackend& backend, bool narrow) {
  const KernelTable& table = backend.products();
  return narrow && table.gemm_bf16.panel != nullptr ? table.gemm_bf16 : table.gemm_f32;
}

/// A range of the inner dimension that is packed at once.
struct Chunk {
  std::int64_t begin;     // elements
  std::int64_t elements;  // the last unit may be part of one
  std::int64_t units;
};

/// One call: the operands, and where their packed parts lie.
class Product {
 public:
  Product(CpuBackend& backend, const Gemm& gemm, std::byte* scratch)
      : backend_(backend),
        gemm_(gemm),
        kernels_(kernels_for(backend, gemm.narrow)),
        layout_(kernels_, gemm.m, gemm.n, gemm.k) {
    Carver carver(scratch);
    packed_a_ = carver.take<std::byte>(layout_.a_bytes);
    packed_b_ = carver.take<std::byte>(layout_.b_bytes);
    workers_ = carver.take<std::byte>(layout_.worker_bytes() * backend.workers());
  }

  void run() {
    // A transposed a is packed whole, so less of it at once; its sums have the same blocks.
    const std::int64_t step = (gemm_.a.transposed ? kChunkUnits / 2 : kChunkUnits) * kernels_.inner;
    const std::int64_t height = gemm_.a.transposed ? kMostRows : gemm_.m;
    for (std::int64_t column = 0; column < gemm_.n; column += kMostWide) {
      const std::int64_t columns = std::min(kMostWide, gemm_.n - column);
      for (std::int64_t begin = 0; begin < gemm_.k; begin += step) {
        const std::int64_t elements = std::min(step, gemm_.k - begin);
        const Chunk chunk{
            .begin = begin, .elements = elements, .units = (elements + kernels_.inner - 1) / kernels_.inner};
        pack_b(chunk, column, columns);
        for (std::int64_t row = 0; row < gemm_.m; row += height) {
          const std::int64_t rows = std::min(height, gemm_.m - row);
          if (gemm_.a.transposed) pack_a(chunk, row, rows);
          multiply(chunk, row, rows, column, columns);
        }
      }
    }
  }

 private:
  void pack_b(const Chunk& chunk, std::int64_t column, std::int64_t columns) {
    const std::int64_t width = kernels_.columns;
    if (gemm_.b.transposed) {
      backend_.pool().parallel_for(columns, width, [&](std::int64_t begin, std::int64_t end, int worker) {
        pack_transposed_b(chunk, column + begin, end - begin,
                          packed_b_ + begin / width * panel_units(chunk.units, width) * kUnit, worker);
      });
      return;
    }
    for_rows(backend_.pool(), chunk.units, columns, [&](std::int64_t begin, std::int64_t end, int worker) {
      for (std::int64_t unit = begin; unit < end; ++unit) {
        spread(unit_row(gemm_.b, chunk, unit, column, columns, worker), columns, width, chunk.units, unit, packed_b_);
      }
    });
  }

  void pack_a(const Chunk& chunk, std::int64_t row, std::int64_t rows) {
    for_rows(backend_.pool(), chunk.units, rows, [&](std::int64_t begin, std::int64_t end, int worker) {
      for (std::int64_t unit = begin; unit < end; ++unit) {
        spread<kGemmRows>(unit_row(gemm_.a, chunk, unit, row, rows, worker), rows, chunk.units, unit, packed_a_);
      }
    });
  }

  void multiply(const Chunk& chunk, std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns) {
    const std::int64_t grain = round_up(grain_of(chunk.elements * columns), kGemmRows);
    backend_.pool().parallel_for(rows, grain, [&](std::int64_t begin, std::int64_t end, int worker) {
      for (std::int64_t first = begin; first < end; first += kRowsAtOnce) {
        multiply_rows(chunk, row, first, std::min(kRowsAtOnce, end - first), column, columns, worker);
      }
    });
  }

  [[nodiscard]] std::byte* worker_rows(int worker) const { return workers_ + worker * layout_.worker_bytes(); }
  /// Memory of one row in one of its three forms.
  [[nodiscard]] std::byte* worker_row(int worker, int form) const {
    return worker_rows(worker) + layout_.rows_bytes + form * layout_.row_bytes;
  }

  /// `count` elements of a row of an operand, as bf16 (units of two) or f32: where they lie, or converted into
  /// `memory`.
  const std::byte* row_as(const GemmOperand& operand, std::int64_t row, std::int64_t column, std::int64_t count,
                          std::byte* memory, int worker) const {
    const OperatorKernels& convert = backend_.kernels();
    const std::byte* from = operand.data + (row * operand.stride + column) * size_of(operand.type);
    const bool is_narrow = operand.type == DType::kBf16;
    if (kernels_.inner == 2) {
      if (is_narrow) return from;
      convert.narrow_bf16(floats(from), memory, count);
      return memory;
    }
    if (is_narrow) {
      convert.widen_bf16(from, floats(memory), count);
      return memory;
    }
    if (!gemm_.narrow) return from;
    std::byte* rounded = worker_row(worker, 2);
    convert.narrow_bf16(floats(from), rounded, count);
    convert.widen_bf16(rounded, floats(memory), count);
    return memory;
  }
  static const float* floats(const std::byte* bytes) {
    return static_cast<const float*>(static_cast<const void*>(bytes));
  }
  static float* floats(std::byte* bytes) { return static_cast<float*>(static_cast<void*>(bytes)); }

  /// The units at step `unit` of the chunk for `count` columns of an operand that lies with the inner dimension
  /// outermost.
  const std::byte* unit_row(const GemmOperand& operand, const Chunk& chunk, std::int64_t unit, std::int64_t column,
                            std::int64_t count, int worker) const {
    const std::int64_t row = chunk.begin + unit * kernels_.inner;
    const std::byte* first = row_as(operand, row, column, count, worker_row(worker, 0), worker);
    if (kernels_.inner == 1) return first;
    const bool pair = unit * 2 + 1 < chunk.elements;
    const std::byte* second = pair ? row_as(operand, row + 1, column, count, worker_row(worker, 1), worker) : nullptr;
    kernels_.interleave(first, second, count, worker_row(worker, 2));
    return worker_row(worker, 2);
  }

  /// Writes `count` units of one step to panels of `steps` steps and `width` columns, the last one filled up with
  /// zeros.
  static void spread(const std::byte* units, std::int64_t count, std::int64_t width, std::int64_t steps,
                     std::int64_t step, std::byte* panels) {
    for (std::int64_t begin = 0; begin < count; begin += width) {
      std::byte* to = panels + (begin / width * panel_units(steps, width) + step * width) * kUnit;
      const std::int64_t bytes = std::min(width, count - begin) * kUnit;
      std::memcpy(to, units + begin * kUnit, static_cast<std::size_t>(bytes));
      std::memset(to + bytes, 0, static_cast<std::size_t>(width * kUnit - bytes));
    }
  }
  /// The same with a width that the compiler knows: narrow panels are copied by a move or two.
  template <std::int64_t kWidth>
  static void spread(const std::byte* units, std::int64_t count, std::int64_t steps, std::int64_t step,
                     std::byte* panels) {
    std::byte* to = panels + step * kWidth * kUnit;
    std::int64_t begin = 0;
    for (; begin + kWidth <= count; begin += kWidth) {
      std::memcpy(to, units + begin * kUnit, kWidth * kUnit);
      to += panel_units(steps, kWidth) * kUnit;
    }
    const std::int64_t bytes = (count - begin) * kUnit;
    if (bytes == 0) return;
    std::memcpy(to, units + begin * kUnit, static_cast<std::size_t>(bytes));
    std::memset(to + bytes, 0, static_cast<std::size_t>(kWidth * kUnit - bytes));
  }

  /// Rows [row, row + count) of an operand that lies with the inner dimension innermost, as units, `stride` apart; the
  /// last unit is filled up with zeros.
  void pack_rows(const GemmOperand& operand, const Chunk& chunk, std::int64_t row, std::int64_t count, std::byte* out,
                 std::int64_t stride, int worker) const {
    const std::int64_t element = kUnit / kernels_.inner;
    for (std::int64_t i = 0; i < count; ++i) {
      std::byte* to = out + i * stride * kUnit;
      const std::byte* from = row_as(operand, row + i, chunk.begin, chunk.elements, to, worker);
      if (from != to) std::memcpy(to, from, static_cast<std::size_t>(chunk.elements * element));
      const std::int64_t rest = chunk.units * kernels_.inner - chunk.elements;
      std::memset(to + chunk.elements * element, 0, static_cast<std::size_t>(rest * element));
    }
  }

  /// Panels of `count` columns of b from `column` on, which lie as rows of its transpose.
  void pack_transposed_b(const Chunk& chunk, std::int64_t column, std::int64_t count, std::byte* panels,
                         int worker) const {
    const std::int64_t width = kernels_.columns;
    const std::int64_t stride = chunk.units + kPadUnits;
    std::byte* rows = worker_rows(worker);
    for (std::int64_t begin = 0; begin < count; begin += kColumnsAtOnce) {
      const std::int64_t columns = std::min(kColumnsAtOnce, count - begin);
      pack_rows(gemm_.b, chunk, column + begin, columns, rows, stride, worker);
      // Columns beyond the matrix give results that nobody keeps.
      std::memset(rows + columns * stride * kUnit, 0,
                  static_cast<std::size_t>((kColumnsAtOnce - columns) * stride * kUnit));
      std::byte* to = panels + (begin / width * panel_units(chunk.units, width) + begin % width) * kUnit;
      for (std::int64_t unit = 0; unit < chunk.units; ++unit) {
        for (std::int64_t i = 0; i < kColumnsAtOnce; ++i) {
          std::memcpy(to + i * kUnit, rows + (i * stride + unit) * kUnit, kUnit);
        }
        to += width * kUnit;
      }
    }
  }

  /// Rows [first, first + rows) of the rows from `origin` on of c, all columns of this turn, one chunk of the sum.
  void multiply_rows(const Chunk& chunk, std::int64_t origin, std::int64_t first, std::int64_t rows,
                     std::int64_t column, std::int64_t columns, int worker) {
    GemmPanel panel{.a = packed_a_ + first / kGemmRows * panel_units(chunk.units, kGemmRows) * kUnit,
                    .a_tile = panel_units(chunk.units, kGemmRows),
                    .a_row = 1,
                    .a_step = kGemmRows,
                    .b = nullptr,
                    .steps = 0,
                    .rows = rows,
                    .columns = 0,
                    .c = nullptr,
                    .c_stride = gemm_.c_stride,
                    .alpha = gemm_.alpha,
                    .beta = 1};
    if (!gemm_.a.transposed) {
      const std::int64_t stride = chunk.units + kPadUnits;
      pack_rows(gemm_.a, chunk, origin + first, rows, worker_rows(worker), stride, worker);
      panel.a = worker_rows(worker);
      panel.a_tile = kGemmRows * stride;
      panel.a_row = stride;
      panel.a_step = 1;
    }
    const std::byte* a = panel.a;
    const std::int64_t width = kernels_.columns;
    for (std::int64_t unit = 0; unit < chunk.units; unit += kBlockUnits) {
      panel.a = a + unit * panel.a_step * kUnit;
      panel.steps = std::min(kBlockUnits, chunk.units - unit);
      panel.beta = chunk.begin == 0 && unit == 0 ? gemm_.beta : 1.0F;
      for (std::int64_t begin = 0; begin < columns; begin += width) {
        panel.b = packed_b_ + (begin / width * panel_units(chunk.units, width) + unit * width) * kUnit;
        panel.columns = std::min(width, columns - begin);
        panel.c = gemm_.c + (origin + first) * gemm_.c_stride + column + begin;
        kernels_.panel(panel);
      }
    }
  }

  CpuBackend& backend_;
  const Gemm& gemm_;
  const GemmKernels& kernels_;
  Layout layout_;
  std::byte* packed_a_;
  std::byte* packed_b_;
  std::byte* workers_;
};

}  // namespace

GemmOperand operand_of(const TensorView& view, bool transposed) {
  return {.type = view.type(), .data = view.bytes(), .stride = view.stride(0), .transposed = transposed};
}

std::int64_t gemm_scratch_bytes(const ops::Backend& backend, std::int64_t m, std::int64_t n, std::int64_t k) {
  const auto& cpu = static_cast<const CpuBackend&>(backend);
  return std::max(Layout(kernels_for(cpu, false), m, n, k).bytes(cpu.workers()),
                  Layout(kernels_for(cpu, true), m, n, k).bytes(cpu.workers()));
}

void gemm(CpuBackend& backend, const Gemm& product, std::byte* scratch) { Product(backend, product, scratch).run(); }

}  // namespace hadal::cpu
