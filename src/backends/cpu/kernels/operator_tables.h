#pragma once

#include "backends/cpu/kernels/operator_kernels.h"

namespace hadal::cpu {

// One table an instruction set; call only the functions in it that the processor has the instructions for.
[[nodiscard]] const OperatorKernels& operator_kernels_generic();
[[nodiscard]] const OperatorKernels& operator_kernels_avx2();
[[nodiscard]] const OperatorKernels& operator_kernels_avx512();
[[nodiscard]] const OperatorKernels& operator_kernels_neon();

}  // namespace hadal::cpu
