#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "backends/cpu/kernels/block_kernels.h"
#include "backends/cpu/kernels/decode_tables.h"
#include "backends/cpu/kernels/target.h"

namespace hadal::cpu {
namespace {

#include "backends/cpu/kernels/unroll-inl.h"
#include "backends/cpu/kernels/vector_neon-inl.h"
// Each file builds on those before it.
#include "backends/cpu/kernels/math_neon-inl.h"
//
#include "backends/cpu/kernels/functions-inl.h"
//
#include "backends/cpu/kernels/keys-inl.h"
//
#include "backends/cpu/kernels/block_products-inl.h"
//
#include "backends/cpu/kernels/block_rows-inl.h"
//
#include "backends/cpu/kernels/block_table-inl.h"

}  // namespace

const BlockKernels& block_kernels_neon() {
  static constexpr BlockKernels kTable = make_block_table("neon");
  return kTable;
}

}  // namespace hadal::cpu
