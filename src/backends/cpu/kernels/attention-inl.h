// Attention and the indexer's scores: one key a lane for products with keys, one channel a lane for sums of values.
// Included inside an anonymous namespace and a target region, after functions-inl.h and keys-inl.h.
//
// Orders of sums: a score adds channels ascending (bf16: pairs of channels) in one lane; an output channel adds keys
// ascending in one lane; a softmax adds keys lane by lane, then the tree of sum_lanes().

constexpr std::int64_t kKeyTile = 2 * V::kLanes;
constexpr int kHeadTile = V::kLanes >= 16 ? 8 : 4;  // heads x 2 accumulators, 2 keys, 1 query value
constexpr int kFewHeads = 4;                        // of the rest
constexpr int kValueHeads = 4;                      // heads x 4 accumulators, 4 values, 1 weight
constexpr std::int64_t kValueRegs = V::kLanes >= 16 ? 4 : 2;

template <class K>
void pack_tile(const std::byte* const* keys, std::int64_t count, std::int64_t channels, float* packed) {
  pack_lanes<K>(keys, count, channels, packed, kKeyTile);
  pack_lanes<K>(keys + V::kLanes, count - V::kLanes, channels, packed + V::kLanes, kKeyTile);
}

/// dots[head][half] of kHeads heads with the keys of a tile.
template <class K, int kHeads>
HADAL_INLINE void tile_dots(const std::byte* query, std::int64_t head_bytes, const float* packed, std::int64_t channels,
                            V::Reg (&dots)[kHeads][2]) {
  const std::int64_t columns = channels / K::kChannels;
  unroll<kHeads>([&](auto h) HADAL_INLINE_LAMBDA {
    dots[h.value][0] = V::zero();
    dots[h.value][1] = V::zero();
  });
  const auto add_column = [&](std::int64_t column, auto load_query) HADAL_INLINE_LAMBDA {
    const V::Reg first = V::load(packed + column * kKeyTile);
    const V::Reg second = V::load(packed + column * kKeyTile + V::kLanes);
    unroll<kHeads>([&](auto h) HADAL_INLINE_LAMBDA {
      const V::Reg q = V::set1(load_query(query + h.value * head_bytes + column * 4));
      dots[h.value][0] = K::mul_add(dots[h.value][0], q, first);
      dots[h.value][1] = K::mul_add(dots[h.value][1], q, second);
    });
  };
  for (std::int64_t column = 0; column < columns; ++column) {
    add_column(column, [](const std::byte* p) HADAL_INLINE_LAMBDA { return load_column(p); });
  }
  if (channels % K::kChannels != 0) {
    add_column(columns, [](const std::byte* p) HADAL_INLINE_LAMBDA { return load_half_column(p); });
  }
}

template <class K, int kHeads>
void score_heads(const std::byte* query, std::int64_t head_bytes, const float* packed, std::int64_t channels,
                 float* out, std::int64_t stride) {
  V::Reg dots[kHeads][2];
  tile_dots<K, kHeads>(query, head_bytes, packed, channels, dots);
  unroll<kHeads>([&](auto h) HADAL_INLINE_LAMBDA {
    V::store(out + h.value * stride, dots[h.value][0]);
    V::store(out + h.value * stride + V::kLanes, dots[h.value][1]);
  });
}

template <class K>
void score_tile(const void* query, std::int64_t query_stride, std::int64_t heads, const float* packed,
                std::int64_t channels, float* out, std::int64_t stride) {
  const std::int64_t head_bytes = query_stride * K::kBytes;
  const auto* q = static_cast<const std::byte*>(query);
  std::int64_t head = 0;
  for (; head + kHeadTile <= heads; head += kHeadTile) {
    score_heads<K, kHeadTile>(q + head * head_bytes, head_bytes, packed, channels, out + head * stride, stride);
  }
  for (; head + kFewHeads <= heads; head += kFewHeads) {
    score_heads<K, kFewHeads>(q + head * head_bytes, head_bytes, packed, channels, out + head * stride, stride);
  }
  for (; head < heads; ++head) {
    score_heads<K, 1>(q + head * head_bytes, head_bytes, packed, channels, out + head * stride, stride);
  }
}

