// Four f32 lanes in the compiler's own vector type: any processor. Products and sums are rounded separately, since a
// fused multiply-add may be a library call here. Included inside an anonymous namespace.

struct V {
  typedef float Reg __attribute__((vector_size(16)));
  static constexpr int kLanes = 4;
  static constexpr int kTileColumns = 3;
  static constexpr int kOneRow = 4;  // weight rows that a product with one activation row reads together

  static HADAL_INLINE Reg zero() { return Reg{}; }
  static HADAL_INLINE Reg set1(float value) { return Reg{value, value, value, value}; }
  static HADAL_INLINE Reg fma(Reg a, Reg b, Reg c) { return a * b + c; }
  static HADAL_INLINE Reg load(const float* p) {
    Reg v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
  }
  static HADAL_INLINE Reg load_n(const float* p, std::int64_t n) {
    Reg v{};
    __builtin_memcpy(&v, p, static_cast<std::size_t>(n) * sizeof(float));
    return v;
  }
  static HADAL_INLINE void store(float* p, Reg v) { __builtin_memcpy(p, &v, sizeof(v)); }

  static HADAL_INLINE Reg load_bf16(const void* p) { return load_bf16_n(p, kLanes); }
  static HADAL_INLINE Reg load_bf16_n(const void* p, std::int64_t n) {
    std::uint16_t bits[kLanes] = {};
    __builtin_memcpy(bits, p, static_cast<std::size_t>(n) * sizeof(bits[0]));
    const std::uint32_t wide[kLanes] = {std::uint32_t{bits[0]} << 16, std::uint32_t{bits[1]} << 16,
                                        std::uint32_t{bits[2]} << 16, std::uint32_t{bits[3]} << 16};
    Reg v;
    __builtin_memcpy(&v, wide, sizeof(v));
    return v;
  }
  static HADAL_INLINE Reg load_e4m3(const std::uint8_t* p) {
    return Reg{kDecode.e4m3[p[0]], kDecode.e4m3[p[1]], kDecode.e4m3[p[2]], kDecode.e4m3[p[3]]};
  }
  static HADAL_INLINE Reg load_e4m3_n(const std::uint8_t* p, std::int64_t n) {
    std::uint8_t padded[kLanes] = {};
    __builtin_memcpy(padded, p, static_cast<std::size_t>(n));
    return load_e4m3(padded);
  }
  /// 4 E2M1 codes from 2 bytes.
  static HADAL_INLINE Reg load_e2m1(const std::uint8_t* p) {
    return Reg{kDecode.e2m1[p[0] & 15], kDecode.e2m1[p[0] >> 4], kDecode.e2m1[p[1] & 15], kDecode.e2m1[p[1] >> 4]};
  }

  /// Sums of the lanes of four registers: halves are added, twice.
  static HADAL_INLINE void sum4(Reg a, Reg b, Reg c, Reg d, float* out) {
    out[0] = (a[0] + a[2]) + (a[1] + a[3]);
    out[1] = (b[0] + b[2]) + (b[1] + b[3]);
    out[2] = (c[0] + c[2]) + (c[1] + c[3]);
    out[3] = (d[0] + d[2]) + (d[1] + d[3]);
  }
};
