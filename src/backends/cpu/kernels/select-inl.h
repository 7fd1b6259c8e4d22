// Exact selection of the largest scores. Included inside an anonymous namespace and a target region, after
// functions-inl.h.

/// Integers that order like the scores: larger is larger, both zeros alike, NaN smallest.
HADAL_INLINE M::Int sort_keys(V::Reg score) {
  score = score + V::zero();  // -0 becomes +0
  const M::Int bits = M::bits(score);
  const M::Int flip = M::or_int(M::shift_right<31>(bits), M::set1_int(INT32_MIN));
  const V::Reg key = M::real(M::xor_int(bits, flip));
  return M::bits(M::select(M::unordered(score), V::zero(), key));
}

/// f(index, key) for each key >= threshold, ascending.
template <class F>
HADAL_INLINE void for_keys_from(const std::uint32_t* keys, std::int64_t n, std::uint32_t threshold, F&& f) {
  const M::Int at_least = M::set1_int(static_cast<std::int32_t>(threshold));
  std::int64_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) {
    std::uint32_t found = M::unsigned_at_least_bits(M::load_int(keys + i), at_least);
    while (found != 0) {
      const int lane = __builtin_ctz(found);
      found &= found - 1;
      f(i + lane, keys[i + lane]);
    }
  }
  for (; i < n; ++i) {
    if (keys[i] >= threshold) f(i, keys[i]);
  }
}

/// Digits of a key from the top: 11, 11 and 10 bits.
constexpr int kDigitShift[3] = {21, 10, 0};
constexpr std::uint32_t kDigitMask[3] = {0x7FFU, 0x7FFU, 0x3FFU};

/// The digit of the k-th largest (k counts from 1) under the counts of all digits; k becomes the rank inside that
/// digit.
HADAL_INLINE std::uint32_t find_digit(const std::uint32_t* counts, std::uint32_t top, std::int64_t& k) {
  std::uint32_t digit = top;
  while (k > counts[digit]) {
    k -= counts[digit];
    --digit;
  }
  return digit;
}

/// The k-th largest key, k from 1; `rank` becomes its rank among its equals. `candidates` holds n numbers.
HADAL_INLINE std::uint32_t kth_largest(const std::uint32_t* keys, std::int64_t n, std::int64_t k,
                                       std::uint32_t* candidates, std::int64_t& rank) {
  std::uint32_t counts[2][0x800];  // two histograms: equal neighbours do not wait for each other
  __builtin_memset(counts, 0, sizeof(counts));
  std::int64_t i = 0;
  for (; i + 2 <= n; i += 2) {
    ++counts[0][keys[i] >> 21];
    ++counts[1][keys[i + 1] >> 21];
  }
  if (i < n) ++counts[0][keys[i] >> 21];
  for (int digit = 0; digit < 0x800; ++digit) counts[0][digit] += counts[1][digit];
  rank = k;
  std::uint32_t prefix = find_digit(counts[0], 0x7FFU, rank) << kDigitShift[0];
  std::int64_t left = 0;
  const std::uint32_t top_mask = kDigitMask[0] << kDigitShift[0];
  for_keys_from(keys, n, prefix, [&](std::int64_t, std::uint32_t key) HADAL_INLINE_LAMBDA {
    candidates[left] = key;
    left += (key & top_mask) == prefix ? 1 : 0;
  });
  for (int level = 1; level < 3; ++level) {
    __builtin_memset(counts[0], 0, sizeof(counts[0]));
    for (std::int64_t j = 0; j < left; ++j) ++counts[0][(candidates[j] >> kDigitShift[level]) & kDigitMask[level]];
    const std::uint32_t digit = find_digit(counts[0], kDigitMask[level], rank);
    prefix |= digit << kDigitShift[level];
    std::int64_t kept = 0;
    for (std::int64_t j = 0; j < left; ++j) {
      const std::uint32_t key = candidates[j];
      candidates[kept] = key;
      kept += ((key >> kDigitShift[level]) & kDigitMask[level]) == digit ? 1 : 0;
    }
    left = kept;
  }
  return prefix;
}

void select_top(float* scores, std::int64_t n, std::int64_t k, std::int32_t* selected, std::uint32_t* scratch) {
  auto* keys = reinterpret_cast<std::uint32_t*>(scores);
  std::int64_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) M::store_int(keys + i, sort_keys(V::load(scores + i)));
  if (i < n) M::store_n(scores + i, M::real(sort_keys(V::load_n(scores + i, n - i))), n - i);
  std::int64_t equals = 0;  // how many keys equal to the threshold are taken: the lowest indices
  const std::uint32_t threshold = kth_largest(keys, n, k, scratch, equals);
  std::int64_t count = 0;
  for_keys_from(keys, n, threshold, [&](std::int64_t index, std::uint32_t key) HADAL_INLINE_LAMBDA {
    if (key == threshold && equals-- <= 0) return;
    selected[count++] = static_cast<std::int32_t>(index);
  });
}
