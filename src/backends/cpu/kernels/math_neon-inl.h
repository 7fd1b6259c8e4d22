// What operators need beside V: four lanes of AArch64. Included inside an anonymous namespace, after
// vector_neon-inl.h.

struct M {
  using Reg = V::Reg;
  using Int = int32x4_t;
  using Mask = uint32x4_t;

  static HADAL_INLINE void store_n(float* p, Reg v, std::int64_t n) {
    __builtin_memcpy(p, &v, static_cast<std::size_t>(n) * sizeof(float));
  }
  static HADAL_INLINE void store_bf16(void* p, Reg v) { store_bf16_n(p, v, V::kLanes); }
  static HADAL_INLINE void store_bf16_n(void* p, Reg v, std::int64_t n) {
    const uint32x4_t b = vreinterpretq_u32_f32(v);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(b, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(vaddq_u32(b, vdupq_n_u32(0x7FFF)), odd);
    const uint32x4_t quiet = vorrq_u32(b, vdupq_n_u32(0x400000));
    const uint16x4_t out = vshrn_n_u32(vbslq_u32(unordered(v), quiet, rounded), 16);
    __builtin_memcpy(p, &out, static_cast<std::size_t>(n) * 2);
  }
  /// `value` in the first n lanes, v's own lanes behind them replaced by `rest`.
  static HADAL_INLINE Reg keep_n(Reg v, std::int64_t n, Reg rest) {
    const Int lanes = {0, 1, 2, 3};
    return vbslq_f32(vcgtq_s32(set1_int(static_cast<std::int32_t>(n)), lanes), v, rest);
  }

  // The second operand where one is NaN; vminq_f32 would give NaN.
  static HADAL_INLINE Reg min(Reg a, Reg b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
  static HADAL_INLINE Reg max(Reg a, Reg b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
  static HADAL_INLINE Reg sqrt(Reg v) { return vsqrtq_f32(v); }
  static HADAL_INLINE Reg abs(Reg v) { return vabsq_f32(v); }

  static HADAL_INLINE Int bits(Reg v) { return vreinterpretq_s32_f32(v); }
  static HADAL_INLINE Reg real(Int v) { return vreinterpretq_f32_s32(v); }
  static HADAL_INLINE Int set1_int(std::int32_t v) { return vdupq_n_s32(v); }
  static HADAL_INLINE Int add_int(Int a, Int b) { return vaddq_s32(a, b); }
  static HADAL_INLINE Int sub_int(Int a, Int b) { return vsubq_s32(a, b); }
  static HADAL_INLINE Int and_int(Int a, Int b) { return vandq_s32(a, b); }
  static HADAL_INLINE Int or_int(Int a, Int b) { return vorrq_s32(a, b); }
  static HADAL_INLINE Int xor_int(Int a, Int b) { return veorq_s32(a, b); }
  template <int kBits>
  static HADAL_INLINE Int shift_left(Int v) {
    return vshlq_n_s32(v, kBits);
  }
  template <int kBits>
  static HADAL_INLINE Int shift_right(Int v) {  // keeps the sign
    return vshrq_n_s32(v, kBits);
  }
  static HADAL_INLINE Int to_int(Reg v) { return vcvtnq_s32_f32(v); }  // to nearest even
  static HADAL_INLINE Reg to_real(Int v) { return vcvtq_f32_s32(v); }
  static HADAL_INLINE Int load_int(const std::uint32_t* p) {
    Int v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
  }
  static HADAL_INLINE void store_int(std::uint32_t* p, Int v) { __builtin_memcpy(p, &v, sizeof(v)); }

  static HADAL_INLINE Mask greater(Reg a, Reg b) { return vcgtq_f32(a, b); }
  static HADAL_INLINE Mask unordered(Reg v) { return vmvnq_u32(vceqq_f32(v, v)); }
  static HADAL_INLINE Reg select(Mask mask, Reg yes, Reg no) { return vbslq_f32(mask, yes, no); }
  /// One bit a lane.
  static HADAL_INLINE std::uint32_t equal_bits(Reg a, Reg b) { return movemask(vceqq_f32(a, b)); }
  static HADAL_INLINE std::uint32_t unsigned_at_least_bits(Int a, Int b) {
    return movemask(vcgeq_u32(vreinterpretq_u32_s32(a), vreinterpretq_u32_s32(b)));
  }

  /// acc + the products of the bf16 pairs in a and b, lower halves first.
  static HADAL_INLINE Reg dot_pairs(Reg acc, Reg a, Reg b) {
    const Int upper = set1_int(static_cast<std::int32_t>(0xFFFF0000U));
    acc = V::fma(real(shift_left<16>(bits(a))), real(shift_left<16>(bits(b))), acc);
    return V::fma(real(and_int(bits(a), upper)), real(and_int(bits(b), upper)), acc);
  }
  static HADAL_INLINE Reg swap_pairs(Reg v) { return vrev64q_f32(v); }

  /// Walsh-Hadamard transform of the lanes, not normalised.
  static HADAL_INLINE Reg hadamard(Reg v) {
    const Mask odd = {0, ~0U, 0, ~0U};
    const Reg pairs = vrev64q_f32(v);
    v = vbslq_f32(odd, vsubq_f32(pairs, v), vaddq_f32(v, pairs));
    const Reg halves = vextq_f32(v, v, 2);
    const Mask second = {0, 0, ~0U, ~0U};
    return vbslq_f32(second, vsubq_f32(halves, v), vaddq_f32(v, halves));
  }

  /// out[column * stride + row] = rows[row][column] for 4 rows and columns.
  static HADAL_INLINE void transpose(const float* const* rows, float* out, std::int64_t stride) {
    const float32x4x2_t ab = vtrnq_f32(V::load(rows[0]), V::load(rows[1]));
    const float32x4x2_t cd = vtrnq_f32(V::load(rows[2]), V::load(rows[3]));
    V::store(out, vcombine_f32(vget_low_f32(ab.val[0]), vget_low_f32(cd.val[0])));
    V::store(out + stride, vcombine_f32(vget_low_f32(ab.val[1]), vget_low_f32(cd.val[1])));
    V::store(out + 2 * stride, vcombine_f32(vget_high_f32(ab.val[0]), vget_high_f32(cd.val[0])));
    V::store(out + 3 * stride, vcombine_f32(vget_high_f32(ab.val[1]), vget_high_f32(cd.val[1])));
  }

 private:
  static HADAL_INLINE std::uint32_t movemask(Mask mask) {
    const Mask lane = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(mask, lane));
  }
};
