// Gradients of the hyper-connections. Included inside an anonymous namespace and a target region, after
// hyper_connection-inl.h and rows_backward-inl.h.

/// Sums of the lanes of `count` registers.
HADAL_INLINE void store_lane_sums(const V::Reg* sums, std::int64_t count, float* out) {
  const auto at = [&](std::int64_t i) HADAL_INLINE_LAMBDA { return sums[i < count ? i : count - 1]; };
  for (std::int64_t i = 0; i < count; i += 4) {
    float four[4];
    V::sum4(at(i), at(i + 1), at(i + 2), at(i + 3), four);
    for (std::int64_t k = 0; k < 4 && i + k < count; ++k) out[i + k] = four[k];
  }
}

template <std::int64_t kStreams>
void post_backward(const HcPostGradient& g) {
  const std::int64_t n = kStreams == 0 ? g.n : kStreams;
  constexpr std::int64_t kMost = kStreams == 0 ? kMaxStreams : kStreams;
  V::Reg d_post[kMost];
  V::Reg d_comb[kMost * kMost];
  for (std::int64_t k = 0; k < n; ++k) d_post[k] = V::zero();
  for (std::int64_t jk = 0; jk < n * n; ++jk) d_comb[jk] = V::zero();
  for_lanes(g.channels, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA {
    const V::Reg y = at.load(g.y + i);
    V::Reg d_out[kMost];
    V::Reg d_y = V::zero();
    for (std::int64_t k = 0; k < n; ++k) {
      d_out[k] = at.load(g.d_out + k * g.channels + i);
      d_y = V::fma(V::set1(g.post[k]), d_out[k], d_y);
      d_post[k] = V::fma(d_out[k], y, d_post[k]);
    }
    at.store(g.d_y + i, d_y);
    for (std::int64_t j = 0; j < n; ++j) {
      const V::Reg x = at.load(g.streams + j * g.channels + i);
      V::Reg sum = V::zero();
      for (std::int64_t k = 0; k < n; ++k) {
        d_comb[j * n + k] = V::fma(x, d_out[k], d_comb[j * n + k]);
        sum = V::fma(V::set1(g.comb[j * n + k]), d_out[k], sum);
      }
      at.store(g.d_streams + j * g.channels + i, sum);
    }
  });
  store_lane_sums(d_post, n, g.d_post);
  store_lane_sums(d_comb, n * n, g.d_comb);
}

void hc_post_backward(const HcPostGradient& g) {
  const auto apply = g.n == 4 ? post_backward<4> : post_backward<0>;
  apply(g);
}

/// c [n, n] = each line along `step` divided by its sum + eps; the factors go to `factors` [n].
HADAL_INLINE void scale_lines(V::Reg* c, std::int64_t n, std::int64_t line_step, std::int64_t step, V::Reg eps,
                              float* factors) {
  for (std::int64_t line = 0; line < n; ++line) {
    V::Reg* first = c + line * line_step;
    V::Reg sum = first[0];
    for (std::int64_t i = 1; i < n; ++i) sum = sum + first[i * step];
    const V::Reg factor = V::set1(1.0F) / (sum + eps);
    for (std::int64_t i = 0; i < n; ++i) first[i * step] = first[i * step] * factor;
    V::store(factors + line * V::kLanes, factor);
  }
}

/// The gradient through scale_lines() whose result was `after`: g = (g - sum of g after over the line) factor.
HADAL_INLINE void scale_lines_backward(V::Reg* g, std::int64_t n, std::int64_t line_step, std::int64_t step,
                                       const float* after, const float* factors) {
  for (std::int64_t line = 0; line < n; ++line) {
    V::Reg* first = g + line * line_step;
    const float* values = after + line * line_step * V::kLanes;
    V::Reg inner = first[0] * V::load(values);
    for (std::int64_t i = 1; i < n; ++i) inner = V::fma(first[i * step], V::load(values + i * step * V::kLanes), inner);
    const V::Reg factor = V::load(factors + line * V::kLanes);
    for (std::int64_t i = 0; i < n; ++i) first[i * step] = (first[i * step] - inner) * factor;
  }
}

