// What operators need beside V, for four lanes in the compiler's own vector type. Included inside an anonymous
// namespace, after vector_generic-inl.h.

struct M {
  using Reg = V::Reg;
  typedef std::int32_t Int __attribute__((vector_size(16)));
  using Mask = Int;

  static HADAL_INLINE void store_n(float* p, Reg v, std::int64_t n) {
    __builtin_memcpy(p, &v, static_cast<std::size_t>(n) * sizeof(float));
  }
  static HADAL_INLINE void store_bf16(void* p, Reg v) { store_bf16_n(p, v, V::kLanes); }
  static HADAL_INLINE void store_bf16_n(void* p, Reg v, std::int64_t n) {
    const Int b = bits(v);
    std::uint16_t out[V::kLanes];
    for (int i = 0; i < V::kLanes; ++i) {
      const auto u = static_cast<std::uint32_t>(b[i]);
      const bool nan = (u & 0x7FFFFFFFU) > 0x7F800000U;
      const std::uint32_t rounded = (u + 0x7FFFU + ((u >> 16) & 1U)) >> 16;
      out[i] = static_cast<std::uint16_t>(nan ? ((u >> 16) | 0x40U) : rounded);
    }
    __builtin_memcpy(p, out, static_cast<std::size_t>(n) * 2);
  }
  /// `value` in the first n lanes, v's own lanes behind them replaced by `rest`.
  static HADAL_INLINE Reg keep_n(Reg v, std::int64_t n, Reg rest) {
    for (std::int64_t i = n; i < V::kLanes; ++i) v[i] = rest[i];
    return v;
  }

  // The second operand where one is NaN.
  static HADAL_INLINE Reg min(Reg a, Reg b) { return select(b > a, a, b); }
  static HADAL_INLINE Reg max(Reg a, Reg b) { return select(a > b, a, b); }
  static HADAL_INLINE Reg sqrt(Reg v) {
    return Reg{__builtin_sqrtf(v[0]), __builtin_sqrtf(v[1]), __builtin_sqrtf(v[2]), __builtin_sqrtf(v[3])};
  }
  static HADAL_INLINE Reg abs(Reg v) { return real(bits(v) & set1_int(0x7FFFFFFF)); }

  static HADAL_INLINE Int bits(Reg v) {
    Int out;
    __builtin_memcpy(&out, &v, sizeof(out));
    return out;
  }
  static HADAL_INLINE Reg real(Int v) {
    Reg out;
    __builtin_memcpy(&out, &v, sizeof(out));
    return out;
  }
  static HADAL_INLINE Int set1_int(std::int32_t v) { return Int{v, v, v, v}; }
  static HADAL_INLINE Int add_int(Int a, Int b) { return wrap(unsigned_of(a) + unsigned_of(b)); }
  static HADAL_INLINE Int sub_int(Int a, Int b) { return wrap(unsigned_of(a) - unsigned_of(b)); }
  static HADAL_INLINE Int and_int(Int a, Int b) { return a & b; }
  static HADAL_INLINE Int or_int(Int a, Int b) { return a | b; }
  static HADAL_INLINE Int xor_int(Int a, Int b) { return a ^ b; }
  template <int kBits>
  static HADAL_INLINE Int shift_left(Int v) {
    return wrap(unsigned_of(v) << kBits);
  }
  template <int kBits>
  static HADAL_INLINE Int shift_right(Int v) {  // keeps the sign
    return v >> kBits;
  }
  static HADAL_INLINE Int to_int(Reg v) {  // to nearest even; |v| < 2^22
    const Reg magic = V::set1(12582912.0F);
    return sub_int(bits(v + magic), bits(magic));
  }
  static HADAL_INLINE Reg to_real(Int v) {
    return Reg{static_cast<float>(v[0]), static_cast<float>(v[1]), static_cast<float>(v[2]), static_cast<float>(v[3])};
  }
  static HADAL_INLINE Int load_int(const std::uint32_t* p) {
    Int v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
  }
  static HADAL_INLINE void store_int(std::uint32_t* p, Int v) { __builtin_memcpy(p, &v, sizeof(v)); }

  static HADAL_INLINE Mask greater(Reg a, Reg b) { return a > b; }
  static HADAL_INLINE Mask unordered(Reg v) { return v != v; }
  static HADAL_INLINE Reg select(Mask mask, Reg yes, Reg no) { return real((bits(yes) & mask) | (bits(no) & ~mask)); }
  /// One bit a lane.
  static HADAL_INLINE std::uint32_t equal_bits(Reg a, Reg b) { return movemask(a == b); }
  static HADAL_INLINE std::uint32_t unsigned_at_least_bits(Int a, Int b) {
    return movemask(unsigned_of(a) >= unsigned_of(b));
  }

  /// acc + the products of the bf16 pairs in a and b, lower halves first.
  static HADAL_INLINE Reg dot_pairs(Reg acc, Reg a, Reg b) {
    const Int upper = set1_int(static_cast<std::int32_t>(0xFFFF0000U));
    acc = V::fma(real(shift_left<16>(bits(a))), real(shift_left<16>(bits(b))), acc);
    return V::fma(real(bits(a) & upper), real(bits(b) & upper), acc);
  }
  static HADAL_INLINE Reg swap_pairs(Reg v) { return Reg{v[1], v[0], v[3], v[2]}; }

  /// Walsh-Hadamard transform of the lanes, not normalised.
  static HADAL_INLINE Reg hadamard(Reg v) {
    v = Reg{v[0] + v[1], v[0] - v[1], v[2] + v[3], v[2] - v[3]};
    return Reg{v[0] + v[2], v[1] + v[3], v[0] - v[2], v[1] - v[3]};
  }

  /// out[column * stride + row] = rows[row][column] for 4 rows and columns.
  static HADAL_INLINE void transpose(const float* const* rows, float* out, std::int64_t stride) {
    const Reg a = V::load(rows[0]);
    const Reg b = V::load(rows[1]);
    const Reg c = V::load(rows[2]);
    const Reg d = V::load(rows[3]);
    for (int column = 0; column < 4; ++column) {
      V::store(out + column * stride, Reg{a[column], b[column], c[column], d[column]});
    }
  }

 private:
  typedef std::uint32_t Unsigned __attribute__((vector_size(16)));
  static HADAL_INLINE Unsigned unsigned_of(Int v) {
    Unsigned out;
    __builtin_memcpy(&out, &v, sizeof(out));
    return out;
  }
  static HADAL_INLINE Int wrap(Unsigned v) {
    Int out;
    __builtin_memcpy(&out, &v, sizeof(out));
    return out;
  }
  static HADAL_INLINE std::uint32_t movemask(Int v) {
    return static_cast<std::uint32_t>((v[0] & 1) | (v[1] & 2) | (v[2] & 4) | (v[3] & 8));
  }
};
