// Products between the rows of a block and its keys. Included inside an anonymous namespace and a target region, after
// keys-inl.h. An element of a product adds its words ascending in one lane, whatever its tile.

constexpr int kProductRows = V::kLanes >= 16 ? 8 : 4;  // rows x 2 accumulators, 2 of b, 1 of a
constexpr int kWideRows = 4;                           // rows x kWideRegs accumulators where fewer rows are left
constexpr int kWideRegs = V::kLanes >= 16 ? 4 : 2;

struct ProductInput {
  const float* a;
  std::int64_t a_row;
  std::int64_t a_word;
  const float* b;
  std::int64_t b_row;
  std::int64_t words;
};

/// kRows rows of kRegs registers of the product, from row `i` and column `j` on; `last` accesses the last register.
template <class K, int kRows, int kRegs, class Last>
HADAL_INLINE void multiply_tile(const ProductInput& in, std::int64_t i, std::int64_t j, float* out,
                                std::int64_t out_row, bool add, Last last) {
  const auto load = [&](const float* p, auto r)
                        HADAL_INLINE_LAMBDA { return r.value + 1 < kRegs ? V::load(p) : last.load(p); };
  float* to = out + i * out_row + j;
  V::Reg sums[kRows][kRegs];
  unroll<kRows>([&](auto row) HADAL_INLINE_LAMBDA {
    unroll<kRegs>([&](auto r) HADAL_INLINE_LAMBDA {
      sums[row.value][r.value] = add ? load(to + row.value * out_row + r.value * V::kLanes, r) : V::zero();
    });
  });
  const float* a = in.a + i * in.a_row;
  const float* b = in.b + j;
  for (std::int64_t word = 0; word < in.words; ++word, a += in.a_word, b += in.b_row) {
    V::Reg values[kRegs];
    unroll<kRegs>([&](auto r) HADAL_INLINE_LAMBDA { values[r.value] = load(b + r.value * V::kLanes, r); });
    unroll<kRows>([&](auto row) HADAL_INLINE_LAMBDA {
      const V::Reg factor = V::set1(a[row.value * in.a_row]);
      unroll<kRegs>([&](auto r) HADAL_INLINE_LAMBDA {
        sums[row.value][r.value] = K::mul_add(sums[row.value][r.value], factor, values[r.value]);
      });
    });
  }
  unroll<kRows>([&](auto row) HADAL_INLINE_LAMBDA {
    unroll<kRegs>([&](auto r) HADAL_INLINE_LAMBDA {
      float* p = to + row.value * out_row + r.value * V::kLanes;
      if (r.value + 1 < kRegs) {
        V::store(p, sums[row.value][r.value]);
      } else {
        last.store(p, sums[row.value][r.value]);
      }
    });
  });
}

/// All columns of the kRows rows from `i` on, kRegs registers at a time.
template <class K, int kRows, int kRegs>
void multiply_rows(const ProductInput& in, std::int64_t i, std::int64_t n, float* out, std::int64_t out_row, bool add) {
  std::int64_t j = 0;
  for (; j + kRegs * V::kLanes <= n; j += kRegs * V::kLanes) {
    multiply_tile<K, kRows, kRegs>(in, i, j, out, out_row, add, Whole{});
  }
  for (; j + V::kLanes <= n; j += V::kLanes) multiply_tile<K, kRows, 1>(in, i, j, out, out_row, add, Whole{});
  if (j < n) multiply_tile<K, kRows, 1>(in, i, j, out, out_row, add, Part{n - j});
}

template <class K>
void multiply_block(const float* a, std::int64_t a_row, std::int64_t a_word, std::int64_t m, const float* b,
                    std::int64_t b_row, std::int64_t n, std::int64_t words, float* out, std::int64_t out_row,
                    bool add) {
  const ProductInput in{.a = a, .a_row = a_row, .a_word = a_word, .b = b, .b_row = b_row, .words = words};
  constexpr std::int64_t kStrip = 2 * V::kLanes;  // columns of b that stay in L1 for all rows
  std::int64_t i = 0;
  if (m >= kProductRows) {
    const std::int64_t whole = m / kProductRows * kProductRows;
    std::int64_t j = 0;
    for (; j + kStrip <= n; j += kStrip) {
      for (i = 0; i < whole; i += kProductRows) {
        multiply_tile<K, kProductRows, 2>(in, i, j, out, out_row, add, Whole{});
      }
    }
    for (; j < n; j += V::kLanes) {
      const std::int64_t left = n - j;
      for (i = 0; i < whole; i += kProductRows) {
        if (left >= V::kLanes) {
          multiply_tile<K, kProductRows, 1>(in, i, j, out, out_row, add, Whole{});
        } else {
          multiply_tile<K, kProductRows, 1>(in, i, j, out, out_row, add, Part{left});
        }
      }
    }
    i = whole;
  }
  for (; i + kWideRows <= m; i += kWideRows) multiply_rows<K, kWideRows, kWideRegs>(in, i, n, out, out_row, add);
  for (; i < m; ++i) multiply_rows<K, 1, kWideRegs>(in, i, n, out, out_row, add);
}

template <class K>
void pack_columns(const std::byte* const* rows, std::int64_t count, std::int64_t channels, float* packed,
                  std::int64_t stride) {
  for (std::int64_t row = 0; row < stride; row += V::kLanes) {
    pack_lanes<K>(rows + row, count - row, channels, packed + row, stride);
  }
}

void pack_rows_f32(const std::byte* const* rows, std::int64_t count, std::int64_t columns, float* packed) {
  for (std::int64_t row = 0; row < count; ++row) {
    __builtin_memcpy(packed + row * columns, rows[row], static_cast<std::size_t>(columns) * sizeof(float));
  }
}

void pack_rows_bf16(const std::byte* const* rows, std::int64_t count, std::int64_t columns, float* packed) {
  const M::Int lower = M::set1_int(0xFFFF);
  for (std::int64_t row = 0; row < count; row += 2) {
    const std::byte* first = rows[row];
    const std::byte* second = row + 1 < count ? rows[row + 1] : nullptr;
    for_lanes(columns, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA {
      const M::Int low = M::and_int(M::shift_right<16>(M::bits(at.load_bf16(first + 2 * i))), lower);
      const M::Int high = second == nullptr ? M::set1_int(0) : M::bits(at.load_bf16(second + 2 * i));
      at.store(packed + i, M::real(M::or_int(low, high)));
    });
    packed += columns;
  }
}

void narrow_f32(const float* in, void* out, std::int64_t n) {
  __builtin_memcpy(out, in, static_cast<std::size_t>(n) * sizeof(float));
}

void narrow_bf16(const float* in, void* out, std::int64_t n) {
  auto* to = static_cast<std::byte*>(out);
  for_lanes(n, [&](std::int64_t i, auto at) HADAL_INLINE_LAMBDA { at.store_bf16(to + 2 * i, at.load(in + i)); });
}