float softmax(float* scores, std::int64_t n, float factor, float sink, float* largest_score) {
  const V::Reg by = V::set1(factor);
  const V::Reg lowest = V::set1(sink);
  V::Reg largest = lowest;
  for_lanes(n, [&](std::int64_t i, auto at)
                   HADAL_INLINE_LAMBDA { largest = M::max(largest, at.keep(at.load(scores + i) * by, lowest)); });
  *largest_score = max_lanes(largest);
  const V::Reg maximum = V::set1(*largest_score);
  V::Reg total = V::zero();
  for_lanes(n, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA {
    const V::Reg weight = exp(at.load(scores + i) * by - maximum);
    at.store(scores + i, weight);
    total = total + at.keep(weight, V::zero());
  });
  float last[V::kLanes];
  V::store(last, exp(V::set1(sink) - maximum));
  return sum_lanes(total) + last[0];
}

void log_sums(const float* maxima, const float* sums, float* out, std::int64_t n) {
  for_lanes(n, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA {
    const V::Reg sum = at.load(sums + i);
    // The last term is 0, or NaN where the sum is NaN or infinite: the logarithm itself takes finite numbers only.
    at.store(out + i, at.load(maxima + i) + log_from_one(sum) + (sum - sum));
  });
}

/// The block of kRegs registers of channels of `count` keys, as f32 in `values` [count][kRegs * lanes].
template <class K, std::int64_t kRegs>
HADAL_INLINE void widen_values(const std::byte* const* keys, std::int64_t count, std::int64_t channel, float* values) {
  for (std::int64_t key = 0; key < count; ++key) {
    const std::byte* from = keys[key] + channel * K::kBytes;
    float* to = values + key * kRegs * V::kLanes;
    unroll<kRegs>([&](auto r) HADAL_INLINE_LAMBDA {
      V::store(to + r.value * V::kLanes, K::load(from + r.value * V::kLanes * K::kBytes));
    });
  }
}

template <int kHeads, std::int64_t kRegs>
HADAL_INLINE void add_weighted(const float* values, std::int64_t count, const float* weights,
                               std::int64_t weight_stride, float* out, std::int64_t out_stride) {
  V::Reg sums[kHeads][kRegs];
  unroll<kHeads>([&](auto h) HADAL_INLINE_LAMBDA {
    unroll<kRegs>([&](auto r) HADAL_INLINE_LAMBDA {
      sums[h.value][r.value] = V::load(out + h.value * out_stride + r.value * V::kLanes);
    });
  });
  for (std::int64_t key = 0; key < count; ++key) {
    V::Reg v[kRegs];
    unroll<kRegs>([&](auto r)
                      HADAL_INLINE_LAMBDA { v[r.value] = V::load(values + (key * kRegs + r.value) * V::kLanes); });
    unroll<kHeads>([&](auto h) HADAL_INLINE_LAMBDA {
      const V::Reg weight = V::set1(weights[h.value * weight_stride + key]);
      unroll<kRegs>([&](auto r) HADAL_INLINE_LAMBDA {
        sums[h.value][r.value] = V::fma(weight, v[r.value], sums[h.value][r.value]);
      });
    });
  }
  unroll<kHeads>([&](auto h) HADAL_INLINE_LAMBDA {
    unroll<kRegs>([&](auto r) HADAL_INLINE_LAMBDA {
      V::store(out + h.value * out_stride + r.value * V::kLanes, sums[h.value][r.value]);
    });
  });
}

/// The last channels of a row that fill no register.
template <class K>
void add_last_channels(const std::byte* const* keys, std::int64_t count, std::int64_t channel, std::int64_t channels,
                       const float* weights, std::int64_t weight_stride, std::int64_t heads, float* out,
                       std::int64_t out_stride) {
  for (std::int64_t head = 0; head < heads; ++head) {
    float* row = out + head * out_stride;
    for (std::int64_t i = channel; i < channels; i += V::kLanes) {
      const std::int64_t n = channels - i < V::kLanes ? channels - i : V::kLanes;
      V::Reg sum = V::load_n(row + i, n);
      for (std::int64_t key = 0; key < count; ++key) {
        sum = V::fma(V::set1(weights[head * weight_stride + key]), K::load_n(keys[key] + i * K::kBytes, n), sum);
      }
      M::store_n(row + i, sum, n);
    }
  }
}

