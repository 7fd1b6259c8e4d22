// Number formats of activations. Included inside an anonymous namespace and a target region, after functions-inl.h.

/// Rounds the magnitude v >= 0 to the nearest multiple, ties to even, of 2^(exponent of v - kMantissa), but of no less
/// than `smallest` (a power of two).
template <int kMantissa>
HADAL_INLINE V::Reg round_magnitude(V::Reg v, float smallest) {
  const M::Int exponent = M::and_int(M::bits(v), M::set1_int(0x7F800000));
  const V::Reg quantum = M::max(M::real(M::sub_int(exponent, M::set1_int(kMantissa << 23))), V::set1(smallest));
  const V::Reg inverse = M::real(M::sub_int(M::set1_int(254 << 23), M::bits(quantum)));
  const V::Reg magic = V::set1(12582912.0F);  // 1.5 * 2^23: adding it rounds to an integer
  return ((v * inverse + magic) - magic) * quantum;
}

/// The smallest power of two that brings `largest` into range, and its inverse.
struct BlockScale {
  V::Reg scale;
  V::Reg inverse;
  HADAL_INLINE BlockScale(float largest, float inverse_range) {
    const float ratio = largest * inverse_range;
    std::int32_t bits;
    __builtin_memcpy(&bits, &ratio, sizeof(bits));
    const std::int32_t exponent = ((bits >> 23) & 255) + ((bits & 0x7FFFFF) != 0 ? 1 : 0);
    scale = M::real(M::set1_int(static_cast<std::int32_t>(static_cast<std::uint32_t>(exponent) << 23)));
    // An infinite block becomes NaN: 0 * infinity, on the way in or out.
    const std::int32_t opposite = exponent == 255 ? 0 : 254 - exponent;
    inverse = M::real(M::set1_int(static_cast<std::int32_t>(static_cast<std::uint32_t>(opposite) << 23)));
  }
};

/// Largest magnitude of a block, at least `floor`; NaN is passed over.
HADAL_INLINE float largest_magnitude(const float* in, std::int64_t block, float floor) {
  V::Reg largest = V::set1(floor);
  for (std::int64_t i = 0; i < block; i += V::kLanes) largest = M::max(M::abs(V::load(in + i)), largest);
  return max_lanes(largest);
}

void round_fp8(const float* in, float* out, std::int64_t n, std::int64_t block) {
  for (std::int64_t begin = 0; begin < n; begin += block) {
    const BlockScale by(largest_magnitude(in + begin, block, 1e-4F), 1.0F / 448.0F);
    for (std::int64_t i = begin; i < begin + block; i += V::kLanes) {
      const V::Reg v = V::load(in + i) * by.inverse;
      const V::Reg magnitude = round_magnitude<3>(M::min(V::set1(448.0F), M::abs(v)), 0x1p-9F);
      const M::Int sign = M::and_int(M::bits(v), M::set1_int(INT32_MIN));
      V::store(out + i, M::real(M::or_int(M::bits(magnitude * by.scale), sign)));
    }
  }
}

void round_fp4(const float* in, float* out, std::int64_t n, std::int64_t block) {
  for (std::int64_t begin = 0; begin < n; begin += block) {
    const BlockScale by(largest_magnitude(in + begin, block, 6.0F * 0x1p-126F), 1.0F / 6.0F);
    for (std::int64_t i = begin; i < begin + block; i += V::kLanes) {
      const V::Reg v = V::load(in + i) * by.inverse;
      const V::Reg magnitude = round_magnitude<1>(M::min(V::set1(6.0F), M::abs(v)), 0.5F);
      const M::Int sign = M::and_int(M::bits(v), M::set1_int(INT32_MIN));
      // The format has no negative zero.
      V::store(out + i, M::real(M::or_int(M::bits(magnitude * by.scale), sign)) + V::zero());
    }
  }
}

void hadamard(float* x, std::int64_t n) {
  const float norm = 1.0F / __builtin_sqrtf(static_cast<float>(n));
  std::int64_t stride = 1;
  if (n >= V::kLanes) {
    for (std::int64_t i = 0; i < n; i += V::kLanes) V::store(x + i, M::hadamard(V::load(x + i)));
    stride = V::kLanes;
  }
  for (; stride < n; stride *= 2) {
    for (std::int64_t group = 0; group < n; group += 2 * stride) {
      for_lanes(stride, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA {
        const V::Reg a = at.load(x + group + i);
        const V::Reg b = at.load(x + group + stride + i);
        at.store(x + group + i, a + b);
        at.store(x + group + stride + i, a - b);
      });
    }
  }
  scale(x, norm, x, n);
}
