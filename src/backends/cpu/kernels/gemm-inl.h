// Register tiles of dense products on packed operands. Included inside an anonymous namespace and a target region,
// after unroll-inl.h and a V. Units (see GemmPanel) of A are spread over a register, those of B are read a register at
// a time, so that lanes are columns of C and no sum crosses lanes.

/// Units of one f32.
struct F32Units {
  using Reg = V::Reg;
  static constexpr int kInner = 1;
  static HADAL_INLINE Reg load(const std::byte* p) { return V::load(reinterpret_cast<const float*>(p)); }
  static HADAL_INLINE Reg spread(const std::byte* p) {
    float value;
    __builtin_memcpy(&value, p, sizeof(value));
    return V::set1(value);
  }
  static HADAL_INLINE V::Reg mul_add(V::Reg acc, Reg a, Reg b) { return V::fma(a, b, acc); }
};

constexpr std::int64_t kUnitBytes = 4;
constexpr int kGemmVectors = V::kTileColumns >= 5 ? 4 : 2;  // 6 x 4 accumulators of 32 registers, 6 x 2 of 16

/// C of R rows and kVectors registers of columns.
template <class Units, int R, int kVectors>
HADAL_INLINE void gemm_tile(const GemmPanel& panel, const std::byte* a, float* c) {
  V::Reg acc[R][kVectors];
  const std::byte* rows[R];
  unroll<R>([&](auto r) HADAL_INLINE_LAMBDA {
    rows[r.value] = a + r.value * panel.a_row * kUnitBytes;
    unroll<kVectors>([&](auto v) HADAL_INLINE_LAMBDA { acc[r.value][v.value] = V::zero(); });
  });
  const std::byte* b = panel.b;
  const std::int64_t a_step = panel.a_step * kUnitBytes;
  for (std::int64_t step = 0; step < panel.steps; ++step) {
    typename Units::Reg columns[kVectors];
    unroll<kVectors>([&](auto v)
                         HADAL_INLINE_LAMBDA { columns[v.value] = Units::load(b + v.value * V::kLanes * kUnitBytes); });
    unroll<R>([&](auto r) HADAL_INLINE_LAMBDA {
      const typename Units::Reg factor = Units::spread(rows[r.value]);
      rows[r.value] += a_step;
      unroll<kVectors>([&](auto v) HADAL_INLINE_LAMBDA {
        acc[r.value][v.value] = Units::mul_add(acc[r.value][v.value], factor, columns[v.value]);
      });
    });
    b += kGemmVectors * V::kLanes * kUnitBytes;
  }
  const V::Reg alpha = V::set1(panel.alpha);
  const V::Reg beta = V::set1(panel.beta);
  unroll<R>([&](auto r) HADAL_INLINE_LAMBDA {
    float* out = c + r.value * panel.c_stride;
    float row[kVectors * V::kLanes];
    const bool whole = panel.columns == kVectors * V::kLanes;
    float* to = whole ? out : row;
    if (!whole) {
      unroll<kVectors>([&](auto v) HADAL_INLINE_LAMBDA { V::store(row + v.value * V::kLanes, V::zero()); });
      for (std::int64_t i = 0; i < panel.columns; ++i) row[i] = out[i];
    }
    unroll<kVectors>([&](auto v) HADAL_INLINE_LAMBDA {
      float* at = to + v.value * V::kLanes;
      const V::Reg product = alpha * acc[r.value][v.value];
      V::store(at, panel.beta == 0.0F ? product : V::fma(beta, V::load(at), product));
    });
    if (!whole) {
      for (std::int64_t i = 0; i < panel.columns; ++i) out[i] = row[i];
    }
  });
}

/// The last `rows` < R rows.
template <class Units, int R, int kVectors>
HADAL_INLINE void gemm_rest(const GemmPanel& panel, const std::byte* a, float* c, std::int64_t rows) {
  if constexpr (R > 1) {
    if (rows == R - 1) return gemm_tile<Units, R - 1, kVectors>(panel, a, c);
    gemm_rest<Units, R - 1, kVectors>(panel, a, c, rows);
  }
}

template <class Units, int kVectors>
void gemm_rows(const GemmPanel& panel) {
  const std::byte* a = panel.a;
  float* c = panel.c;
  std::int64_t row = 0;
  for (; row + kGemmRows <= panel.rows; row += kGemmRows) {
    gemm_tile<Units, kGemmRows, kVectors>(panel, a, c);
    a += panel.a_tile * kUnitBytes;
    c += kGemmRows * panel.c_stride;
  }
  gemm_rest<Units, kGemmRows, kVectors>(panel, a, c, panel.rows - row);
}

template <class Units, int kVectors = kGemmVectors>
void gemm_panel(const GemmPanel& panel) {
  if constexpr (kVectors > 1) {
    if (panel.columns <= (kVectors - 1) * V::kLanes) return gemm_panel<Units, kVectors - 1>(panel);
  }
  gemm_rows<Units, kVectors>(panel);
}

template <class Units>
constexpr GemmKernels make_gemm_kernels() {
  return {.inner = Units::kInner, .columns = kGemmVectors * V::kLanes, .panel = gemm_panel<Units>};
}
