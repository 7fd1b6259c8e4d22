// What operators need beside V: sixteen lanes. Included inside an anonymous namespace and an AVX-512 target region,
// after vector_avx512-inl.h.

struct M {
  using Reg = V::Reg;
  using Int = __m512i;
  using Mask = __mmask16;

  static HADAL_INLINE void store_n(float* p, Reg v, std::int64_t n) { _mm512_mask_storeu_ps(p, tail(n), v); }
  static HADAL_INLINE void store_bf16(void* p, Reg v) { _mm256_storeu_si256(static_cast<__m256i*>(p), narrow(v)); }
  static HADAL_INLINE void store_bf16_n(void* p, Reg v, std::int64_t n) {
    _mm256_mask_storeu_epi16(p, tail(n), narrow(v));
  }
  /// `value` in the first n lanes, v's own lanes behind them replaced by `rest`.
  static HADAL_INLINE Reg keep_n(Reg v, std::int64_t n, Reg rest) { return _mm512_mask_mov_ps(rest, tail(n), v); }

  // The second operand where one is NaN.
  static HADAL_INLINE Reg min(Reg a, Reg b) { return _mm512_min_ps(a, b); }
  static HADAL_INLINE Reg max(Reg a, Reg b) { return _mm512_max_ps(a, b); }
  static HADAL_INLINE Reg sqrt(Reg v) { return _mm512_sqrt_ps(v); }
  static HADAL_INLINE Reg abs(Reg v) { return _mm512_abs_ps(v); }

  static HADAL_INLINE Int bits(Reg v) { return _mm512_castps_si512(v); }
  static HADAL_INLINE Reg real(Int v) { return _mm512_castsi512_ps(v); }
  static HADAL_INLINE Int set1_int(std::int32_t v) { return _mm512_set1_epi32(v); }
  static HADAL_INLINE Int add_int(Int a, Int b) { return _mm512_add_epi32(a, b); }
  static HADAL_INLINE Int sub_int(Int a, Int b) { return _mm512_sub_epi32(a, b); }
  static HADAL_INLINE Int and_int(Int a, Int b) { return _mm512_and_si512(a, b); }
  static HADAL_INLINE Int or_int(Int a, Int b) { return _mm512_or_si512(a, b); }
  static HADAL_INLINE Int xor_int(Int a, Int b) { return _mm512_xor_si512(a, b); }
  template <int kBits>
  static HADAL_INLINE Int shift_left(Int v) {
    return _mm512_slli_epi32(v, kBits);
  }
  template <int kBits>
  static HADAL_INLINE Int shift_right(Int v) {  // keeps the sign
    return _mm512_srai_epi32(v, kBits);
  }
  static HADAL_INLINE Int to_int(Reg v) { return _mm512_cvtps_epi32(v); }  // to nearest even
  static HADAL_INLINE Reg to_real(Int v) { return _mm512_cvtepi32_ps(v); }
  static HADAL_INLINE Int load_int(const std::uint32_t* p) { return _mm512_loadu_si512(p); }
  static HADAL_INLINE void store_int(std::uint32_t* p, Int v) { _mm512_storeu_si512(p, v); }

