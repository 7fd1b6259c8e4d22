// Loops that do nothing but one thing, to measure the processor's limits. Included inside an anonymous namespace and a
// target region, after the products.

constexpr int kChains = 12;  // independent sums: latency times throughput of a multiply-add, with room

HADAL_INLINE float sum_of(V::Reg (&acc)[kChains]) {
  V::Reg sum = V::zero();
  unroll<kChains>([&](auto i) HADAL_INLINE_LAMBDA { sum = sum + acc[i.value]; });
  float sums[4];
  V::sum4(sum, sum, sum, sum, sums);
  return sums[0];
}

/// The accumulator is a factor, so that no compiler moves the product out of the loop where it is a separate step.
float peak_f32(std::int64_t rounds) {
  V::Reg acc[kChains];
  unroll<kChains>([&](auto i) HADAL_INLINE_LAMBDA { acc[i.value] = V::set1(static_cast<float>(i.value)); });
  const V::Reg factor = V::set1(0.5F);
  const V::Reg one = V::set1(1.0F);
  for (std::int64_t round = 0; round < rounds; ++round) {
    unroll<kChains>([&](auto i) HADAL_INLINE_LAMBDA { acc[i.value] = V::fma(acc[i.value], factor, one); });
  }
  return sum_of(acc);
}
constexpr std::int64_t kPeakF32Flops = std::int64_t{2} * kChains * V::kLanes;

float read_all(const float* data, std::int64_t bytes) {
  constexpr std::int64_t kStep = 16;  // registers
  V::Reg acc[kChains];
  unroll<kChains>([&](auto i) HADAL_INLINE_LAMBDA { acc[i.value] = V::zero(); });
  const std::int64_t count = bytes / 4;
  for (std::int64_t at = 0; at < count; at += kStep * V::kLanes) {
    unroll<kStep>([&](auto i) HADAL_INLINE_LAMBDA {
      acc[i.value % 8] = acc[i.value % 8] + V::load(data + at + i.value * V::kLanes);
    });
  }
  return sum_of(acc);
}

inline void add_peaks(KernelTable& table) {
  table.peak_f32 = peak_f32;
  table.peak_f32_flops = kPeakF32Flops;
  table.read = read_all;
}
