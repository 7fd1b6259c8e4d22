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

/// vdpbf16ps: 32 products a register, summed in pairs, the pair added to one of 16 f32 lanes. Subnormal inputs count as
/// zero, subnormal results become zero.
struct Bf16Dot {
  using Dot = Bf16Dot;
  using Reg = __m512i;
  using Acc = __m512;
  using Packed = std::uint16_t;
  static constexpr int kStep = 32;
  static HADAL_INLINE Acc mul_add(Acc acc, Reg w, Reg x) {
    return _mm512_dpbf16_ps(acc, reinterpret_cast<__m512bh>(w), reinterpret_cast<__m512bh>(x));
  }
  static HADAL_INLINE Reg load_packed(const std::uint16_t* p) { return _mm512_loadu_si512(p); }
  static HADAL_INLINE void store_packed(std::uint16_t* p, Reg v) { _mm512_storeu_si512(p, v); }
  static HADAL_INLINE Reg load_x(const std::uint16_t* p) { return _mm512_loadu_si512(p); }
  static HADAL_INLINE Reg load_x_n(const std::uint16_t* p, std::int64_t n) {
    return _mm512_maskz_loadu_epi16(mask32(n), p);
  }
  static HADAL_INLINE __mmask32 mask32(std::int64_t n) {
    return static_cast<__mmask32>((std::uint64_t{1} << static_cast<unsigned>(n)) - 1U);
  }
};

/// Weights decoded to bf16.
template <WeightFormat kFormat>
struct Bf16Decoder;

template <>
struct Bf16Decoder<WeightFormat::kBf16> : Bf16Dot {
  static constexpr int kRegs = 1;
  static constexpr int kScaleRows = 128;
  static constexpr int kOneRow = 8;
  static constexpr int kDirectColumns = 6;
  static constexpr bool kBlockScaled = false;
  static constexpr int kColumnBytes2 = 4;
  struct Segment {
    template <int R>
    HADAL_INLINE Segment(const Rows<R>&, std::int64_t) {}
  };
  template <int R>
  static HADAL_INLINE void decode(const Segment&, const Rows<R>& rows, int r, std::int64_t column, Reg* out) {
    out[0] = _mm512_loadu_si512(rows.codes[r] + column * 2);
  }
  template <int R>
  static HADAL_INLINE void decode_n(const Segment&, const Rows<R>& rows, int r, std::int64_t column, std::int64_t n,
                                    Reg* out) {
    out[0] = _mm512_maskz_loadu_epi16(mask32(n), rows.codes[r] + column * 2);
  }
};

/// E4M3 through byte tables of the scaled magnitudes, which hold every case (subnormal codes, NaN, scales at the ends).
template <bool kF32Scales>
struct E4m3Decoder : Bf16Dot {
  static constexpr int kRegs = 2;
  static constexpr int kScaleRows = 128;
  static constexpr int kOneRow = 4;
  static constexpr int kDirectColumns = 4;  // more would spill: 8 weight and 4 table registers
  static constexpr bool kBlockScaled = kF32Scales;
  static constexpr int kColumnBytes2 = 2;
  struct Segment {
    __m512i low0, low1, high0, high1;
    template <int R>
    HADAL_INLINE Segment(const Rows<R>& rows, std::int64_t segment) {
      const E4m3Bf16Table& table = kDecode.e4m3_bf16[kF32Scales ? kE8m0One : rows.scales[0][segment]];
      low0 = _mm512_load_si512(table.low);
      low1 = _mm512_load_si512(table.low + 64);
      high0 = _mm512_load_si512(table.high);
      high1 = _mm512_load_si512(table.high + 64);
    }
  };
  template <int R>
  static HADAL_INLINE void decode(const Segment& segment, const Rows<R>& rows, int r, std::int64_t column, Reg* out) {
    values(segment, _mm512_loadu_si512(rows.codes[r] + column), out);
  }
  template <int R>
  static HADAL_INLINE void decode_n(const Segment& segment, const Rows<R>& rows, int r, std::int64_t column,
                                    std::int64_t n, Reg* out) {
    const auto mask = static_cast<__mmask64>((std::uint64_t{1} << static_cast<unsigned>(n)) - 1U);  // n < 64
    values(segment, _mm512_maskz_loadu_epi8(mask, rows.codes[r] + column), out);
  }

