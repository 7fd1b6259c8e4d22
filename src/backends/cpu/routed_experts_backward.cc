#include <algorithm>
#include <limits>

#include "backends/cpu/expert_plan.h"
#include "backends/cpu/gemm.h"
#include "backends/cpu/plain_weight.h"
#include "backends/cpu/product.h"
#include "backends/cpu/register.h"
#include "backends/cpu/rounding.h"
#include "backends/cpu/rows.h"
#include "backends/cpu/work.h"
#include "ops/routed_experts.h"

namespace hadal::cpu {
namespace {

using Args = ops::RoutedExpertsBackward::Args;

constexpr std::int64_t kRowsAtOnce = 1024;  // assignments of an expert: whole blocks of gemm()'s sums

/// Extents and element types of one call.
struct Extents {
  std::int64_t assignments, channels, inter, slots;
  std::int64_t rows;  // assignments at once
  DType input_type;
  DType d_out_type;           // of the rows of d_out and of dg, du as products take them
  DType hidden_type;          // of the gradients of gate and up
  std::int64_t weight_bytes;  // of the largest dequantised projection

  explicit Extents(const Args& args)
      : assignments(args.experts.elements()),
        channels(args.input.extent(1)),
        inter(args.table.gate[0].rows()),
        slots(args.experts.extent(1)),
        rows(std::min(kRowsAtOnce, assignments)),
        input_type(args.input.type()),
        d_out_type(product_type(args.table.down[0])),
        hidden_type(product_type(args.table.gate[0])),
        weight_bytes(std::max({plain_weight_bytes(args.table.gate[0]), plain_weight_bytes(args.table.up[0]),
                               plain_weight_bytes(args.table.down[0])})) {}

 private:
  [[nodiscard]] DType product_type(const ops::Weight& weight) const {
    return input_type == DType::kBf16 && ops::is_exact_in_bf16(weight) ? DType::kBf16 : DType::kF32;
  }
};

/// What some rows of one expert go through. Members in order of use; all are [rows, channels] or [rows, inter].
struct Memory {
  TensorView input;  // gathered
  TensorView d_out;  // gathered, rounded as products ask
  TensorView gate;   // products of the forward pass
  TensorView up;
  TensorView d_hidden;  // gradient at the input of the down projection
  TensorView hidden;    // input of the down projection
  TensorView d_gate;
  TensorView d_up;
  TensorView d_input;  // before it is added to the tokens' rows
  std::byte* weight;   // a dequantised projection
  std::byte* scratch;  // of products
  std::int64_t bytes = 0;

  Memory(const Extents& extents, std::byte* memory) {
    const Shape wide{extents.rows, extents.channels};
    const Shape narrow{extents.rows, extents.inter};
    const auto take = [&](DType type, Shape shape) {
      const TensorView view(memory == nullptr ? nullptr : memory + bytes, type, shape);
      bytes += padded(view.byte_size());
      return view;
    };
    input = take(extents.input_type, wide);
    d_out = take(extents.d_out_type, wide);
    gate = take(DType::kF32, narrow);
    up = take(DType::kF32, narrow);
    d_hidden = take(DType::kF32, narrow);
    hidden = take(extents.input_type, narrow);
    d_gate = take(extents.hidden_type, narrow);
    d_up = take(extents.hidden_type, narrow);
    d_input = take(DType::kF32, wide);
    weight = memory == nullptr ? nullptr : memory + bytes;
    bytes += extents.weight_bytes;
    scratch = memory == nullptr ? nullptr : memory + bytes;
  }
};

/// One call of the operator.
class MixtureBackward {
 public:
  MixtureBackward(ops::Stream& stream, const Args& args)
      : backend_(backend_of(stream)),
        args_(args),
        extents_(args),
        plan_(stream.scratch(), args.experts, args.table.count),
        memory_(extents_, stream.scratch() + ExpertPlan::bytes(extents_.assignments, args.table.count)) {}

  void run() {
    for_rows(backend_.pool(), args_.d_input.extent(0), extents_.channels,
             [&](std::int64_t begin, std::int64_t end, int) {
               std::fill(args_.d_input.row<float>(begin), args_.d_input.row<float>(end), 0.0F);
             });
    for (std::int64_t index = 0; index < plan_.runs(); ++index) {
      const ExpertRun& run = plan_.run(index);
      for (std::int64_t first = 0; first < run.count; first += kRowsAtOnce) {
        const std::int64_t rows = std::min(kRowsAtOnce, run.count - first);
        gather(run.begin + first, rows);
        project(run.expert, rows);
        activate(run.begin + first, rows);
        add_to_input(run.expert, run.begin + first, rows);
        if (args_.gradients.count > 0) add_to_weights(run.expert, rows);
      }
    }
  }

 private:
  [[nodiscard]] std::int64_t token_of(std::int64_t place) const { return plan_.assignment(place) / extents_.slots; }

  void gather(std::int64_t place, std::int64_t rows) {
    for_rows(backend_.pool(), rows, 2 * extents_.channels, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t row = begin; row < end; ++row) {
        const std::int64_t token = token_of(place + row);
        const auto bytes = static_cast<std::size_t>(extents_.channels * size_of(extents_.input_type));
        std::memcpy(element(memory_.input, row, 0), element(args_.input, token, 0), bytes);
        write_f32(backend_.kernels(), extents_.d_out_type, args_.d_out.row<float>(token), extents_.channels,
                  element(memory_.d_out, row, 0));
      }
    });
  }

