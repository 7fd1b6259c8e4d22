#include "ops/routed_experts.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "backends/cpu/expert_plan.h"
#include "backends/cpu/product.h"
#include "backends/cpu/register.h"
#include "backends/cpu/rounding.h"
#include "backends/cpu/rows.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

using Args = ops::RoutedExperts::Args;

constexpr std::int64_t kInterBlock = 128;    // a multiple of every rounding's block
constexpr std::int64_t kRowsAtOnce = 192;    // rows of an expert that are gathered together
constexpr std::int64_t kTileFloats = 65536;  // results of a product that wait in L2 for the next step

std::int64_t rows_at_once(const Args& args) { return std::min(kRowsAtOnce, args.experts.elements()); }

/// Outputs of a product that fit the tile, in whole blocks.
std::int64_t tile_columns(std::int64_t rows, std::int64_t all) {
  return std::min(all, std::max<std::int64_t>(1, kTileFloats / rows / kInterBlock) * kInterBlock);
}

/// Floats of a tile for any number of rows up to `rows`: kTileFloats, or less where all outputs need less.
std::int64_t tile_floats(std::int64_t rows, std::int64_t all) {
  return std::min(rows * all, std::max(kTileFloats, rows * kInterBlock));
}

/// Working memory: what all workers share, then a part for each.
struct Layout {
  std::int64_t assignments;
  std::int64_t hidden;
  std::int64_t inter;
  std::int64_t element_bytes;
  std::int64_t tile;
  std::int64_t plan_bytes;
  std::int64_t middle_bytes;
  std::int64_t gather_bytes;
  std::int64_t product_bytes;

  Layout(const CpuBackend& backend, const Args& args)
      : assignments(args.experts.elements()),
        hidden(args.input.extent(1)),
        inter(args.table.gate[0].rows()),
        element_bytes(size_of(args.input.type())),
        tile(tile_floats(rows_at_once(args), std::max(hidden, inter))),
        plan_bytes(ExpertPlan::bytes(assignments, args.table.count)),
        middle_bytes(padded(assignments * inter * element_bytes)),
        gather_bytes(padded(rows_at_once(args) * hidden * element_bytes)),
        product_bytes(product_scratch(backend, std::max(hidden, inter))) {}

  [[nodiscard]] std::int64_t worker_bytes() const {
    return gather_bytes + 2 * padded(tile * static_cast<std::int64_t>(sizeof(float))) + product_bytes;
  }
};

struct Scratch {
  std::byte* gathered;
  float* first_tile;
  float* second_tile;
  std::byte* product;

  Scratch(std::byte* memory, const Layout& layout, int worker) {
    Carver carver(memory + worker * layout.worker_bytes());
    gathered = carver.take<std::byte>(layout.gather_bytes);
    first_tile = carver.take<float>(layout.tile);
    second_tile = carver.take<float>(layout.tile);
    product = carver.take<std::byte>(layout.product_bytes);
  }
};

/// One call of the operator: the plan and the memory that the two phases share.
class Mixture {
 public:
  Mixture(ops::Stream& stream, const Args& args)
      : backend_(backend_of(stream)),
        args_(args),
        layout_(backend_, args),
        plan_(stream.scratch(), args.experts, args.table.count),
        middle_(stream.scratch() + layout_.plan_bytes),
        worker_memory_(middle_ + layout_.middle_bytes) {}

  /// Gate and up projections, SwiGLU and rounding: [assignments, inter] in the plan's order.
  void expand() {
    const std::int64_t blocks = (layout_.inter + kInterBlock - 1) / kInterBlock;
    const std::int64_t parts = backend_.workers();
    const std::int64_t work = layout_.assignments * layout_.hidden * layout_.inter / parts;
    backend_.pool().parallel_for(parts, grain_of(work), [&](std::int64_t begin, std::int64_t end, int worker) {
      const Scratch scratch(worker_memory_, layout_, worker);
      for (std::int64_t part = begin; part < end; ++part) {
        plan_.for_part(part, parts, blocks, [&](std::int64_t run, std::int64_t first_block, std::int64_t last_block) {
          expand_run(plan_.run(run), first_block * kInterBlock, std::min(layout_.inter, last_block * kInterBlock),
                     scratch);
        });
      }
    });
  }

  /// Down projections, added to the tokens' rows in the plan's order; each worker has columns of its own.
  void contract() {
    backend_.pool().parallel_for(layout_.hidden, output_grain(layout_.assignments * layout_.inter),
                                 [&](std::int64_t begin, std::int64_t end, int worker) {
                                   const Scratch scratch(worker_memory_, layout_, worker);
                                   for (std::int64_t token = 0; token < args_.out.extent(0); ++token) {
                                     std::fill(args_.out.row<float>(token) + begin, args_.out.row<float>(token) + end,
                                               0.0F);
                                   }
                                   for (std::int64_t run = 0; run < plan_.runs(); ++run)
                                     contract_run(plan_.run(run), begin, end, scratch);
                                 });
  }

