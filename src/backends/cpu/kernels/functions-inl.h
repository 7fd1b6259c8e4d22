// Elementary functions on registers, and loops over rows. Included inside an anonymous namespace and a target region,
// after a V and an M. Every lane is computed alike, so a value's bits do not depend on its place in a row.

/// Register accesses of a loop's body: whole registers, or the first n lanes of the last one (the others read as 0).
struct Whole {
  static HADAL_INLINE V::Reg load(const float* p) { return V::load(p); }
  static HADAL_INLINE V::Reg load_bf16(const std::byte* p) { return V::load_bf16(p); }
  static HADAL_INLINE void store(float* p, V::Reg v) { V::store(p, v); }
  static HADAL_INLINE void store_bf16(std::byte* p, V::Reg v) { M::store_bf16(p, v); }
  static HADAL_INLINE V::Reg keep(V::Reg v, V::Reg /*rest*/) { return v; }
};
struct Part {
  std::int64_t n;
  HADAL_INLINE V::Reg load(const float* p) const { return V::load_n(p, n); }
  HADAL_INLINE V::Reg load_bf16(const std::byte* p) const { return V::load_bf16_n(p, n); }
  HADAL_INLINE void store(float* p, V::Reg v) const { M::store_n(p, v, n); }
  HADAL_INLINE void store_bf16(std::byte* p, V::Reg v) const { M::store_bf16_n(p, v, n); }
  HADAL_INLINE V::Reg keep(V::Reg v, V::Reg rest) const { return M::keep_n(v, n, rest); }
};

/// body(i, access) for each register of a row of n.
template <class Body>
HADAL_INLINE void for_lanes(std::int64_t n, Body&& body) {
  std::int64_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) body(i, Whole{});
  if (i < n) body(i, Part{n - i});
}

/// Sum of the lanes, halves first.
HADAL_INLINE float sum_lanes(V::Reg v) {
  float sums[4];
  V::sum4(v, v, v, v, sums);
  return sums[0];
}

HADAL_INLINE float max_lanes(V::Reg v) {  // NaN anywhere gives NaN or the maximum of the rest
  float lanes[V::kLanes];
  V::store(lanes, v);
  float largest = lanes[0];
  for (int i = 1; i < V::kLanes; ++i) largest = lanes[i] > largest ? lanes[i] : largest;
  return largest;
}

/// p * 2^n for n in [-300, 300], rounded once, subnormal results included.
HADAL_INLINE V::Reg scale_by_power(V::Reg p, M::Int n) {
  const M::Int half = M::shift_right<1>(n);
  const M::Int bias = M::set1_int(127);
  const V::Reg first = M::real(M::shift_left<23>(M::add_int(half, bias)));
  const V::Reg second = M::real(M::shift_left<23>(M::add_int(M::sub_int(n, half), bias)));
  return p * first * second;
}

/// e^x; relative error below 2e-7 where the result is normal. NaN gives NaN.
HADAL_INLINE V::Reg exp(V::Reg x) {
  x = M::min(V::set1(89.0F), M::max(V::set1(-104.5F), x));  // beyond: infinity and 0
  const M::Int n = M::to_int(x * V::set1(1.44269504F));
  const V::Reg real_n = M::to_real(n);
  V::Reg r = V::fma(real_n, V::set1(-0.693359375F), x);  // exact: the constant has nine bits
  r = V::fma(real_n, V::set1(2.12194440e-4F), r);
  V::Reg p = V::set1(1.9875691500e-4F);
  p = V::fma(p, r, V::set1(1.3981999507e-3F));
  p = V::fma(p, r, V::set1(8.3334519073e-3F));
  p = V::fma(p, r, V::set1(4.1665795894e-2F));
  p = V::fma(p, r, V::set1(1.6666665459e-1F));
  p = V::fma(p, r, V::set1(5.0000001201e-1F));
  return scale_by_power(V::fma(p, r * r, r) + V::set1(1.0F), n);
}

/// 1 / (1 + e^-x).
HADAL_INLINE V::Reg sigmoid(V::Reg x) { return V::set1(1.0F) / (V::set1(1.0F) + exp(V::zero() - x)); }

/// Natural logarithm of a finite, normal x > 0; error below 2e-7 relative (near 1: to x - 1).
HADAL_INLINE V::Reg log_from_one(V::Reg x) {
  // x = m 2^e with m in [sqrt(1/2), sqrt(2)).
  const M::Int offset = M::set1_int(0x3F3504F3);
  const M::Int shifted = M::sub_int(M::bits(x), offset);
  const V::Reg e = M::to_real(M::shift_right<23>(shifted));
  const V::Reg m = M::real(M::add_int(M::and_int(shifted, M::set1_int(0x007FFFFF)), offset));
  const V::Reg f = m - V::set1(1.0F);
  const V::Reg z = f * f;
  V::Reg p = V::set1(7.0376836292e-2F);
  p = V::fma(p, f, V::set1(-1.1514610310e-1F));
  p = V::fma(p, f, V::set1(1.1676998740e-1F));
  p = V::fma(p, f, V::set1(-1.2420140846e-1F));
  p = V::fma(p, f, V::set1(1.4249322787e-1F));
  p = V::fma(p, f, V::set1(-1.6668057665e-1F));
  p = V::fma(p, f, V::set1(2.0000714765e-1F));
  p = V::fma(p, f, V::set1(-2.4999993993e-1F));
  p = V::fma(p, f, V::set1(3.3333331174e-1F));
  V::Reg y = p * f * z;
  y = V::fma(e, V::set1(-2.12194440e-4F), y);
  y = V::fma(V::set1(-0.5F), z, y);
  return V::fma(e, V::set1(0.693359375F), f + y);
}

/// log(1 + x) for x >= 0; the second term restores what 1 + x lost.
HADAL_INLINE V::Reg log_plus_one(V::Reg x) {
  const V::Reg one = V::set1(1.0F);
  const V::Reg w = one + x;
  return log_from_one(w) + (x - (w - one)) / w;
}