  /// c = alpha a . b + beta c in the arithmetic of the forward product with this weight.
  void product(std::int64_t m, std::int64_t n, std::int64_t k, const GemmOperand& a, const GemmOperand& b,
               const TensorView& c, DType type, float beta) {
    gemm(backend_,
         {.m = m,
          .n = n,
          .k = k,
          .a = a,
          .b = b,
          .c = c.as<float>(),
          .c_stride = c.stride(0),
          .narrow = type == DType::kBf16,
          .beta = beta},
         memory_.scratch);
  }

  /// The forward products again, by the forward kernels, so that what was rounded then is rounded alike; and the
  /// gradient at the hidden layer.
  void project(std::int64_t expert, std::int64_t rows) {
    const std::int64_t scratch_bytes = product_scratch(backend_, extents_.channels);
    for (const auto& [weight, out] :
         {std::pair{&args_.table.gate[expert], &memory_.gate}, std::pair{&args_.table.up[expert], &memory_.up}}) {
      const MatrixRef matrix = matrix_of(*weight);
      backend_.pool().parallel_for(
          matrix.n, output_grain(matrix.k * rows), [&](std::int64_t begin, std::int64_t end, int worker) {
            multiply(backend_, extents_.input_type, memory_.input.bytes(), extents_.channels, rows, matrix, begin, end,
                     out->as<float>(), extents_.inter, memory_.scratch + worker * scratch_bytes);
          });
    }
    product(rows, extents_.inter, extents_.channels, operand_of(memory_.d_out),
            plain_operand(backend_, args_.table.down[expert], memory_.weight), memory_.d_hidden, extents_.d_out_type,
            0);
  }

  void activate(std::int64_t place, std::int64_t rows) {
    const OperatorKernels& kernels = backend_.kernels();
    const std::int64_t inter = extents_.inter;
    const float limit =
        args_.swiglu_limit > 0 ? static_cast<float>(args_.swiglu_limit) : std::numeric_limits<float>::infinity();
    for_rows(backend_.pool(), rows, 8 * inter, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t row = begin; row < end; ++row) {
        const std::int64_t token = token_of(place + row);
        const std::int64_t slot = plan_.assignment(place + row) % extents_.slots;
        float* gate = memory_.gate.row<float>(row);
        float* up = memory_.up.row<float>(row);
        float* d_hidden = memory_.d_hidden.row<float>(row);  // the hidden layer takes its place
        args_.d_weights.row<float>(token)[slot] = kernels.swiglu_backward(
            gate, up, limit, args_.weights.row<float>(token)[slot], d_hidden, gate, up, d_hidden, inter);
        round_blocks(kernels, args_.rounding, d_hidden, inter);
        write_f32(kernels, extents_.input_type, d_hidden, inter, element(memory_.hidden, row, 0));
        write_f32(kernels, extents_.hidden_type, gate, inter, element(memory_.d_gate, row, 0));
        write_f32(kernels, extents_.hidden_type, up, inter, element(memory_.d_up, row, 0));
      }
    });
  }

  void add_to_input(std::int64_t expert, std::int64_t place, std::int64_t rows) {
    product(rows, extents_.channels, extents_.inter, operand_of(memory_.d_gate),
            plain_operand(backend_, args_.table.gate[expert], memory_.weight), memory_.d_input, extents_.hidden_type,
            0);
    product(rows, extents_.channels, extents_.inter, operand_of(memory_.d_up),
            plain_operand(backend_, args_.table.up[expert], memory_.weight), memory_.d_input, extents_.hidden_type, 1);
    // Threads split channels: a token that names the expert twice has two rows here.
    backend_.pool().parallel_for(extents_.channels, grain_of(rows), [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t row = 0; row < rows; ++row) {
        backend_.kernels().accumulate(memory_.d_input.row<float>(row) + begin,
                                      args_.d_input.row<float>(token_of(place + row)) + begin, end - begin);
      }
    });
  }

  void add_to_weights(std::int64_t expert, std::int64_t rows) {
    product(extents_.channels, extents_.inter, rows, operand_of(memory_.d_out, true), operand_of(memory_.hidden),
            args_.gradients.down[expert].codes, extents_.d_out_type, 1);
    product(extents_.inter, extents_.channels, rows, operand_of(memory_.d_gate, true), operand_of(memory_.input),
            args_.gradients.gate[expert].codes, extents_.hidden_type, 1);
    product(extents_.inter, extents_.channels, rows, operand_of(memory_.d_up, true), operand_of(memory_.input),
            args_.gradients.up[expert].codes, extents_.hidden_type, 1);
  }

  CpuBackend& backend_;
  const Args& args_;
  Extents extents_;
  ExpertPlan plan_;
  Memory memory_;
};

bool supports(const Args& args) {
  return is_f32_or_bf16(args.input) && is_matrix(args.table.gate[0]) && is_matrix(args.table.up[0]) &&
         is_matrix(args.table.down[0]);
}

std::int64_t scratch_bytes(const ops::Backend& backend, const Args& args) {
  const Extents extents(args);
  const auto& [assignments, channels, inter, slots, rows, input_type, d_out_type, hidden_type, weight] = extents;
  const std::int64_t products =
      std::max({product_scratch_of_all(backend, channels), gemm_scratch_bytes(backend, rows, inter, channels),
                gemm_scratch_bytes(backend, rows, channels, inter), gemm_scratch_bytes(backend, channels, inter, rows),
                gemm_scratch_bytes(backend, inter, channels, rows)});
  return ExpertPlan::bytes(assignments, args.table.count) + Memory(extents, nullptr).bytes + products;
}

}  // namespace

void add_routed_experts_backward(ops::OpTable& table) {
  table.add<ops::RoutedExpertsBackward>(
      {.implementation = "cpu",
       .supports = supports,
       .scratch_bytes = scratch_bytes,
       .enqueue = [](ops::Stream& stream, const Args& args) { MixtureBackward(stream, args).run(); }});
}

}  // namespace hadal::cpu
