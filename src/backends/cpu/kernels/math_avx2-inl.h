// What operators need beside V: eight lanes. Included inside an anonymous namespace and an AVX2 target region, after
// vector_avx2-inl.h.

struct M {
  using Reg = V::Reg;
  using Int = __m256i;
  using Mask = __m256;

  static HADAL_INLINE void store_n(float* p, Reg v, std::int64_t n) { _mm256_maskstore_ps(p, tail(n), v); }
  static HADAL_INLINE void store_bf16(void* p, Reg v) { _mm_storeu_si128(static_cast<__m128i*>(p), narrow(v)); }
  static HADAL_INLINE void store_bf16_n(void* p, Reg v, std::int64_t n) {
    alignas(16) std::uint8_t all[16];
    store_bf16(all, v);
    __builtin_memcpy(p, all, static_cast<std::size_t>(n) * 2);
  }
  /// `value` in the first n lanes, v's own lanes behind them replaced by `rest`.
  static HADAL_INLINE Reg keep_n(Reg v, std::int64_t n, Reg rest) {
    return _mm256_blendv_ps(rest, v, _mm256_castsi256_ps(tail(n)));
  }

  // The second operand where one is NaN.
  static HADAL_INLINE Reg min(Reg a, Reg b) { return _mm256_min_ps(a, b); }
  static HADAL_INLINE Reg max(Reg a, Reg b) { return _mm256_max_ps(a, b); }
  static HADAL_INLINE Reg sqrt(Reg v) { return _mm256_sqrt_ps(v); }
  static HADAL_INLINE Reg abs(Reg v) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0F), v); }

  static HADAL_INLINE Int bits(Reg v) { return _mm256_castps_si256(v); }
  static HADAL_INLINE Reg real(Int v) { return _mm256_castsi256_ps(v); }
  static HADAL_INLINE Int set1_int(std::int32_t v) { return _mm256_set1_epi32(v); }
  static HADAL_INLINE Int add_int(Int a, Int b) { return _mm256_add_epi32(a, b); }
  static HADAL_INLINE Int sub_int(Int a, Int b) { return _mm256_sub_epi32(a, b); }
  static HADAL_INLINE Int and_int(Int a, Int b) { return _mm256_and_si256(a, b); }
  static HADAL_INLINE Int or_int(Int a, Int b) { return _mm256_or_si256(a, b); }
  static HADAL_INLINE Int xor_int(Int a, Int b) { return _mm256_xor_si256(a, b); }
  template <int kBits>
  static HADAL_INLINE Int shift_left(Int v) {
    return _mm256_slli_epi32(v, kBits);
  }
  template <int kBits>
  static HADAL_INLINE Int shift_right(Int v) {  // keeps the sign
    return _mm256_srai_epi32(v, kBits);
  }
  static HADAL_INLINE Int to_int(Reg v) { return _mm256_cvtps_epi32(v); }  // to nearest even
  static HADAL_INLINE Reg to_real(Int v) { return _mm256_cvtepi32_ps(v); }
  static HADAL_INLINE Int load_int(const std::uint32_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static HADAL_INLINE void store_int(std::uint32_t* p, Int v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }

  static HADAL_INLINE Mask greater(Reg a, Reg b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
  static HADAL_INLINE Mask unordered(Reg v) { return _mm256_cmp_ps(v, v, _CMP_UNORD_Q); }
  static HADAL_INLINE Reg select(Mask mask, Reg yes, Reg no) { return _mm256_blendv_ps(no, yes, mask); }
  /// One bit a lane.
  static HADAL_INLINE std::uint32_t equal_bits(Reg a, Reg b) {
    return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_EQ_OQ)));
  }
  static HADAL_INLINE std::uint32_t unsigned_at_least_bits(Int a, Int b) {
    return static_cast<std::uint32_t>(_mm256_movemask_ps(real(_mm256_cmpeq_epi32(_mm256_max_epu32(a, b), a))));
  }

  /// acc + the products of the bf16 pairs in a and b, lower halves first.
  static HADAL_INLINE Reg dot_pairs(Reg acc, Reg a, Reg b) {
    const Int upper = set1_int(static_cast<std::int32_t>(0xFFFF0000U));
    acc = V::fma(real(shift_left<16>(bits(a))), real(shift_left<16>(bits(b))), acc);
    return V::fma(real(and_int(bits(a), upper)), real(and_int(bits(b), upper)), acc);
  }
  static HADAL_INLINE Reg swap_pairs(Reg v) { return _mm256_permute_ps(v, 0xB1); }

  /// Walsh-Hadamard transform of the lanes, not normalised.
  static HADAL_INLINE Reg hadamard(Reg v) {
    v = butterfly<0xAA>(v, _mm256_permute_ps(v, 0xB1));
    v = butterfly<0xCC>(v, _mm256_permute_ps(v, 0x4E));
    return butterfly<0xF0>(v, _mm256_permute2f128_ps(v, v, 0x01));
  }

  /// out[column * stride + row] = rows[row][column] for 8 rows and columns.
  static HADAL_INLINE void transpose(const float* const* rows, float* out, std::int64_t stride) {
    Reg r[8];
    Reg t[8];
    unroll<8>([&](auto i) HADAL_INLINE_LAMBDA { r[i.value] = V::load(rows[i.value]); });
    unroll<4>([&](auto i) HADAL_INLINE_LAMBDA {
      t[2 * i.value] = _mm256_unpacklo_ps(r[2 * i.value], r[2 * i.value + 1]);
      t[2 * i.value + 1] = _mm256_unpackhi_ps(r[2 * i.value], r[2 * i.value + 1]);
    });
    unroll<2>([&](auto i) HADAL_INLINE_LAMBDA {
      constexpr int k = 4 * i.value;
      r[k] = _mm256_shuffle_ps(t[k], t[k + 2], 0x44);
      r[k + 1] = _mm256_shuffle_ps(t[k], t[k + 2], 0xEE);
      r[k + 2] = _mm256_shuffle_ps(t[k + 1], t[k + 3], 0x44);
      r[k + 3] = _mm256_shuffle_ps(t[k + 1], t[k + 3], 0xEE);
    });
    unroll<4>([&](auto i) HADAL_INLINE_LAMBDA {
      constexpr int k = i.value;
      V::store(out + k * stride, _mm256_permute2f128_ps(r[k], r[k + 4], 0x20));
      V::store(out + (k + 4) * stride, _mm256_permute2f128_ps(r[k], r[k + 4], 0x31));
    });
  }

 private:
  static HADAL_INLINE Int tail(std::int64_t n) {
    const Int lanes = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    return _mm256_cmpgt_epi32(set1_int(static_cast<std::int32_t>(n)), lanes);
  }
  static HADAL_INLINE __m128i narrow(Reg v) {
    const Int b = bits(v);
    const Int odd = and_int(_mm256_srli_epi32(b, 16), set1_int(1));
    const Int rounded = _mm256_srli_epi32(add_int(add_int(b, set1_int(0x7FFF)), odd), 16);
    const Int quiet = or_int(_mm256_srli_epi32(b, 16), set1_int(0x40));
    const Int both = bits(select(unordered(v), real(quiet), real(rounded)));
    return _mm_packus_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
  }
  template <int kSecond>
  static HADAL_INLINE Reg butterfly(Reg own, Reg partner) {
    return _mm256_blend_ps(_mm256_add_ps(own, partner), _mm256_sub_ps(partner, own), kSecond);
  }
};
