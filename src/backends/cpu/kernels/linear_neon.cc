#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "backends/cpu/kernels/decode_tables.h"
#include "backends/cpu/kernels/kernel_table.h"
#include "backends/cpu/kernels/matrix_ref.h"
#include "backends/cpu/kernels/register.h"
#include "backends/cpu/kernels/target.h"

namespace hadal::cpu {
namespace {

#include "backends/cpu/kernels/unroll-inl.h"

#include "backends/cpu/kernels/vector_neon-inl.h"
// The vector type comes first.
#include "backends/cpu/kernels/linear-inl.h"

#include "backends/cpu/kernels/peak-inl.h"

}  // namespace

void add_linear_neon(KernelTable& table) {
  table.scratch_bytes = linear_scratch_bytes;
  table.multiply_bf16 = multiply_bf16_as<WidenedWeights>;
  table.multiply_f32 = multiply<float, WidenedWeights>;
  add_peaks(table);
  table.peak_bf16 = table.peak_f32;  // products of widened numbers
  table.peak_bf16_flops = table.peak_f32_flops;
}

}  // namespace hadal::cpu
