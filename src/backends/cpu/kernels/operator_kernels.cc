#include "backends/cpu/kernels/operator_kernels.h"

#include "backends/cpu/kernels/operator_tables.h"

namespace hadal::cpu {

const OperatorKernels& operator_kernels(std::string_view isa) {
#if defined(__x86_64__)
  if (isa == "avx512") return operator_kernels_avx512();
  if (isa == "avx2") return operator_kernels_avx2();
#elif defined(__aarch64__)
  if (isa == "neon") return operator_kernels_neon();
#endif
  static_cast<void>(isa);
  return operator_kernels_generic();
}

}  // namespace hadal::cpu
