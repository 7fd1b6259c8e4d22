// Hyper-connections. Included inside an anonymous namespace and a target region, after functions-inl.h.

constexpr std::int64_t kMaxStreams = 8;

/// One Sinkhorn half step on registers c[j * n + k]: divides by the sums along `step` (+ eps), for all n lines.
HADAL_INLINE void normalize_lines(V::Reg* c, std::int64_t n, std::int64_t line_step, std::int64_t step, V::Reg eps) {
  for (std::int64_t line = 0; line < n; ++line) {
    V::Reg* first = c + line * line_step;
    V::Reg sum = first[0];
    for (std::int64_t i = 1; i < n; ++i) sum = sum + first[i * step];
    sum = sum + eps;
    for (std::int64_t i = 0; i < n; ++i) first[i * step] = first[i * step] / sum;
  }
}

/// Softmax over each row of c, plus eps.
HADAL_INLINE void softmax_rows(V::Reg* c, std::int64_t n, V::Reg eps) {
  for (std::int64_t j = 0; j < n; ++j) {
    V::Reg* row = c + j * n;
    V::Reg largest = row[0];
    for (std::int64_t k = 1; k < n; ++k) largest = M::max(largest, row[k]);
    V::Reg sum = V::zero();
    for (std::int64_t k = 0; k < n; ++k) {
      row[k] = exp(row[k] - largest);
      sum = sum + row[k];
    }
    for (std::int64_t k = 0; k < n; ++k) row[k] = row[k] / sum + eps;
  }
}

/// Coefficients of up to kLanes tokens, one a lane.
template <std::int64_t kStreams>
void mix_lanes(const float* products, std::int64_t stride, const float* inverse_rms, std::int64_t tokens,
               const float* base, const float* scale, std::int64_t streams, std::int64_t iterations, float eps,
               float* pre, float* post, float* comb) {
  const std::int64_t n = kStreams == 0 ? streams : kStreams;
  const V::Reg eps_lanes = V::set1(eps);
  float lanes[V::kLanes];
  const auto gather = [&](std::int64_t index, float by) HADAL_INLINE_LAMBDA {
    for (std::int64_t token = 0; token < V::kLanes; ++token) {
      const std::int64_t valid = token < tokens ? token : tokens - 1;
      lanes[token] = products[valid * stride + index] * inverse_rms[valid];
    }
    return V::load(lanes) * V::set1(by) + V::set1(base[index]);
  };
  const auto scatter = [&](V::Reg v, float* out, std::int64_t out_stride) HADAL_INLINE_LAMBDA {
    V::store(lanes, v);
    for (std::int64_t token = 0; token < tokens; ++token) out[token * out_stride] = lanes[token];
  };
  for (std::int64_t i = 0; i < n; ++i) {
    scatter(sigmoid(gather(i, scale[0])) + eps_lanes, pre + i, n);
    scatter(V::set1(2.0F) * sigmoid(gather(n + i, scale[1])), post + i, n);
  }
  V::Reg c[kStreams == 0 ? kMaxStreams * kMaxStreams : kStreams * kStreams];
  for (std::int64_t i = 0; i < n * n; ++i) c[i] = gather(2 * n + i, scale[2]);
  softmax_rows(c, n, eps_lanes);
  normalize_lines(c, n, 1, n, eps_lanes);
  for (std::int64_t iteration = 1; iteration < iterations; ++iteration) {
    normalize_lines(c, n, n, 1, eps_lanes);
    normalize_lines(c, n, 1, n, eps_lanes);
  }
  for (std::int64_t i = 0; i < n * n; ++i) scatter(c[i], comb + i, n * n);
}

void hc_mix(const float* products, std::int64_t stride, const float* inverse_rms, std::int64_t tokens,
            const float* base, const float* scale, std::int64_t n, std::int64_t iterations, float eps, float* pre,
            float* post, float* comb) {
  for (std::int64_t token = 0; token < tokens; token += V::kLanes) {
    const std::int64_t count = tokens - token < V::kLanes ? tokens - token : V::kLanes;
    const auto mix = n == 4 ? mix_lanes<4> : mix_lanes<0>;
    mix(products + token * stride, stride, inverse_rms + token, count, base, scale, n, iterations, eps, pre + token * n,
        post + token * n, comb + token * n * n);
  }
}

void hc_weights(const float* products, float inverse_rms, const float* base, float by, std::int64_t n, float eps,
                float* pre) {
  for_lanes(n, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA {
    const V::Reg m = at.load(products + i) * V::set1(inverse_rms);
    at.store(pre + i, sigmoid(m * V::set1(by) + at.load(base + i)) + V::set1(eps));
  });
}

template <std::int64_t kStreams>
void post_streams(const float* y, const float* post, const float* comb, std::int64_t streams, float* x,
                  std::int64_t stride, std::int64_t channels) {
  const std::int64_t n = kStreams == 0 ? streams : kStreams;
  for_lanes(channels, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA {
    V::Reg old[kStreams == 0 ? kMaxStreams : kStreams];
    for (std::int64_t j = 0; j < n; ++j) old[j] = at.load(x + j * stride + i);
    const V::Reg out = at.load(y + i);
    for (std::int64_t k = 0; k < n; ++k) {
      V::Reg sum = V::set1(post[k]) * out;
      for (std::int64_t j = 0; j < n; ++j) sum = V::fma(V::set1(comb[j * n + k]), old[j], sum);
      at.store(x + k * stride + i, sum);
    }
  });
}

void hc_post(const float* y, const float* post, const float* comb, std::int64_t n, float* streams, std::int64_t stride,
             std::int64_t channels) {
  const auto apply = n == 4 ? post_streams<4> : post_streams<0>;
  apply(y, post, comb, n, streams, stride, channels);
}
