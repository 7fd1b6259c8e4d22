// The kernels of one instruction set as a table. Included last, inside an anonymous namespace and a target region.

constexpr BlockKernels make_block_table(std::string_view isa) {
  return {.isa = isa,
          .lanes = V::kLanes,
          .f32 = {.values = F32Keys::kChannels,
                  .narrow = narrow_f32,
                  .pack_rows = pack_rows_f32,
                  .pack_columns = pack_columns<F32Keys>,
                  .multiply = multiply_block<F32Keys>},
          .bf16 = {.values = Bf16Keys::kChannels,
                   .narrow = narrow_bf16,
                   .pack_rows = pack_rows_bf16,
                   .pack_columns = pack_columns<Bf16Keys>,
                   .multiply = multiply_block<Bf16Keys>},
          .dot = dot,
          .softmax_gradient = softmax_gradient,
          .sink_gradient = sink_gradient,
          .add_exponentials = add_exponentials,
          .add_positive = add_positive,
          .divergence = divergence,
          .positive_gradient = positive_gradient,
          .pool_gradient = pool_gradient};
}
