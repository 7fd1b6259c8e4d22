#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "backends/cpu/kernels/decode_tables.h"
#include "backends/cpu/kernels/kernel_table.h"
#include "backends/cpu/kernels/register.h"
#include "backends/cpu/kernels/target.h"

namespace hadal::cpu {
namespace {

#include "backends/cpu/kernels/unroll-inl.h"
#include "backends/cpu/kernels/vector_neon-inl.h"
// The vector type comes first.
#include "backends/cpu/kernels/gemm-inl.h"

}  // namespace

void add_gemm_neon(KernelTable& table) { table.gemm_f32 = make_gemm_kernels<F32Units>(); }

}  // namespace hadal::cpu