 private:
  [[nodiscard]] std::int64_t token_of(std::int64_t place) const {
    return plan_.assignment(place) / args_.experts.extent(1);
  }

  /// Rows [place, place + count) of the plan's order, where they lie if there is one only.
  const std::byte* gather(std::int64_t place, std::int64_t count, std::byte* memory) const {
    if (count == 1) return element(args_.input, token_of(place), 0);
    const std::int64_t bytes = layout_.hidden * layout_.element_bytes;
    for (std::int64_t i = 0; i < count; ++i) {
      std::memcpy(memory + i * bytes, element(args_.input, token_of(place + i), 0), static_cast<std::size_t>(bytes));
    }
    return memory;
  }

  void expand_run(const ExpertRun& run, std::int64_t begin, std::int64_t end, const Scratch& scratch) {
    const MatrixRef gate = matrix_of(args_.table.gate[run.expert]);
    const MatrixRef up = matrix_of(args_.table.up[run.expert]);
    for (std::int64_t first = 0; first < run.count; first += kRowsAtOnce) {
      const std::int64_t rows = std::min(kRowsAtOnce, run.count - first);
      const std::byte* x = gather(run.begin + first, rows, scratch.gathered);
      const std::int64_t step = tile_columns(rows, end - begin);
      for (std::int64_t column = begin; column < end; column += step) {
        const std::int64_t stop = std::min(end, column + step);
        const std::int64_t width = stop - column;
        // The kernels count outputs from the matrix's first row, the tiles from `column`.
        multiply(backend_, args_.input.type(), x, layout_.hidden, rows, gate, column, stop, scratch.first_tile - column,
                 width, scratch.product);
        multiply(backend_, args_.input.type(), x, layout_.hidden, rows, up, column, stop, scratch.second_tile - column,
                 width, scratch.product);
        for (std::int64_t row = 0; row < rows; ++row) {
          activate(run.begin + first + row, column, width, scratch.first_tile + row * width,
                   scratch.second_tile + row * width);
        }
      }
    }
  }

  /// weight * swiglu(gate, up), rounded, into `width` columns of one row of the hidden layer. Overwrites `gate`.
  void activate(std::int64_t place, std::int64_t column, std::int64_t width, float* gate, const float* up) {
    const OperatorKernels& kernels = backend_.kernels();
    const std::int64_t assignment = plan_.assignment(place);
    const std::int64_t slots = args_.experts.extent(1);
    const float weight = args_.weights.row<float>(assignment / slots)[assignment % slots];
    const float limit =
        args_.swiglu_limit > 0 ? static_cast<float>(args_.swiglu_limit) : std::numeric_limits<float>::infinity();
    kernels.swiglu(gate, up, limit, weight, gate, width);
    round_blocks(kernels, args_.rounding, gate, width);
    write_f32(kernels, args_.input.type(), gate, width,
              middle_ + (place * layout_.inter + column) * layout_.element_bytes);
  }

  void contract_run(const ExpertRun& run, std::int64_t begin, std::int64_t end, const Scratch& scratch) {
    const MatrixRef down = matrix_of(args_.table.down[run.expert]);
    for (std::int64_t first = 0; first < run.count; first += kRowsAtOnce) {
      const std::int64_t rows = std::min(kRowsAtOnce, run.count - first);
      const std::byte* x = middle_ + (run.begin + first) * layout_.inter * layout_.element_bytes;
      const std::int64_t step = tile_columns(rows, end - begin);
      for (std::int64_t column = begin; column < end; column += step) {
        const std::int64_t stop = std::min(end, column + step);
        const std::int64_t width = stop - column;
        multiply(backend_, args_.input.type(), x, layout_.inter, rows, down, column, stop, scratch.first_tile - column,
                 width, scratch.product);
        for (std::int64_t row = 0; row < rows; ++row) {
          backend_.kernels().accumulate(scratch.first_tile + row * width,
                                        args_.out.row<float>(token_of(run.begin + first + row)) + column, width);
        }
      }
    }
  }

  CpuBackend& backend_;
  const Args& args_;
  Layout layout_;
  ExpertPlan plan_;
  std::byte* middle_;
  std::byte* worker_memory_;
};

void enqueue(ops::Stream& stream, const Args& args) {
  Mixture mixture(stream, args);
  mixture.expand();
  mixture.contract();
}

bool supports(const Args& args) {
  return is_f32_or_bf16(args.input) && is_f32(args.out) && is_matrix(args.table.gate[0]) &&
         is_matrix(args.table.up[0]) && is_matrix(args.table.down[0]);
}

std::int64_t scratch_bytes(const ops::Backend& backend, const Args& args) {
  const Layout layout(static_cast<const CpuBackend&>(backend), args);
  return layout.plan_bytes + layout.middle_bytes + layout.worker_bytes() * backend.workers();
}

}  // namespace

void add_routed_experts(ops::OpTable& table) {
  table.add<ops::RoutedExperts>(
      {.implementation = "cpu", .supports = supports, .scratch_bytes = scratch_bytes, .enqueue = enqueue});
}

}  // namespace hadal::cpu
