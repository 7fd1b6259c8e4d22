#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "backends/cpu/kernels/decode_tables.h"
#include "backends/cpu/kernels/kernel_table.h"
#include "backends/cpu/kernels/register.h"
#include "backends/cpu/kernels/target.h"

HADAL_TARGET_BEGIN_AVX2
namespace hadal::cpu {
namespace {

#include "backends/cpu/kernels/unroll-inl.h"
#include "backends/cpu/kernels/vector_avx2-inl.h"
// The vector type comes first.
#include "backends/cpu/kernels/gemm-inl.h"

}  // namespace

void add_gemm_avx2(KernelTable& table) { table.gemm_f32 = make_gemm_kernels<F32Units>(); }

}  // namespace hadal::cpu
HADAL_TARGET_END