/// g [n, n]: from the gradient at the Sinkhorn matrix of `logits` to the one at the logits. `stages` holds
/// 2 * iterations matrices with their factors: the softmax, then what each half step made.
template <std::int64_t kMost>
HADAL_INLINE void sinkhorn_backward(const V::Reg* logits, std::int64_t n, std::int64_t iterations, V::Reg eps,
                                    float* stages, V::Reg* g) {
  const std::int64_t stride = n * (n + 1) * V::kLanes;
  const std::int64_t factors = n * n * V::kLanes;
  V::Reg c[kMost * kMost];
  for (std::int64_t i = 0; i < n * n; ++i) c[i] = logits[i];
  softmax_rows(c, n, V::zero());
  for (std::int64_t i = 0; i < n * n; ++i) {
    V::store(stages + i * V::kLanes, c[i]);
    c[i] = c[i] + eps;
  }
  const auto keep = [&](float* stage) HADAL_INLINE_LAMBDA {
    for (std::int64_t i = 0; i < n * n; ++i) V::store(stage + i * V::kLanes, c[i]);
  };
  float* stage = stages + stride;
  scale_lines(c, n, 1, n, eps, stage + factors);
  keep(stage);
  for (std::int64_t iteration = 1; iteration < iterations; ++iteration) {
    stage += stride;
    scale_lines(c, n, n, 1, eps, stage + factors);
    keep(stage);
    stage += stride;
    scale_lines(c, n, 1, n, eps, stage + factors);
    keep(stage);
  }
  for (std::int64_t iteration = 1; iteration < iterations; ++iteration) {
    scale_lines_backward(g, n, 1, n, stage, stage + factors);
    stage -= stride;
    scale_lines_backward(g, n, n, 1, stage, stage + factors);
    stage -= stride;
  }
  scale_lines_backward(g, n, 1, n, stage, stage + factors);
  for (std::int64_t j = 0; j < n; ++j) {
    V::Reg inner = V::zero();
    for (std::int64_t k = 0; k < n; ++k) inner = V::fma(g[j * n + k], V::load(stages + (j * n + k) * V::kLanes), inner);
    for (std::int64_t k = 0; k < n; ++k) {
      g[j * n + k] = (g[j * n + k] - inner) * V::load(stages + (j * n + k) * V::kLanes);
    }
  }
}

/// Tokens [first, first + count) of the group, one a lane; what lies behind them counts as zero.
struct TokenLanes {
  std::int64_t first;
  std::int64_t count;

  /// rows[token * stride + index].
  HADAL_INLINE V::Reg gather(const float* rows, std::int64_t stride, std::int64_t index) const {
    float lanes[V::kLanes] = {};
    for (std::int64_t lane = 0; lane < count; ++lane) lanes[lane] = rows[(first + lane) * stride + index];
    return V::load(lanes);
  }
  HADAL_INLINE void scatter(V::Reg v, float* rows, std::int64_t stride, std::int64_t index) const {
    float lanes[V::kLanes];
    V::store(lanes, v);
    for (std::int64_t lane = 0; lane < count; ++lane) rows[(first + lane) * stride + index] = lanes[lane];
  }
};

