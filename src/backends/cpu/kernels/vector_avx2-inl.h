// Eight f32 lanes. Included inside an anonymous namespace and an AVX2 target region.

struct V {
  using Reg = __m256;
  static constexpr int kLanes = 8;
  static constexpr int kTileColumns = 3;  // 4 x 3 accumulators of 16 registers
  static constexpr int kOneRow = 4;       // weight rows that a product with one activation row reads together

  static HADAL_INLINE Reg zero() { return _mm256_setzero_ps(); }
  static HADAL_INLINE Reg set1(float value) { return _mm256_set1_ps(value); }
  static HADAL_INLINE Reg fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_ps(a, b, c); }
  static HADAL_INLINE Reg load(const float* p) { return _mm256_loadu_ps(p); }
  static HADAL_INLINE Reg load_n(const float* p, std::int64_t n) {
    const __m256i lanes = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lanes));
  }
  static HADAL_INLINE void store(float* p, Reg v) { _mm256_storeu_ps(p, v); }

  static HADAL_INLINE Reg load_bf16(const void* p) {
    const __m128i bits = _mm_loadu_si128(static_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
  static HADAL_INLINE Reg load_bf16_n(const void* p, std::int64_t n) {
    alignas(16) std::uint8_t padded[16] = {};
    __builtin_memcpy(padded, p, static_cast<std::size_t>(n) * 2);
    return load_bf16(padded);
  }
  static HADAL_INLINE Reg load_e4m3(const std::uint8_t* p) {
    const __m256i wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
    const __m256i magnitude = _mm256_and_si256(_mm256_slli_epi32(wide, 20), _mm256_set1_epi32(0x07F00000));
    const __m256i sign = _mm256_and_si256(_mm256_slli_epi32(wide, 24), _mm256_set1_epi32(INT32_MIN));
    // Read as f32 the magnitude is too small by 2^120; the product is exact, subnormal codes included.
    const __m256 value = _mm256_mul_ps(_mm256_castsi256_ps(_mm256_or_si256(magnitude, sign)), _mm256_set1_ps(0x1p120F));
    const __m256 nan = _mm256_castsi256_ps(_mm256_cmpeq_epi32(magnitude, _mm256_set1_epi32(0x07F00000)));
    return _mm256_or_ps(value, _mm256_and_ps(nan, _mm256_castsi256_ps(_mm256_set1_epi32(0x7FC00000))));
  }
  static HADAL_INLINE Reg load_e4m3_n(const std::uint8_t* p, std::int64_t n) {
    std::uint8_t padded[8] = {};
    __builtin_memcpy(padded, p, static_cast<std::size_t>(n));
    return load_e4m3(padded);
  }
  /// 8 E2M1 codes from 4 bytes.
  static HADAL_INLINE Reg load_e2m1(const std::uint8_t* p) {
    std::int32_t codes;
    __builtin_memcpy(&codes, p, sizeof(codes));
    const __m256i index = _mm256_srlv_epi32(_mm256_set1_epi32(codes), _mm256_set_epi32(28, 24, 20, 16, 12, 8, 4, 0));
    const __m256 magnitude = _mm256_permutevar8x32_ps(_mm256_loadu_ps(kDecode.e2m1), index);
    const __m256i sign = _mm256_and_si256(_mm256_slli_epi32(index, 28), _mm256_set1_epi32(INT32_MIN));
    return _mm256_xor_ps(magnitude, _mm256_castsi256_ps(sign));
  }

  /// Sums of the lanes of four registers: halves are added, three times.
  static HADAL_INLINE void sum4(Reg a, Reg b, Reg c, Reg d, float* out) {
    const __m128 a4 = fold(a);
    const __m128 b4 = fold(b);
    const __m128 c4 = fold(c);
    const __m128 d4 = fold(d);
    const __m128 ab = _mm_add_ps(_mm_unpacklo_ps(a4, b4), _mm_unpackhi_ps(a4, b4));
    const __m128 cd = _mm_add_ps(_mm_unpacklo_ps(c4, d4), _mm_unpackhi_ps(c4, d4));
    _mm_storeu_ps(out, _mm_add_ps(_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab)));
  }

 private:
  static HADAL_INLINE __m128 fold(Reg v) { return _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1)); }
};
