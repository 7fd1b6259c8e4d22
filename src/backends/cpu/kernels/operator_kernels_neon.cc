#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "backends/cpu/kernels/decode_tables.h"
#include "backends/cpu/kernels/operator_kernels.h"
#include "backends/cpu/kernels/operator_tables.h"
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
#include "backends/cpu/kernels/attention-inl.h"
#include "backends/cpu/kernels/hyper_connection-inl.h"
#include "backends/cpu/kernels/rows-inl.h"
//
#include "backends/cpu/kernels/rows_backward-inl.h"
//
#include "backends/cpu/kernels/hyper_connection_backward-inl.h"
//
#include "backends/cpu/kernels/rounding-inl.h"
#include "backends/cpu/kernels/select-inl.h"
//
#include "backends/cpu/kernels/operator_table-inl.h"

}  // namespace

const OperatorKernels& operator_kernels_neon() {
  static constexpr OperatorKernels kTable = make_operator_table("neon");
  return kTable;
}

}  // namespace hadal::cpu