/// Few heads: the values are widened on the way, for each kValueHeads heads anew. The same sums as add_weighted.
template <class K, int kHeads, std::int64_t kRegs>
HADAL_INLINE void add_rows(const std::byte* const* keys, std::int64_t count, std::int64_t channel, const float* weights,
                           std::int64_t weight_stride, float* out, std::int64_t out_stride) {
  V::Reg sums[kHeads][kRegs];
  unroll<kHeads>([&](auto h) HADAL_INLINE_LAMBDA {
    unroll<kRegs>([&](auto r) HADAL_INLINE_LAMBDA {
      sums[h.value][r.value] = V::load(out + h.value * out_stride + r.value * V::kLanes);
    });
  });
  for (std::int64_t key = 0; key < count; ++key) {
    const std::byte* row = keys[key] + channel * K::kBytes;
    V::Reg v[kRegs];
    unroll<kRegs>([&](auto r) HADAL_INLINE_LAMBDA { v[r.value] = K::load(row + r.value * V::kLanes * K::kBytes); });
    unroll<kHeads>([&](auto h) HADAL_INLINE_LAMBDA {
      const V::Reg weight = V::set1(weights[h.value * weight_stride + key]);
      unroll<kRegs>([&](auto r) HADAL_INLINE_LAMBDA {
        sums[h.value][r.value] = V::fma(weight, v[r.value], sums[h.value][r.value]);
      });
    });
  }
  unroll<kHeads>([&](auto h) HADAL_INLINE_LAMBDA {
    unroll<kRegs>([&](auto r) HADAL_INLINE_LAMBDA {
      V::store(out + h.value * out_stride + r.value * V::kLanes, sums[h.value][r.value]);
    });
  });
}

template <class K>
void add_values_of(const std::byte* const* keys, std::int64_t count, std::int64_t channels, const float* weights,
                   std::int64_t weight_stride, std::int64_t heads, float* out, std::int64_t out_stride) {
  constexpr std::int64_t kBlockKeys = 64;  // values of a block of channels stay in L1 for all heads
  constexpr std::int64_t kWidth = kValueRegs * V::kLanes;
  alignas(64) float values[kBlockKeys * kWidth];
  if (heads == kValueHeads && channels % kWidth == 0) {
    for (std::int64_t channel = 0; channel < channels; channel += kWidth) {
      add_rows<K, kValueHeads, kValueRegs>(keys, count, channel, weights, weight_stride, out + channel, out_stride);
    }
    return;
  }
  for (std::int64_t first = 0; first < count; first += kBlockKeys) {
    const std::int64_t n = count - first < kBlockKeys ? count - first : kBlockKeys;
    std::int64_t channel = 0;
    for (; channel + kWidth <= channels; channel += kWidth) {
      widen_values<K, kValueRegs>(keys + first, n, channel, values);
      std::int64_t head = 0;
      for (; head + kValueHeads <= heads; head += kValueHeads) {
        add_weighted<kValueHeads, kValueRegs>(values, n, weights + head * weight_stride + first, weight_stride,
                                              out + head * out_stride + channel, out_stride);
      }
      for (; head < heads; ++head) {
        add_weighted<1, kValueRegs>(values, n, weights + head * weight_stride + first, weight_stride,
                                    out + head * out_stride + channel, out_stride);
      }
    }
    if (channel < channels) {
      add_last_channels<K>(keys + first, n, channel, channels, weights + first, weight_stride, heads, out, out_stride);
    }
  }
}

template <class K, int kHeads>
HADAL_INLINE void index_heads(const std::byte* query, std::int64_t head_bytes, const float* weights,
                              const float* packed, std::int64_t channels, V::Reg& first, V::Reg& second) {
  V::Reg dots[kHeads][2];
  tile_dots<K, kHeads>(query, head_bytes, packed, channels, dots);
  unroll<kHeads>([&](auto h) HADAL_INLINE_LAMBDA {
    const V::Reg weight = V::set1(weights[h.value]);
    first = V::fma(weight, M::max(V::zero(), dots[h.value][0]), first);  // NaN stays NaN
    second = V::fma(weight, M::max(V::zero(), dots[h.value][1]), second);
  });
}

template <class K>
void index_tile(const void* query, std::int64_t heads, const float* weights, const float* packed, std::int64_t channels,
                float* scores) {
  const std::int64_t head_bytes = channels * K::kBytes;
  const auto* q = static_cast<const std::byte*>(query);
  V::Reg first = V::zero();
  V::Reg second = V::zero();
  std::int64_t head = 0;
  for (; head + kHeadTile <= heads; head += kHeadTile) {
    index_heads<K, kHeadTile>(q + head * head_bytes, head_bytes, weights + head, packed, channels, first, second);
  }
  for (; head + kFewHeads <= heads; head += kFewHeads) {
    index_heads<K, kFewHeads>(q + head * head_bytes, head_bytes, weights + head, packed, channels, first, second);
  }
  for (; head < heads; ++head) {
    index_heads<K, 1>(q + head * head_bytes, head_bytes, weights + head, packed, channels, first, second);
  }
  V::store(scores, first);
  V::store(scores + V::kLanes, second);
}
