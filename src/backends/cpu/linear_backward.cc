#include <algorithm>

#include "backends/cpu/gemm.h"
#include "backends/cpu/plain_weight.h"
#include "backends/cpu/product.h"
#include "backends/cpu/register.h"
#include "backends/cpu/rows.h"
#include "backends/cpu/work.h"
#include "ops/grouped_linear.h"
#include "ops/linear.h"

namespace hadal::cpu {
namespace {

/// The gradients of one product; both operators come down to it.
struct ProductGradient {
  const TensorView& input;
  GemmOperand weight;  // [outputs, columns] of the whole matrix
  const TensorView& d_out;
  const TensorView& d_input;
  bool accumulate_input;
  const TensorView& d_weight;
  std::int64_t outputs;  // of one group
  std::int64_t columns;  // of one group
  bool narrow;

  void run(CpuBackend& backend, std::int64_t group, std::byte* scratch) const {
    const std::int64_t tokens = input.extent(0);
    GemmOperand gradient = operand_of(d_out);
    gradient.data = element(d_out, 0, group * outputs);
    if (!d_input.absent()) {
      GemmOperand matrix = weight;
      matrix.data += group * outputs * weight.stride * size_of(weight.type);
      gemm(backend,
           {.m = tokens,
            .n = columns,
            .k = outputs,
            .a = gradient,
            .b = matrix,
            .c = d_input.as<float>() + group * columns,
            .c_stride = d_input.stride(0),
            .narrow = narrow,
            .beta = accumulate_input ? 1.0F : 0.0F},
           scratch);
    }
    if (d_weight.absent()) return;
    GemmOperand rows = operand_of(input);
    rows.data = element(input, 0, group * columns);
    gradient.transposed = true;
    gemm(backend,
         {.m = outputs,
          .n = columns,
          .k = tokens,
          .a = gradient,
          .b = rows,
          .c = d_weight.row<float>(group * outputs),
          .c_stride = d_weight.stride(0),
          .narrow = narrow,
          .beta = 1},
         scratch);
  }
};

template <class Args>
void enqueue(ops::Stream& stream, const Args& args, std::int64_t groups) {
  CpuBackend& backend = backend_of(stream);
  const ProductGradient gradient{.input = args.input,
                                 .weight = plain_operand(backend, args.weight, stream.scratch()),
                                 .d_out = args.d_out,
                                 .d_input = args.d_input,
                                 .accumulate_input = args.accumulate_input,
                                 .d_weight = args.d_weight,
                                 .outputs = args.weight.rows() / groups,
                                 .columns = args.weight.columns(),
                                 .narrow = is_bf16(args.input) && ops::is_exact_in_bf16(args.weight)};
  for (std::int64_t group = 0; group < groups; ++group) {
    gradient.run(backend, group, stream.scratch() + plain_weight_bytes(args.weight));
  }
}

template <class Args>
std::int64_t scratch_bytes(const ops::Backend& backend, const Args& args, std::int64_t groups) {
  const std::int64_t tokens = args.input.extent(0);
  const std::int64_t outputs = args.weight.rows() / groups;
  const std::int64_t columns = args.weight.columns();
  return plain_weight_bytes(args.weight) + std::max(gemm_scratch_bytes(backend, tokens, columns, outputs),
                                                    gemm_scratch_bytes(backend, outputs, columns, tokens));
}

template <class Args>
bool supports(const Args& args) {
  return is_f32_or_bf16(args.input) && is_matrix(args.weight);
}

}  // namespace

void add_linear_backward(ops::OpTable& table) {
  using LinearArgs = ops::LinearBackward::Args;
  using GroupedArgs = ops::GroupedLinearBackward::Args;
  table.add<ops::LinearBackward>(
      {.implementation = "cpu",
       .supports = supports<LinearArgs>,
       .scratch_bytes = [](const ops::Backend& backend,
                           const LinearArgs& args) { return scratch_bytes(backend, args, 1); },
       .enqueue = [](ops::Stream& stream, const LinearArgs& args) { enqueue(stream, args, 1); }});
  table.add<ops::GroupedLinearBackward>(
      {.implementation = "cpu",
       .supports = supports<GroupedArgs>,
       .scratch_bytes = [](const ops::Backend& backend,
                           const GroupedArgs& args) { return scratch_bytes(backend, args, args.groups); },
       .enqueue = [](ops::Stream& stream, const GroupedArgs& args) { enqueue(stream, args, args.groups); }});
}

}  // namespace hadal::cpu