  static HADAL_INLINE Mask greater(Reg a, Reg b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
  static HADAL_INLINE Mask unordered(Reg v) { return _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q); }
  static HADAL_INLINE Reg select(Mask mask, Reg yes, Reg no) { return _mm512_mask_blend_ps(mask, no, yes); }
  /// One bit a lane.
  static HADAL_INLINE std::uint32_t equal_bits(Reg a, Reg b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
  static HADAL_INLINE std::uint32_t unsigned_at_least_bits(Int a, Int b) { return _mm512_cmpge_epu32_mask(a, b); }

  /// acc + the products of the bf16 pairs in a and b.
  static HADAL_INLINE Reg dot_pairs(Reg acc, Reg a, Reg b) {
    return _mm512_dpbf16_ps(acc, (__m512bh)bits(a), (__m512bh)bits(b));
  }
  static HADAL_INLINE Reg swap_pairs(Reg v) { return _mm512_permute_ps(v, 0xB1); }

  /// Walsh-Hadamard transform of the lanes, not normalised.
  static HADAL_INLINE Reg hadamard(Reg v) {
    v = butterfly(v, _mm512_permute_ps(v, 0xB1), 0xAAAA);
    v = butterfly(v, _mm512_permute_ps(v, 0x4E), 0xCCCC);
    v = butterfly(v, _mm512_shuffle_f32x4(v, v, 0xB1), 0xF0F0);
    return butterfly(v, _mm512_shuffle_f32x4(v, v, 0x4E), 0xFF00);
  }

  /// out[column * stride + row] = rows[row][column] for 16 rows and columns.
  static HADAL_INLINE void transpose(const float* const* rows, float* out, std::int64_t stride) {
    Reg r[16];
    Reg t[16];
    unroll<16>([&](auto i) HADAL_INLINE_LAMBDA { r[i.value] = V::load(rows[i.value]); });
    unroll<8>([&](auto i) HADAL_INLINE_LAMBDA {
      t[2 * i.value] = _mm512_unpacklo_ps(r[2 * i.value], r[2 * i.value + 1]);
      t[2 * i.value + 1] = _mm512_unpackhi_ps(r[2 * i.value], r[2 * i.value + 1]);
    });
    unroll<4>([&](auto i) HADAL_INLINE_LAMBDA {
      constexpr int k = 4 * i.value;
      r[k] = unpack_pairs<false>(t[k], t[k + 2]);
      r[k + 1] = unpack_pairs<true>(t[k], t[k + 2]);
      r[k + 2] = unpack_pairs<false>(t[k + 1], t[k + 3]);
      r[k + 3] = unpack_pairs<true>(t[k + 1], t[k + 3]);
    });
    unroll<4>([&](auto i) HADAL_INLINE_LAMBDA {
      constexpr int k = i.value;
      const Reg a = _mm512_shuffle_f32x4(r[k], r[k + 4], 0x88);
      const Reg b = _mm512_shuffle_f32x4(r[k], r[k + 4], 0xDD);
      const Reg c = _mm512_shuffle_f32x4(r[k + 8], r[k + 12], 0x88);
      const Reg d = _mm512_shuffle_f32x4(r[k + 8], r[k + 12], 0xDD);
      V::store(out + k * stride, _mm512_shuffle_f32x4(a, c, 0x88));
      V::store(out + (k + 4) * stride, _mm512_shuffle_f32x4(b, d, 0x88));
      V::store(out + (k + 8) * stride, _mm512_shuffle_f32x4(a, c, 0xDD));
      V::store(out + (k + 12) * stride, _mm512_shuffle_f32x4(b, d, 0xDD));
    });
  }

 private:
  static HADAL_INLINE Mask tail(std::int64_t n) {
    return static_cast<Mask>((std::uint32_t{1} << static_cast<unsigned>(n)) - 1U);
  }
  static HADAL_INLINE __m256i narrow(Reg v) {
    const Int b = bits(v);
    const Int odd = _mm512_and_si512(_mm512_srli_epi32(b, 16), set1_int(1));
    const Int rounded = _mm512_srli_epi32(add_int(add_int(b, set1_int(0x7FFF)), odd), 16);
    const Int quiet = or_int(_mm512_srli_epi32(b, 16), set1_int(0x40));
    return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(rounded, unordered(v), quiet));
  }
  static HADAL_INLINE Reg butterfly(Reg own, Reg partner, Mask second) {
    return _mm512_mask_sub_ps(_mm512_add_ps(own, partner), second, partner, own);
  }
  template <bool kHigh>
  static HADAL_INLINE Reg unpack_pairs(Reg a, Reg b) {
    const __m512d x = _mm512_castps_pd(a);
    const __m512d y = _mm512_castps_pd(b);
    return _mm512_castpd_ps(kHigh ? _mm512_unpackhi_pd(x, y) : _mm512_unpacklo_pd(x, y));
  }
};
