// Gradients of row operators. Included inside an anonymous namespace and a target region, after rows-inl.h.

float dot(const float* a, const float* b, std::int64_t n) {
  return sum_terms(n, [&](std::int64_t i, auto at, V::Reg sum)
                          HADAL_INLINE_LAMBDA { return V::fma(at.load(a + i), at.load(b + i), sum); });
}

/// a = weight d_out, or d_out; d_x (+)= factor a - x factor^3 mean(a x); d_weight += d_out factor x.
template <bool kWeighted>
void norm_row_backward(const float* x, const float* weight, const float* d_out, float factor, bool add, float* d_x,
                       float* d_weight, std::int64_t n) {
  const auto load_a = [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA {
    return kWeighted ? at.load(weight + i) * at.load(d_out + i) : at.load(d_out + i);
  };
  const float inner = sum_terms(n, [&](std::int64_t i, auto at, V::Reg sum)
                                       HADAL_INLINE_LAMBDA { return V::fma(load_a(i, at), at.load(x + i), sum); });
  const V::Reg by = V::set1(factor);
  const V::Reg along = V::set1(-(factor * inner / static_cast<float>(n)) * factor);
  for_lanes(n, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA {
    const V::Reg u = at.load(x + i) * by;
    V::Reg d = V::fma(load_a(i, at), by, u * along);
    if (d_weight != nullptr) at.store(d_weight + i, V::fma(at.load(d_out + i), u, at.load(d_weight + i)));
    if (add) d = d + at.load(d_x + i);
    at.store(d_x + i, d);
  });
}

void norm_backward(const float* x, const float* weight, const float* d_out, float factor, bool add, float* d_x,
                   float* d_weight, std::int64_t n) {
  const auto apply = weight == nullptr ? norm_row_backward<false> : norm_row_backward<true>;
  apply(x, weight, d_out, factor, add, d_x, d_weight, n);
}

float score_slopes(const float* x, float* scores, float* slopes, std::int64_t n) {
  const V::Reg one = V::set1(1.0F);
  const V::Reg half = V::set1(0.5F);
  return sum_terms(n, [&](std::int64_t i, auto at, V::Reg sum) HADAL_INLINE_LAMBDA {
    const V::Reg u = at.load(x + i);
    const V::Reg e = exp(M::min(V::set1(20.0F), u));
    const V::Reg root = M::sqrt(log_plus_one(e));
    const auto high = M::greater(u, V::set1(20.0F));
    const auto low = M::greater(V::set1(-20.0F), u);
    const V::Reg tiny = exp(u * half);
    const V::Reg large = M::sqrt(M::max(u, one));
    const V::Reg score = M::select(low, tiny, M::select(high, large, root));
    const V::Reg slope = M::select(high, half / large, e / (one + e) * half / root);
    at.store(scores + i, score);
    at.store(slopes + i, M::select(low, tiny * half, slope));
    return sum + at.keep(score, V::zero());
  });
}

void balance_backward(const float* shares, float mean, float factor, const float* slopes, float* out, std::int64_t n) {
  for_lanes(n, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA {
    at.store(out + i, (at.load(shares + i) - V::set1(mean)) * V::set1(factor) * at.load(slopes + i));
  });
}

float cross_entropy(const float* x, std::int64_t n, std::int64_t target, float weight, float* d) {
  V::Reg largest = V::set1(-__builtin_inff());
  for_lanes(n, [&](std::int64_t i, auto at)
                   HADAL_INLINE_LAMBDA { largest = M::max(at.keep(at.load(x + i), largest), largest); });
  const float top = max_lanes(largest);
  const float above = top - x[target];
  const V::Reg shift = V::set1(top);
  const auto sum_of = [&](auto stored) HADAL_INLINE_LAMBDA {
    return sum_terms(n, [&](std::int64_t i, auto at, V::Reg sum) HADAL_INLINE_LAMBDA {
      const V::Reg e = exp(at.load(x + i) - shift);
      if constexpr (stored.value != 0) at.store(d + i, e);
      return sum + at.keep(e, V::zero());
    });
  };
  const float sum = d == nullptr ? sum_of(Int<0>{}) : sum_of(Int<1>{});
  if (d != nullptr) {
    scale(d, weight / sum, d, n);
    d[target] -= weight;
  }
  float lanes[V::kLanes];
  V::store(lanes, log_from_one(V::set1(sum)));
  return lanes[0] + above + (sum - sum);  // NaN where the sum is
}
