// Row operators. Included inside an anonymous namespace and a target region, after functions-inl.h.

void widen_bf16(const void* in, float* out, std::int64_t n) {
  const auto* bytes = static_cast<const std::byte*>(in);
  for_lanes(n, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA { at.store(out + i, at.load_bf16(bytes + 2 * i)); });
}

void narrow_bf16(const float* in, void* out, std::int64_t n) {
  auto* bytes = static_cast<std::byte*>(out);
  for_lanes(n, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA { at.store_bf16(bytes + 2 * i, at.load(in + i)); });
}

void add(const float* a, const float* b, float* out, std::int64_t n) {
  for_lanes(n,
            [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA { at.store(out + i, at.load(a + i) + at.load(b + i)); });
}

void scale(const float* x, float factor, float* out, std::int64_t n) {
  const V::Reg by = V::set1(factor);
  for_lanes(n, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA { at.store(out + i, at.load(x + i) * by); });
}

void divide(const float* x, float divisor, float* out, std::int64_t n) {
  const V::Reg by = V::set1(divisor);
  for_lanes(n, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA { at.store(out + i, at.load(x + i) / by); });
}

void sum_rows(const float* rows, std::int64_t stride, std::int64_t count, float* out, std::int64_t n) {
  for_lanes(n, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA {
    V::Reg sum = at.load(rows + i);
    for (std::int64_t row = 1; row < count; ++row) sum = sum + at.load(rows + row * stride + i);
    at.store(out + i, sum);
  });
}

void multiply(const float* a, const float* b, float* out, std::int64_t n) {
  for_lanes(n,
            [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA { at.store(out + i, at.load(a + i) * at.load(b + i)); });
}

void accumulate(const float* x, float* out, std::int64_t n) { add(out, x, out, n); }

/// Sum over a row; add(i, access, sum) gives a lane-wise sum with the register at element i. Four of them take turns.
template <class Add>
HADAL_INLINE float sum_terms(std::int64_t n, Add&& add) {
  V::Reg sums[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
  constexpr std::int64_t kStep = 4 * V::kLanes;
  std::int64_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    unroll<4>([&](auto k)
                  HADAL_INLINE_LAMBDA { sums[k.value] = add(i + k.value * V::kLanes, Whole{}, sums[k.value]); });
  }
  for_lanes(n - i, [&](std::int64_t j, auto at) HADAL_INLINE_LAMBDA { sums[0] = add(i + j, at, sums[0]); });
  return sum_lanes((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

/// load(i, access) gives the register at element i.
template <class Load>
HADAL_INLINE float sum_of_squares_by(std::int64_t n, Load&& load) {
  return sum_terms(n, [&](std::int64_t i, auto at, V::Reg sum) HADAL_INLINE_LAMBDA {
    const V::Reg v = load(i, at);
    return V::fma(v, v, sum);
  });
}

float sum_of_squares(const float* x, std::int64_t n) {
  return sum_of_squares_by(n, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA { return at.load(x + i); });
}

float sum_of_squares_bf16(const void* x, std::int64_t n) {
  const auto* bytes = static_cast<const std::byte*>(x);
  return sum_of_squares_by(n, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA { return at.load_bf16(bytes + 2 * i); });
}

void combine(const float* const* rows, const float* coefficients, std::int64_t count, float* out, std::int64_t n) {
  for_lanes(n, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA {
    V::Reg sum = V::set1(coefficients[0]) * at.load(rows[0] + i);
    for (std::int64_t k = 1; k < count; ++k) sum = V::fma(V::set1(coefficients[k]), at.load(rows[k] + i), sum);
    at.store(out + i, sum);
  });
}

std::int64_t argmax(const float* x, std::int64_t n) {
  const V::Reg lowest = V::set1(-__builtin_inff());
  V::Reg largest = lowest;
  for_lanes(n, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA {
    largest = M::max(at.keep(at.load(x + i), lowest), largest);  // NaN keeps what was there
  });
  const V::Reg value = V::set1(max_lanes(largest));
  const V::Reg nan = V::set1(__builtin_nanf(""));
  std::int64_t found = -1;
  for (std::int64_t i = 0; i < n && found < 0; i += V::kLanes) {
    const V::Reg v = n - i >= V::kLanes ? V::load(x + i) : M::keep_n(V::load_n(x + i, n - i), n - i, nan);
    const std::uint32_t equal = M::equal_bits(v, value);
    if (equal != 0) found = i + __builtin_ctz(equal);
  }
  return found < 0 ? 0 : found;  // all are NaN
}

void swiglu(const float* gate, const float* up, float limit, float weight, float* out, std::int64_t n) {
  const V::Reg high = V::set1(limit);
  const V::Reg low = V::set1(-limit);
  const V::Reg by = V::set1(weight);
  for_lanes(n, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA {
    const V::Reg g = M::min(high, at.load(gate + i));
    const V::Reg u = M::max(low, M::min(high, at.load(up + i)));
    const V::Reg silu = g / (V::set1(1.0F) + exp(V::zero() - g));
    at.store(out + i, silu * u * by);
  });
}

float swiglu_backward(const float* gate, const float* up, float limit, float weight, const float* d_out, float* d_gate,
                      float* d_up, float* hidden, std::int64_t n) {
  const V::Reg high = V::set1(limit);
  const V::Reg low = V::set1(-limit);
  const V::Reg by = V::set1(weight);
  const V::Reg one = V::set1(1.0F);
  V::Reg dot = V::zero();
  for_lanes(n, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA {
    const V::Reg all_gate = at.load(gate + i);
    const V::Reg all_up = at.load(up + i);
    const V::Reg d = at.load(d_out + i);
    const V::Reg g = M::min(high, all_gate);
    const V::Reg u = M::max(low, M::min(high, all_up));
    const V::Reg denominator = one + exp(V::zero() - g);
    const V::Reg silu = g / denominator;
    const V::Reg sigmoid_g = one / denominator;
    const V::Reg activation = silu * u;
    dot = V::fma(d, activation, dot);
    const V::Reg scaled = d * by;
    const V::Reg slope = sigmoid_g * (one + g * (one - sigmoid_g));
    at.store(d_gate + i, M::select(M::greater(all_gate, high), V::zero(), scaled * u * slope));
    at.store(d_up + i, M::select(M::greater(M::abs(all_up), high), V::zero(), scaled * silu));
    if (hidden != nullptr) at.store(hidden + i, activation * by);
  });
  return sum_lanes(dot);
}

void sqrt_softplus(const float* x, float* out, std::int64_t n) {
  for_lanes(n, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA {
    const V::Reg u = at.load(x + i);
    const V::Reg soft = log_plus_one(exp(M::min(V::set1(20.0F), u)));
    at.store(out + i, M::sqrt(M::select(M::greater(u, V::set1(20.0F)), u, soft)));
  });
}

void pool(const float* const* gates, const float* const* values, std::int64_t slots, float* out, std::int64_t n) {
  for_lanes(n, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA {
    V::Reg largest = at.load(gates[0] + i);
    for (std::int64_t slot = 1; slot < slots; ++slot) largest = M::max(largest, at.load(gates[slot] + i));
    V::Reg total = V::zero();
    V::Reg sum = V::zero();
    for (std::int64_t slot = 0; slot < slots; ++slot) {
      const V::Reg weight = exp(at.load(gates[slot] + i) - largest);
      total = total + weight;
      sum = V::fma(weight, at.load(values[slot] + i), sum);
    }
    at.store(out + i, sum / total);
  });
}

/// Cosine and sine of a finite |angle| < 2^30; error below 1.5e-7. The reduction runs in f64, lane by lane, and is
/// exact to far below that.
HADAL_INLINE void sine_and_cosine(const float* angles, float* sines, float* cosines) {
  constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to an integer
  float rest[V::kLanes];
  std::int32_t quadrants[V::kLanes];
  for (int i = 0; i < V::kLanes; ++i) {
    const double angle = angles[i];
    const double quarter = (angle * 0.63661977236758134308 + kRound) - kRound;
    // Two parts of pi/2; the first has 33 bits, so the product is exact below 2^20 quarters and good far beyond.
    rest[i] = static_cast<float>((angle - quarter * 1.57079632673412561417) - quarter * 6.07710050650619224932e-11);
    quadrants[i] = static_cast<std::int32_t>(quarter);
  }
  const V::Reg r = V::load(rest);
  const V::Reg z = r * r;
  V::Reg s = V::set1(-1.9515295891e-4F);
  s = V::fma(s, z, V::set1(8.3321608736e-3F));
  s = V::fma(s, z, V::set1(-1.6666654611e-1F));
  s = V::fma(s * z, r, r);
  V::Reg c = V::set1(2.443315711809948e-5F);
  c = V::fma(c, z, V::set1(-1.388731625493765e-3F));
  c = V::fma(c, z, V::set1(4.166664568298827e-2F));
  c = V::fma(c, z * z, V::fma(V::set1(-0.5F), z, V::set1(1.0F)));
  float sine[V::kLanes];
  float cosine[V::kLanes];
  V::store(sine, s);
  V::store(cosine, c);
  for (int i = 0; i < V::kLanes; ++i) {
    const std::int32_t quadrant = quadrants[i] & 3;
    const float first = (quadrant & 1) != 0 ? cosine[i] : sine[i];
    const float second = (quadrant & 1) != 0 ? sine[i] : cosine[i];
    sines[i] = (quadrant & 2) != 0 ? -first : first;
    cosines[i] = quadrant == 1 || quadrant == 2 ? -second : second;
  }
}

void rope_table(std::int64_t position, const float* frequencies, std::int64_t pairs, bool inverse, float* cosines,
                float* sines) {
  const V::Reg at_position = V::set1(static_cast<float>(position));
  for (std::int64_t pair = 0; pair < pairs; pair += V::kLanes) {
    const std::int64_t count = pairs - pair < V::kLanes ? pairs - pair : V::kLanes;
    float angles[V::kLanes];
    float sine[V::kLanes];
    float cosine[V::kLanes];
    V::store(angles, at_position * V::load_n(frequencies + pair, count));
    sine_and_cosine(angles, sine, cosine);
    for (std::int64_t i = 0; i < count; ++i) {
      const float s = inverse ? -sine[i] : sine[i];
      cosines[2 * (pair + i)] = cosine[i];
      cosines[2 * (pair + i) + 1] = cosine[i];
      sines[2 * (pair + i)] = -s;
      sines[2 * (pair + i) + 1] = s;
    }
  }
}

void rotate(float* x, const float* cosines, const float* sines, std::int64_t channels) {
  for_lanes(channels, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA {
    const V::Reg v = at.load(x + i);
    at.store(x + i, V::fma(M::swap_pairs(v), at.load(sines + i), v * at.load(cosines + i)));
  });
}