 private:
  static HADAL_INLINE void values(const Segment& segment, __m512i codes, Reg* out) {
    // Quadwords 0 4 1 5 2 6 3 7, so that the two unpacks give columns 0..31 and 32..63.
    codes = _mm512_permutexvar_epi64(_mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0), codes);
    const __m512i low = _mm512_permutex2var_epi8(segment.low0, codes, segment.low1);  // ignores the sign bit
    const __m512i high = _mm512_permutex2var_epi8(segment.high0, codes, segment.high1);
    const __m512i with_sign = _mm512_ternarylogic_epi32(high, codes, _mm512_set1_epi8(-128), 0xF8);  // a | (b & c)
    out[0] = _mm512_unpacklo_epi8(low, with_sign);
    out[1] = _mm512_unpackhi_epi8(low, with_sign);
  }
};
template <>
struct Bf16Decoder<WeightFormat::kE4m3E8m0> : E4m3Decoder<false> {};
template <>
struct Bf16Decoder<WeightFormat::kE4m3F32> : E4m3Decoder<true> {};

/// E2M1: code c of a scale block in the low bits of word c, then a table of the scaled values. The order is that of
/// bf16 weights, so that codes and their values in bf16 give the same bits.
template <>
struct Bf16Decoder<WeightFormat::kE2m1E8m0> : Bf16Dot {
  static constexpr int kRegs = 1;
  static constexpr int kScaleRows = 1;
  static constexpr int kOneRow = 8;
  static constexpr int kDirectColumns = 6;
  static constexpr bool kBlockScaled = false;
  static constexpr int kColumnBytes2 = 1;
  struct Segment {
    template <int R>
    HADAL_INLINE Segment(const Rows<R>&, std::int64_t) {}
  };
  template <int R>
  static HADAL_INLINE void decode(const Segment&, const Rows<R>& rows, int r, std::int64_t column, Reg* out) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows.codes[r] + column / 2));
    // Byte b in all four bytes of doubleword b, then the high word moved down by a code; the table ignores higher bits.
    const __m512i places =
        _mm512_set_epi32(0x0F0F0F0F, 0x0E0E0E0E, 0x0D0D0D0D, 0x0C0C0C0C, 0x0B0B0B0B, 0x0A0A0A0A, 0x09090909, 0x08080808,
                         0x07070707, 0x06060606, 0x05050505, 0x04040404, 0x03030303, 0x02020202, 0x01010101, 0);
    const __m512i words = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(bytes), places);
    const __m512i index = _mm512_srlv_epi16(words, _mm512_set1_epi32(0x00040000));
    out[0] = _mm512_permutexvar_epi16(index, _mm512_load_si512(&kDecode.e2m1_bf16[rows.scales[r][column / 32]]));
  }
  template <int R>
  static HADAL_INLINE void decode_n(const Segment& segment, const Rows<R>& rows, int r, std::int64_t column,
                                    std::int64_t, Reg* out) {
    decode(segment, rows, r, column, out);  // k is a multiple of 32: whole registers only
  }
};

constexpr int kChains = 12;  // independent sums: latency times throughput, with room

float peak_bf16(std::int64_t rounds) {
  __m512 acc[kChains];
  unroll<kChains>([&](auto i) HADAL_INLINE_LAMBDA { acc[i.value] = V::zero(); });
  const __m512i ones = _mm512_set1_epi16(0x3F80);
  for (std::int64_t round = 0; round < rounds; ++round) {
    unroll<kChains>([&](auto i) HADAL_INLINE_LAMBDA { acc[i.value] = Bf16Dot::mul_add(acc[i.value], ones, ones); });
  }
  __m512 sum = V::zero();
  unroll<kChains>([&](auto i) HADAL_INLINE_LAMBDA { sum = sum + acc[i.value]; });
  float sums[4];
  V::sum4(sum, sum, sum, sum, sums);
  return sums[0];
}

}  // namespace

void add_linear_bf16_avx512(KernelTable& table) {
  table.multiply_bf16 = multiply_bf16_as<Bf16Decoder>;
  table.peak_bf16 = peak_bf16;
  table.peak_bf16_flops = std::int64_t{2} * kChains * Bf16Dot::kStep;
}

}  // namespace hadal::cpu
HADAL_TARGET_END
