// Sixteen f32 lanes. Included inside an anonymous namespace and an AVX-512 target region.

struct V {
  using Reg = __m512;
  static constexpr int kLanes = 16;
  static constexpr int kTileColumns = 6;  // 4 x 6 accumulators, 4 weights, 1 activation: 29 of 32 registers
  static constexpr int kOneRow = 8;       // weight rows that a product with one activation row reads together

  static HADAL_INLINE Reg zero() { return _mm512_setzero_ps(); }
  static HADAL_INLINE Reg set1(float value) { return _mm512_set1_ps(value); }
  static HADAL_INLINE Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
  static HADAL_INLINE Reg load(const float* p) { return _mm512_loadu_ps(p); }
  static HADAL_INLINE Reg load_n(const float* p, std::int64_t n) { return _mm512_maskz_loadu_ps(mask(n), p); }
  static HADAL_INLINE void store(float* p, Reg v) { _mm512_storeu_ps(p, v); }

  static HADAL_INLINE Reg load_bf16(const void* p) { return widen(_mm256_loadu_si256(static_cast<const __m256i*>(p))); }
  static HADAL_INLINE Reg load_bf16_n(const void* p, std::int64_t n) {
    return widen(_mm256_maskz_loadu_epi16(mask(n), p));
  }
  static HADAL_INLINE Reg load_e4m3(const std::uint8_t* p) { return e4m3(_mm_loadu_si128(as_m128i(p))); }
  static HADAL_INLINE Reg load_e4m3_n(const std::uint8_t* p, std::int64_t n) {
    return e4m3(_mm_maskz_loadu_epi8(mask(n), p));
  }
  /// 16 E2M1 codes from 8 bytes.
  static HADAL_INLINE Reg load_e2m1(const std::uint8_t* p) {
    const __m512i halves = _mm512_castsi128_si512(_mm_loadl_epi64(as_m128i(p)));
    const __m512i spread =
        _mm512_permutexvar_epi32(_mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0), halves);
    const __m512i shifts = _mm512_set_epi32(28, 24, 20, 16, 12, 8, 4, 0, 28, 24, 20, 16, 12, 8, 4, 0);
    return _mm512_permutexvar_ps(_mm512_srlv_epi32(spread, shifts), _mm512_loadu_ps(kDecode.e2m1));
  }

  /// Sums of the lanes of four registers: halves are added, four times.
  static HADAL_INLINE void sum4(Reg a, Reg b, Reg c, Reg d, float* out) {
    const Reg ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));
    const Reg cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xEE));
    Reg all = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xDD));
    all = _mm512_add_ps(all, _mm512_permute_ps(all, 0x4E));
    all = _mm512_add_ps(all, _mm512_permute_ps(all, 0xB1));
    const __m512i firsts = _mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 8, 4, 0);
    _mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, all)));
  }

 private:
  static HADAL_INLINE __mmask16 mask(std::int64_t n) {
    return static_cast<__mmask16>((std::uint32_t{1} << static_cast<unsigned>(n)) - 1U);
  }
  static HADAL_INLINE const __m128i* as_m128i(const std::uint8_t* p) { return reinterpret_cast<const __m128i*>(p); }
  static HADAL_INLINE Reg widen(__m256i bits) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  static HADAL_INLINE Reg e4m3(__m128i codes) {
    const __m512i wide = _mm512_cvtepu8_epi32(codes);
    const __m512i magnitude = _mm512_and_si512(_mm512_slli_epi32(wide, 20), _mm512_set1_epi32(0x07F00000));
    const __m512i sign = _mm512_and_si512(_mm512_slli_epi32(wide, 24), _mm512_set1_epi32(INT32_MIN));
    // Read as f32 the magnitude is too small by 2^120; the product is exact, subnormal codes included.
    const __m512 value = _mm512_mul_ps(_mm512_castsi512_ps(_mm512_or_si512(magnitude, sign)), _mm512_set1_ps(0x1p120F));
    const __mmask16 nan = _mm512_cmpeq_epi32_mask(magnitude, _mm512_set1_epi32(0x07F00000));
    return _mm512_mask_mov_ps(value, nan, _mm512_castsi512_ps(_mm512_set1_epi32(0x7FC00000)));
  }
};
