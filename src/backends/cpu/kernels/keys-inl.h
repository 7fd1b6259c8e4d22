// Rows of keys, f32 or bf16, as the inputs of products: one key a lane, its channels (bf16: pairs of channels) in
// columns of words of four bytes. Included inside an anonymous namespace and a target region, after functions-inl.h.

/// How a product treats its inputs: columns of a packed tile are channels, or pairs of channels of bf16.
struct F32Keys {
  static constexpr std::int64_t kChannels = 1;  // channels a column
  static constexpr std::int64_t kBytes = 4;     // bytes of a channel
  static HADAL_INLINE V::Reg mul_add(V::Reg acc, V::Reg query, V::Reg key) { return V::fma(query, key, acc); }
  static HADAL_INLINE V::Reg load(const std::byte* p) { return V::load(reinterpret_cast<const float*>(p)); }
  static HADAL_INLINE V::Reg load_n(const std::byte* p, std::int64_t n) {
    return V::load_n(reinterpret_cast<const float*>(p), n);
  }
};
struct Bf16Keys {
  static constexpr std::int64_t kChannels = 2;
  static constexpr std::int64_t kBytes = 2;
  static HADAL_INLINE V::Reg mul_add(V::Reg acc, V::Reg query, V::Reg key) { return M::dot_pairs(acc, query, key); }
  static HADAL_INLINE V::Reg load(const std::byte* p) { return V::load_bf16(p); }
  static HADAL_INLINE V::Reg load_n(const std::byte* p, std::int64_t n) { return V::load_bf16_n(p, n); }
};

HADAL_INLINE float load_column(const std::byte* p) {
  float value;
  __builtin_memcpy(&value, p, sizeof(value));
  return value;
}

/// The last channel of an odd number of bf16 channels, paired with a zero.
HADAL_INLINE float load_half_column(const std::byte* p) {
  std::uint16_t low;
  __builtin_memcpy(&low, p, sizeof(low));
  const std::uint32_t pair = low;
  float value;
  __builtin_memcpy(&value, &pair, sizeof(value));
  return value;
}

/// Writes the words of at most kLanes keys, word w of key i to packed[w * stride + i]; missing keys are zeros.
template <class K>
void pack_lanes(const std::byte* const* keys, std::int64_t count, std::int64_t channels, float* packed,
                std::int64_t stride) {
  static constexpr float kZeros[V::kLanes] = {};
  const std::int64_t columns = channels / K::kChannels;
  std::int64_t column = 0;
  for (; column + V::kLanes <= columns; column += V::kLanes) {
    const float* rows[V::kLanes];
    for (std::int64_t key = 0; key < V::kLanes; ++key) {
      rows[key] = key < count ? reinterpret_cast<const float*>(keys[key]) + column : kZeros;
    }
    M::transpose(rows, packed + column * stride, stride);
  }
  for (; column < columns; ++column) {
    for (std::int64_t key = 0; key < V::kLanes; ++key) {
      packed[column * stride + key] = key < count ? load_column(keys[key] + column * 4) : 0.0F;
    }
  }
  if (channels % K::kChannels != 0) {
    for (std::int64_t key = 0; key < V::kLanes; ++key) {
      packed[column * stride + key] = key < count ? load_half_column(keys[key] + column * 4) : 0.0F;
    }
  }
}
