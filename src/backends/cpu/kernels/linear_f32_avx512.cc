#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "backends/cpu/kernels/decode_tables.h"
#include "backends/cpu/kernels/kernel_table.h"
#include "backends/cpu/kernels/matrix_ref.h"
#include "backends/cpu/kernels/register.h"
#include "backends/cpu/kernels/target.h"

HADAL_TARGET_BEGIN_AVX512
namespace hadal::cpu {
namespace {

#include "backends/cpu/kernels/unroll-inl.h"

#include "backends/cpu/kernels/vector_avx512-inl.h"
// The vector type comes first.
#include "backends/cpu/kernels/linear-inl.h"

#include "backends/cpu/kernels/peak-inl.h"

}  // namespace

void add_linear_f32_avx512(KernelTable& table) {
  table.scratch_bytes = linear_scratch_bytes;
  table.multiply_f32 = multiply<float, WidenedWeights>;
  add_peaks(table);
}

}  // namespace hadal::cpu
HADAL_TARGET_END
