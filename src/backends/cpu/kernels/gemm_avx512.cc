#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "backends/cpu/kernels/decode_tables.h"
#include "backends/cpu/kernels/kernel_table.h"
#include "backends/cpu/kernels/register.h"
#include "backends/cpu/kernels/target.h"

HADAL_TARGET_BEGIN_AVX512
namespace hadal::cpu {
namespace {

#include "backends/cpu/kernels/unroll-inl.h"
#include "backends/cpu/kernels/vector_avx512-inl.h"
// The vector type comes first.
#include "backends/cpu/kernels/gemm-inl.h"

/// Units of two bf16: vdpbf16ps adds both products of a pair to a lane.
struct Bf16Units {
  using Reg = __m512i;
  static constexpr int kInner = 2;
  static HADAL_INLINE Reg load(const std::byte* p) { return _mm512_loadu_si512(p); }
  static HADAL_INLINE Reg spread(const std::byte* p) {
    std::int32_t pair;
    __builtin_memcpy(&pair, p, sizeof(pair));
    return _mm512_set1_epi32(pair);
  }
  static HADAL_INLINE __m512 mul_add(__m512 acc, Reg a, Reg b) {
    return _mm512_dpbf16_ps(acc, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
};

void interleave(const void* first, const void* second, std::int64_t n, void* out) {
  const auto* low = static_cast<const std::byte*>(first);
  const auto* high = static_cast<const std::byte*>(second);
  auto* units = static_cast<std::byte*>(out);
  for (std::int64_t i = 0; i < n; i += V::kLanes) {
    const std::int64_t count = n - i < V::kLanes ? n - i : V::kLanes;
    const auto mask = static_cast<__mmask16>((std::uint32_t{1} << static_cast<unsigned>(count)) - 1U);
    __m512i pairs = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, low + 2 * i));
    if (high != nullptr) {
      const __m512i upper = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, high + 2 * i));
      pairs = _mm512_or_si512(pairs, _mm512_slli_epi32(upper, 16));
    }
    _mm512_mask_storeu_epi32(units + 4 * i, mask, pairs);
  }
}

}  // namespace

void add_gemm_avx512(KernelTable& table) {
  table.gemm_f32 = make_gemm_kernels<F32Units>();
  table.gemm_bf16 = make_gemm_kernels<Bf16Units>();
  table.gemm_bf16.interleave = interleave;
}

}  // namespace hadal::cpu
HADAL_TARGET_END
