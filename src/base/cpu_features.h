#pragma once

namespace hadal {

/// What the processor and the operating system let this process use, in the groups that kernels are written for.
struct CpuFeatures {
  bool avx2 = false;    // AVX2, FMA
  bool avx512 = false;  // AVX-512 F, BW, VL, DQ, VBMI, BF16
  bool neon = false;    // Advanced SIMD of AArch64
};

/// Asked once at the first call. Thread-safe.
[[nodiscard]] const CpuFeatures& cpu_features();

}  // namespace hadal
