#include "backends/cpu/kernels/block_kernels.h"

namespace hadal::cpu {

const BlockKernels& block_kernels(std::string_view isa) {
#if defined(__x86_64__)
  if (isa == "avx512") return block_kernels_avx512();
  if (isa == "avx2") return block_kernels_avx2();
#elif defined(__aarch64__)
  if (isa == "neon") return block_kernels_neon();
#endif
  static_cast<void>(isa);
  return block_kernels_generic();
}

}  // namespace hadal::cpu
