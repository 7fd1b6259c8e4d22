// Row by row parts of attention's and the indexer's gradients. Included inside an anonymous namespace and a target
// region, after functions-inl.h. Sums over a row: lane by lane, then the tree of sum_lanes().

float dot(const float* a, const float* b, std::int64_t n) {
  V::Reg sum = V::zero();
  for_lanes(n, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA { sum = V::fma(at.load(a + i), at.load(b + i), sum); });
  return sum_lanes(sum);
}

void fill_zero(float* x, std::int64_t n) {
  for_lanes(n, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA { at.store(x + i, V::zero()); });
}

void softmax_gradient(float* scores, float* d_probabilities, std::int64_t begin, std::int64_t end, std::int64_t n,
                      float factor, float log_sum, float product) {
  const V::Reg by = V::set1(factor);
  const V::Reg logarithm = V::set1(log_sum);
  const V::Reg mean = V::set1(product);
  fill_zero(scores, begin);
  fill_zero(d_probabilities, begin);
  for_lanes(end - begin, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA {
    float* score = scores + begin + i;
    float* gradient = d_probabilities + begin + i;
    const V::Reg p = exp(at.load(score) * by - logarithm);
    at.store(score, p);
    at.store(gradient, by * p * (at.load(gradient) - mean));
  });
  fill_zero(scores + end, n - end);
  fill_zero(d_probabilities + end, n - end);
}

void sink_gradient(const float* sinks, const float* log_sums, const float* products, float* d_sinks, std::int64_t n) {
  for_lanes(n, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA {
    const V::Reg p = exp(at.load(sinks + i) - at.load(log_sums + i));
    at.store(d_sinks + i, at.load(d_sinks + i) - p * at.load(products + i));
  });
}

void add_exponentials(const float* scores, float factor, float log_sum, float* out, std::int64_t n) {
  const V::Reg by = V::set1(factor);
  const V::Reg logarithm = V::set1(log_sum);
  for_lanes(n, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA {
    at.store(out + i, at.load(out + i) + exp(at.load(scores + i) * by - logarithm));
  });
}

void add_positive(const float* products, float weight, float* out, std::int64_t n) {
  const V::Reg by = V::set1(weight);
  for_lanes(n, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA {
    at.store(out + i, V::fma(by, M::max(V::zero(), at.load(products + i)), at.load(out + i)));
  });
}

/// log(sum exp(x)).
HADAL_INLINE float log_sum_exp(const float* x, std::int64_t n) {
  const V::Reg lowest = V::set1(-3.0e38F);
  V::Reg largest = lowest;
  for_lanes(n, [&](std::int64_t i, auto at)
                   HADAL_INLINE_LAMBDA { largest = M::max(at.keep(at.load(x + i), lowest), largest); });
  const V::Reg maximum = V::set1(max_lanes(largest));
  V::Reg total = V::zero();
  for_lanes(n, [&](std::int64_t i, auto at)
                   HADAL_INLINE_LAMBDA { total = total + at.keep(exp(at.load(x + i) - maximum), V::zero()); });
  float logarithm[V::kLanes];
  V::store(logarithm, maximum + log_from_one(V::set1(sum_lanes(total))));
  return logarithm[0];
}

float divergence(float* target, float* scores, float factor, std::int64_t n) {
  V::Reg mass_lanes = V::zero();
  for_lanes(n, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA { mass_lanes = mass_lanes + at.load(target + i); });
  const float mass = sum_lanes(mass_lanes);
  if (mass == 0) {
    fill_zero(scores, n);
    return 0;
  }
  const V::Reg log_total = V::set1(log_sum_exp(scores, n));
  const V::Reg by = V::set1(factor);
  const V::Reg smallest = V::set1(1.17549435e-38F);  // below it p log p is 0 to any precision that counts
  V::Reg sum = V::zero();
  for_lanes(n, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA {
    const V::Reg p = at.load(target + i) / V::set1(mass);
    const V::Reg log_q = at.load(scores + i) - log_total;
    const V::Reg term = p * (log_from_one(M::max(p, smallest)) - log_q);
    sum = sum + at.keep(M::select(M::greater(smallest, p), V::zero(), term), V::zero());
    at.store(target + i, p);
    at.store(scores + i, by * (exp(log_q) - p));
  });
  return sum_lanes(sum);
}

float positive_gradient(float* products, const float* gradient, float weight, std::int64_t n) {
  const V::Reg by = V::set1(weight);
  V::Reg sum = V::zero();
  for_lanes(n, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA {
    const V::Reg product = at.load(products + i);
    const V::Reg d_score = at.load(gradient + i);
    sum = V::fma(d_score, M::max(V::zero(), product), sum);
    at.store(products + i, M::select(M::greater(product, V::zero()), by * d_score, V::zero()));
  });
  return sum_lanes(sum);
}

void pool_gradient(const float* const* gates, const float* const* values, std::int64_t slots, const float* d_out,
                   float* const* d_gates, float* const* d_values, std::int64_t n) {
  for_lanes(n, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA {
    V::Reg maximum = at.load(gates[0] + i);
    for (std::int64_t s = 1; s < slots; ++s) maximum = M::max(maximum, at.load(gates[s] + i));
    V::Reg total = V::zero();
    V::Reg weighted = V::zero();
    for (std::int64_t s = 0; s < slots; ++s) {
      const V::Reg weight = exp(at.load(gates[s] + i) - maximum);
      at.store(d_values[s] + i, weight);
      total = total + weight;
      weighted = V::fma(weight, at.load(values[s] + i), weighted);
    }
    const V::Reg pooled = weighted / total;
    const V::Reg by = at.load(d_out + i) / total;
    for (std::int64_t s = 0; s < slots; ++s) {
      const V::Reg d_value = at.load(d_values[s] + i) * by;
      at.store(d_values[s] + i, d_value);
      at.store(d_gates[s] + i, d_value * (at.load(values[s] + i) - pooled));
    }
  });
}