template <std::int64_t kStreams>
void mix_lanes_backward(const HcMixGradient& a, TokenLanes tokens) {
  const std::int64_t n = kStreams == 0 ? a.n : kStreams;
  constexpr std::int64_t kMost = kStreams == 0 ? kMaxStreams : kStreams;
  const bool head = a.d_post == nullptr;
  const std::int64_t outputs = head ? n : (2 + n) * n;
  const V::Reg one = V::set1(1.0F);
  const V::Reg inverse_rms = tokens.gather(a.inverse_rms, 1, 0);
  V::Reg projection = V::zero();
  V::Reg mixes[(2 + kMost) * kMost];
  for (std::int64_t i = 0; i < outputs; ++i) mixes[i] = tokens.gather(a.products, outputs, i) * inverse_rms;
  const auto z_of = [&](std::int64_t i, std::int64_t group)
                        HADAL_INLINE_LAMBDA { return V::fma(mixes[i], V::set1(a.scale[group]), V::set1(a.base[i])); };
  // Takes dz of output i to all that lies behind it; returns its part of d_scale.
  const auto back = [&](std::int64_t i, std::int64_t group, V::Reg dz) HADAL_INLINE_LAMBDA {
    const V::Reg d_mix = dz * V::set1(a.scale[group]);
    projection = V::fma(d_mix, mixes[i], projection);
    tokens.scatter(d_mix * inverse_rms, a.d_products, outputs, i);
    a.d_base[i] += sum_lanes(dz);
    return dz * mixes[i];
  };
  V::Reg d_scale = V::zero();
  for (std::int64_t i = 0; i < n; ++i) {
    const V::Reg s = sigmoid(z_of(i, 0));
    tokens.scatter(s + V::set1(a.eps), a.pre, n, i);
    d_scale = d_scale + back(i, 0, tokens.gather(a.d_pre, n, i) * s * (one - s));
  }
  a.d_scale[0] += sum_lanes(d_scale);
  if (!head) {
    d_scale = V::zero();
    for (std::int64_t i = 0; i < n; ++i) {
      const V::Reg s = sigmoid(z_of(n + i, 1));
      d_scale = d_scale + back(n + i, 1, V::set1(2.0F) * tokens.gather(a.d_post, n, i) * s * (one - s));
    }
    a.d_scale[1] += sum_lanes(d_scale);
    V::Reg logits[kMost * kMost];
    V::Reg g[kMost * kMost];
    for (std::int64_t i = 0; i < n * n; ++i) {
      logits[i] = z_of(2 * n + i, 2);
      g[i] = tokens.gather(a.d_comb, n * n, i);
    }
    sinkhorn_backward<kMost>(logits, n, a.iterations, V::set1(a.eps), a.stages, g);
    d_scale = V::zero();
    for (std::int64_t i = 0; i < n * n; ++i) d_scale = d_scale + back(2 * n + i, 2, g[i]);
    a.d_scale[2] += sum_lanes(d_scale);
  }
  const V::Reg radial = inverse_rms * inverse_rms * projection / V::set1(static_cast<float>(n * a.channels));
  tokens.scatter(radial, a.radial, 1, 0);
}

void hc_mix_backward(const HcMixGradient& a) {
  const auto apply = a.n == 4 ? mix_lanes_backward<4> : mix_lanes_backward<0>;
  for (std::int64_t first = 0; first < a.tokens; first += V::kLanes) {
    apply(a, {.first = first, .count = a.tokens - first < V::kLanes ? a.tokens - first : V::kLanes});
  }
}

constexpr int kStreamTokens = V::kLanes >= 16 ? 8 : 4;  // tokens x kStreamRegs accumulators, a row of fn, 1 coefficient
constexpr int kStreamRegs = 2;
constexpr std::int64_t kStreamBlock = kStreamRegs * V::kLanes;  // channels

void pack_columns(const float* fn, std::int64_t outputs, std::int64_t n, std::int64_t channels, float* packed) {
  for (std::int64_t stream = 0; stream < n; ++stream) {
    for (std::int64_t channel = 0; channel < channels; channel += kStreamBlock) {
      const std::int64_t width = channels - channel < kStreamBlock ? channels - channel : kStreamBlock;
      for (std::int64_t output = 0; output < outputs; ++output) {
        const float* from = fn + (output * n + stream) * channels + channel;
        for_lanes(width, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA { at.store(packed + i, at.load(from + i)); });
        packed += width;
      }
    }
  }
}

