// Four f32 lanes of AArch64. Included inside an anonymous namespace.

struct V {
  using Reg = float32x4_t;
  static constexpr int kLanes = 4;
  static constexpr int kTileColumns = 5;  // 4 x 5 accumulators, 4 weights, 1 activation: 25 of 32 registers
  static constexpr int kOneRow = 8;       // weight rows that a product with one activation row reads together

  static HADAL_INLINE Reg zero() { return vdupq_n_f32(0.0F); }
  static HADAL_INLINE Reg set1(float value) { return vdupq_n_f32(value); }
  static HADAL_INLINE Reg fma(Reg a, Reg b, Reg c) { return vfmaq_f32(c, a, b); }
  static HADAL_INLINE Reg load(const float* p) {
    Reg v;  // any alignment
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
  }
  static HADAL_INLINE Reg load_n(const float* p, std::int64_t n) {
    float padded[kLanes] = {};
    __builtin_memcpy(padded, p, static_cast<std::size_t>(n) * sizeof(float));
    return load(padded);
  }
  static HADAL_INLINE void store(float* p, Reg v) { __builtin_memcpy(p, &v, sizeof(v)); }

  static HADAL_INLINE Reg load_bf16(const void* p) {
    uint16x4_t bits;
    __builtin_memcpy(&bits, p, sizeof(bits));
    return vreinterpretq_f32_u32(vshll_n_u16(bits, 16));
  }
  static HADAL_INLINE Reg load_bf16_n(const void* p, std::int64_t n) {
    std::uint16_t padded[kLanes] = {};
    __builtin_memcpy(padded, p, static_cast<std::size_t>(n) * sizeof(padded[0]));
    return load_bf16(padded);
  }
  static HADAL_INLINE Reg load_e4m3(const std::uint8_t* p) {
    std::uint32_t codes;
    __builtin_memcpy(&codes, p, sizeof(codes));
    const uint32x4_t wide = vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(codes))));
    const uint32x4_t magnitude = vandq_u32(vshlq_n_u32(wide, 20), vdupq_n_u32(0x07F00000));
    const uint32x4_t sign = vandq_u32(vshlq_n_u32(wide, 24), vdupq_n_u32(0x80000000));
    // Read as f32 the magnitude is too small by 2^120; the product is exact, subnormal codes included.
    const Reg value = vmulq_f32(vreinterpretq_f32_u32(vorrq_u32(magnitude, sign)), vdupq_n_f32(0x1p120F));
    const uint32x4_t nan = vceqq_u32(magnitude, vdupq_n_u32(0x07F00000));
    return vbslq_f32(nan, vreinterpretq_f32_u32(vdupq_n_u32(0x7FC00000)), value);
  }
  static HADAL_INLINE Reg load_e4m3_n(const std::uint8_t* p, std::int64_t n) {
    std::uint8_t padded[kLanes] = {};
    __builtin_memcpy(padded, p, static_cast<std::size_t>(n));
    return load_e4m3(padded);
  }
  /// 4 E2M1 codes from 2 bytes.
  static HADAL_INLINE Reg load_e2m1(const std::uint8_t* p) {
    const Reg values = {kDecode.e2m1[p[0] & 15], kDecode.e2m1[p[0] >> 4], kDecode.e2m1[p[1] & 15],
                        kDecode.e2m1[p[1] >> 4]};
    return values;
  }

  /// Sums of the lanes of four registers: halves are added, twice.
  static HADAL_INLINE void sum4(Reg a, Reg b, Reg c, Reg d, float* out) {
    const Reg ab =
        vaddq_f32(vcombine_f32(vget_low_f32(a), vget_low_f32(b)), vcombine_f32(vget_high_f32(a), vget_high_f32(b)));
    const Reg cd =
        vaddq_f32(vcombine_f32(vget_low_f32(c), vget_low_f32(d)), vcombine_f32(vget_high_f32(c), vget_high_f32(d)));
    store(out, vpaddq_f32(ab, cd));
  }
};