/// Channels [channel, channel + width) of one stream for kTokens tokens from `token` on; `fn` is their block of
/// pack_columns().
template <int kTokens, int kRegs, class At>
HADAL_INLINE void streams_tile(const HcStreamsGradient& a, const float* fn, std::int64_t width, std::int64_t stream,
                               std::int64_t channel, std::int64_t token, At at) {
  const std::int64_t length = a.n * a.channels;
  V::Reg sums[kTokens][kRegs];
  unroll<kTokens>([&](auto t) HADAL_INLINE_LAMBDA {
    const std::int64_t row = token + t.value;
    const V::Reg pre = V::set1(a.pre[row * a.n + stream]);
    const V::Reg radial = V::set1(-a.radial[row]);
    const std::int64_t place = row * length + stream * a.channels + channel;
    unroll<kRegs>([&](auto r) HADAL_INLINE_LAMBDA {
      constexpr std::int64_t kAt = r.value * V::kLanes;
      V::Reg sum = pre * at.load(a.d_out + row * a.channels + channel + kAt);
      if (a.add) sum = sum + at.load(a.d_x + place + kAt);
      sums[t.value][r.value] = V::fma(radial, at.load(a.x + place + kAt), sum);
    });
  });
  for (std::int64_t output = 0; output < a.outputs; ++output) {
    V::Reg row[kRegs];
    unroll<kRegs>([&](auto r)
                      HADAL_INLINE_LAMBDA { row[r.value] = at.load(fn + output * width + r.value * V::kLanes); });
    unroll<kTokens>([&](auto t) HADAL_INLINE_LAMBDA {
      const V::Reg by = V::set1(a.d_products[(token + t.value) * a.outputs + output]);
      unroll<kRegs>([&](auto r) HADAL_INLINE_LAMBDA {
        sums[t.value][r.value] = V::fma(by, row[r.value], sums[t.value][r.value]);
      });
    });
  }
  unroll<kTokens>([&](auto t) HADAL_INLINE_LAMBDA {
    float* out = a.d_x + (token + t.value) * length + stream * a.channels + channel;
    unroll<kRegs>([&](auto r) HADAL_INLINE_LAMBDA { at.store(out + r.value * V::kLanes, sums[t.value][r.value]); });
  });
}

/// All channels of kTokens tokens. Neighbouring tiles lie side by side: rows apart by a multiple of the page size would
/// make loads wait for the stores before them.
template <int kTokens>
void streams_of(const HcStreamsGradient& a, std::int64_t token) {
  const float* fn = a.fn;
  for (std::int64_t stream = 0; stream < a.n; ++stream) {
    for (std::int64_t channel = 0; channel < a.channels; channel += kStreamBlock) {
      const std::int64_t width = a.channels - channel < kStreamBlock ? a.channels - channel : kStreamBlock;
      if (width == kStreamBlock) {
        streams_tile<kTokens, kStreamRegs>(a, fn, width, stream, channel, token, Whole{});
      } else {
        for_lanes(width, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA {
          streams_tile<kTokens, 1>(a, fn + i, width, stream, channel + i, token, at);
        });
      }
      fn += a.outputs * width;
    }
  }
}

void hc_streams_backward(const HcStreamsGradient& a) {
  std::int64_t token = 0;
  for (; token + kStreamTokens <= a.tokens; token += kStreamTokens) streams_of<kStreamTokens>(a, token);
  for (; token < a.tokens; ++token) streams_of<1>(a, token);
}

/// Rows [first, first + kRows) of `out` for the register at `column`.
template <int kRows, class At>
HADAL_INLINE void outer_rows(const float* coefficients, std::int64_t outputs, const float* x, std::int64_t length,
                             std::int64_t tokens, float* out, std::int64_t first, std::int64_t column, At at) {
  V::Reg sums[kRows];
  unroll<kRows>([&](auto r)
                    HADAL_INLINE_LAMBDA { sums[r.value] = at.load(out + (first + r.value) * length + column); });
  for (std::int64_t token = 0; token < tokens; ++token) {
    const V::Reg v = at.load(x + token * length + column);
    const float* by = coefficients + token * outputs + first;
    unroll<kRows>([&](auto r) HADAL_INLINE_LAMBDA { sums[r.value] = V::fma(V::set1(by[r.value]), v, sums[r.value]); });
  }
  unroll<kRows>([&](auto r)
                    HADAL_INLINE_LAMBDA { at.store(out + (first + r.value) * length + column, sums[r.value]); });
}

void add_outer_products(const float* coefficients, std::int64_t outputs, const float* x, std::int64_t length,
                        std::int64_t tokens, float* out) {
  constexpr int kRows = V::kLanes >= 16 ? 24 : 8;  // accumulators, 1 of x, 1 coefficient
  for_lanes(length, [&](std::int64_t column, auto at) HADAL_INLINE_LAMBDA {
    std::int64_t first = 0;
    for (; first + kRows <= outputs; first += kRows) {
      outer_rows<kRows>(coefficients, outputs, x, length, tokens, out, first, column, at);
    }
    for (; first + 4 <= outputs; first += 4) {
      outer_rows<4>(coefficients, outputs, x, length, tokens, out, first, column, at);
    }
    for (; first < outputs; ++first) {
      outer_rows<1>(coefficients, outputs, x, length, tokens, out, first, column, at);
    }
  });
}
