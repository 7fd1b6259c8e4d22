// Products of activation rows with a weight matrix in its checkpoint layout. Included inside an anonymous namespace and
// a target region, after a V (vector_*-inl.h).
//
// One order of sums per decoder: lanes along K, one accumulator an output, K ascending a register at a time, one tree
// over the lanes at the end. F32 block scales: the sum over 128 columns, then one multiply-add onto the accumulator.
// Two paths with this order: few_rows() decodes weights in registers; tile() reads weights and activations that were
// decoded and packed into scratch, so that many rows share one decoding.

constexpr std::int64_t kSegment = 128;           // columns between two looks at the scales
constexpr int kWeightRows = 4;                   // weight rows of a register tile
constexpr int kFewRows = 4;                      // up to this many activation rows weights are decoded in registers
constexpr std::int64_t kTileBytes = 192 << 10;   // decoded weights: a part of L2 that leaves room for activations
constexpr std::int64_t kPanelBytes = 512 << 10;  // packed activations: the other part
constexpr std::int64_t kPad = 64;                // bytes; breaks strides of a power of two, which share cache sets

HADAL_INLINE constexpr std::int64_t min64(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
HADAL_INLINE constexpr std::int64_t max64(std::int64_t a, std::int64_t b) { return a > b ? a : b; }
HADAL_INLINE constexpr std::int64_t round_up(std::int64_t value, std::int64_t unit) {
  return (value + unit - 1) / unit * unit;
}

/// Calls f(Int<0>), ..., f(Int<N - 1>): loops over registers whose index must be a constant.
template <int N>
struct Int {
  static constexpr int value = N;
};
template <int N, int I = 0, class F>
HADAL_INLINE void unroll(F&& f) {
  if constexpr (I < N) {
    f(Int<I>{});
    unroll<N, I + 1>(f);
  }
}

/// Rows of a weight matrix that are read together. Rows beyond `valid` repeat the last one; their results are dropped.
template <int R>
struct Rows {
  const std::uint8_t* codes[R];
  const std::uint8_t* scales[R];
  std::int64_t ahead;  // bytes from a row to the row that the next group reads: what to prefetch

  HADAL_INLINE Rows(const MatrixRef& w, std::int64_t n, std::int64_t valid, int scale_rows) : ahead(R * w.row_bytes) {
    for (int r = 0; r < R; ++r) {
      const std::int64_t row = n + (r < valid ? r : valid - 1);
      codes[r] = static_cast<const std::uint8_t*>(w.codes) + row * w.row_bytes;
      scales[r] = static_cast<const std::uint8_t*>(w.scales) + row / scale_rows * w.scale_row_bytes;
    }
  }
};

/// f32 products and sums on V.
template <class V>
struct F32Dot {
  using Reg = typename V::Reg;
  using Acc = typename V::Reg;
  using Packed = float;
  static constexpr int kStep = V::kLanes;
  static HADAL_INLINE Acc mul_add(Acc acc, Reg w, Reg x) { return V::fma(w, x, acc); }
  static HADAL_INLINE Reg load_packed(const float* p) { return V::load(p); }
  static HADAL_INLINE void store_packed(float* p, Reg v) { V::store(p, v); }
  static HADAL_INLINE Reg load_x(const float* p) { return V::load(p); }
  static HADAL_INLINE Reg load_x_n(const float* p, std::int64_t n) { return V::load_n(p, n); }
  static HADAL_INLINE Reg load_x(const std::uint16_t* p) { return V::load_bf16(p); }
  static HADAL_INLINE Reg load_x_n(const std::uint16_t* p, std::int64_t n) { return V::load_bf16_n(p, n); }
};

/// Weights decoded to f32.
template <class V, WeightFormat kFormat>
struct F32Decoder : F32Dot<V> {
  static constexpr int kOneRow = V::kOneRow;
  using Reg = typename V::Reg;
  static constexpr int kRegs = 1;  // registers that one decode() fills
  static constexpr int kScaleRows = kFormat == WeightFormat::kE2m1E8m0 ? 1 : 128;
  static constexpr bool kBlockScaled = kFormat == WeightFormat::kE4m3F32;
  static constexpr int kColumnBytes2 = kFormat == WeightFormat::kF32        ? 8
                                       : kFormat == WeightFormat::kBf16     ? 4
                                       : kFormat == WeightFormat::kE2m1E8m0 ? 1
                                                                            : 2;  // twice the bytes of a column

  /// What all rows of a group share within a segment.
  struct Segment {
    Reg scale;
    template <int R>
    HADAL_INLINE Segment(const Rows<R>& rows, std::int64_t segment) : scale(V::zero()) {
      if constexpr (kFormat == WeightFormat::kE4m3E8m0) scale = V::set1(kDecode.e8m0[rows.scales[0][segment]]);
    }
  };

  template <int R>
  static HADAL_INLINE void decode(const Segment& segment, const Rows<R>& rows, int r, std::int64_t column, Reg* out) {
    const std::uint8_t* p = rows.codes[r] + column * kColumnBytes2 / 2;
    if constexpr (kFormat == WeightFormat::kF32) {
      out[0] = V::load(reinterpret_cast<const float*>(p));
    } else if constexpr (kFormat == WeightFormat::kBf16) {
      out[0] = V::load_bf16(p);
    } else if constexpr (kFormat == WeightFormat::kE4m3E8m0) {
      out[0] = V::load_e4m3(p) * segment.scale;
    } else if constexpr (kFormat == WeightFormat::kE4m3F32) {
      out[0] = V::load_e4m3(p);
    } else {
      out[0] = V::load_e2m1(p) * V::set1(kDecode.e8m0[rows.scales[r][column / 32]]);
    }
  }
  template <int R>
  static HADAL_INLINE void decode_n(const Segment& segment, const Rows<R>& rows, int r, std::int64_t column,
                                    std::int64_t n, Reg* out) {
    const std::uint8_t* p = rows.codes[r] + column * kColumnBytes2 / 2;
    if constexpr (kFormat == WeightFormat::kF32) {
      out[0] = V::load_n(reinterpret_cast<const float*>(p), n);
    } else if constexpr (kFormat == WeightFormat::kBf16) {
      out[0] = V::load_bf16_n(p, n);
    } else if constexpr (kFormat == WeightFormat::kE4m3E8m0) {
      out[0] = V::load_e4m3_n(p, n) * segment.scale;
    } else if constexpr (kFormat == WeightFormat::kE4m3F32) {
      out[0] = V::load_e4m3_n(p, n);
    } else {
      decode(segment, rows, r, column, out);  // k is a multiple of 32: whole registers only
    }
  }
};

template <class D, int R, int C>
HADAL_INLINE void write_sums(const typename D::Acc (&acc)[R][C], std::int64_t valid, float* y, std::int64_t y_stride) {
  unroll<C>([&](auto c) {
    unroll<R / 4>([&](auto group) {
      constexpr int r = group.value * 4;
      float* out = y + c.value * y_stride + r;
      if (valid >= r + 4) {
        V::sum4(acc[r][c.value], acc[r + 1][c.value], acc[r + 2][c.value], acc[r + 3][c.value], out);
      } else {
        float sums[4];
        V::sum4(acc[r][c.value], acc[r + 1][c.value], acc[r + 2][c.value], acc[r + 3][c.value], sums);
        for (std::int64_t i = r; i < valid; ++i) out[i - r] = sums[i - r];
      }
    });
  });
}

HADAL_INLINE float load_scale(const std::uint8_t* scales, std::int64_t block) {
  float value;
  __builtin_memcpy(&value, scales + block * 4, sizeof(value));
  return value;
}

/// acc[r][c] += sum over the segment, columns [column, column + n) with n <= 128.
template <class D, bool kWhole, int R, int C, class X>
HADAL_INLINE void few_rows_segment(const typename D::Segment& segment, const Rows<R>& rows, const X* x,
                                   std::int64_t x_stride, std::int64_t column, std::int64_t n,
                                   typename D::Acc (&acc)[R][C]) {
  constexpr int kBlock = D::kRegs * D::kStep;
  for (std::int64_t i = 0; i < (kWhole ? kSegment : n); i += kBlock) {
    const std::int64_t rest = n - i;
    typename D::Reg xs[C][D::kRegs];
    unroll<C>([&](auto c) {
      unroll<D::kRegs>([&](auto v) {
        const X* p = x + c.value * x_stride + column + i + v.value * D::kStep;
        if constexpr (kWhole) {
          xs[c.value][v.value] = D::load_x(p);
        } else {
          const std::int64_t valid = min64(rest - v.value * D::kStep, D::kStep);
          xs[c.value][v.value] = D::load_x_n(p, max64(valid, 0));
        }
      });
    });
    unroll<R>([&](auto r) {
      typename D::Reg ws[D::kRegs];
      if (kWhole || rest >= kBlock) {
        D::decode(segment, rows, r.value, column + i, ws);
      } else {
        D::decode_n(segment, rows, r.value, column + i, rest, ws);
      }
      unroll<D::kRegs>([&](auto v) {
        // A register that lies wholly beyond K is no step of the canonical order.
        if (kWhole || v.value == 0 || rest > v.value * D::kStep) {
          unroll<C>([&](auto c) {
            acc[r.value][c.value] = D::mul_add(acc[r.value][c.value], ws[v.value], xs[c.value][v.value]);
          });
        }
      });
    });
  }
}

/// y[c][0 .. valid) for C activation rows and R weight rows from n on, which share one row of 128x128 scales.
template <class D, int R, int C, class X>
void few_rows(const X* x, std::int64_t x_stride, const MatrixRef& w, std::int64_t n, std::int64_t valid, float* y,
              std::int64_t y_stride) {
  const Rows<R> rows(w, n, valid, D::kScaleRows);
  typename D::Acc acc[R][C];
  unroll<R>([&](auto r) { unroll<C>([&](auto c) { acc[r.value][c.value] = V::zero(); }); });
  const auto add_segment = [&](auto whole, std::int64_t index, std::int64_t columns) HADAL_INLINE_LAMBDA {
    constexpr bool kWhole = whole.value != 0;
    const typename D::Segment segment(rows, index);
    if constexpr (D::kBlockScaled) {
      typename D::Acc sums[R][C];
      unroll<R>([&](auto r) { unroll<C>([&](auto c) { sums[r.value][c.value] = V::zero(); }); });
      few_rows_segment<D, kWhole>(segment, rows, x, x_stride, index * kSegment, columns, sums);
      const auto scale = V::set1(load_scale(rows.scales[0], index));
      unroll<R>([&](auto r) {
        unroll<C>(
            [&](auto c) { acc[r.value][c.value] = V::fma(sums[r.value][c.value], scale, acc[r.value][c.value]); });
      });
    } else {
      few_rows_segment<D, kWhole>(segment, rows, x, x_stride, index * kSegment, columns, acc);
    }
  };
  const std::int64_t whole = w.k / kSegment;
  constexpr std::int64_t kLines = (kSegment * D::kColumnBytes2 / 2 + 63) / 64;
  for (std::int64_t index = 0; index < whole; ++index) {
    unroll<R>([&](auto r) {
      const std::uint8_t* next = rows.codes[r.value] + rows.ahead + index * (kSegment * D::kColumnBytes2 / 2);
      unroll<kLines>([&](auto line) { __builtin_prefetch(next + line.value * 64); });
    });
    add_segment(Int<1>{}, index, kSegment);
  }
  if (whole * kSegment < w.k) add_segment(Int<0>{}, whole, w.k - whole * kSegment);
  write_sums<D>(acc, valid, y, y_stride);
}

/// Decodes `count` weight rows from n on into scratch, K padded with zeros to whole registers.
template <class D>
void decode_rows(const MatrixRef& w, std::int64_t n, std::int64_t count, typename D::Packed* out, std::int64_t stride) {
  constexpr int kBlock = D::kRegs * D::kStep;
  for (std::int64_t row = 0; row < count; ++row) {
    const Rows<1> rows(w, n + row, 1, D::kScaleRows);
    typename D::Packed* to = out + row * stride;
    for (std::int64_t column = 0; column < w.k; column += kSegment) {
      const typename D::Segment segment(rows, column / kSegment);
      const std::int64_t end = min64(column + kSegment, w.k);
      for (std::int64_t i = column; i < end; i += kBlock) {
        typename D::Reg ws[D::kRegs];
        if (end - i >= kBlock) {
          D::decode(segment, rows, 0, i, ws);
        } else {
          D::decode_n(segment, rows, 0, i, end - i, ws);
        }
        unroll<D::kRegs>([&](auto v) { D::store_packed(to + i + v.value * D::kStep, ws[v.value]); });
      }
    }
  }
}

/// Copies activation rows into scratch in the decoder's order, K padded with zeros to whole registers.
template <class D, class X>
void pack_rows(const X* x, std::int64_t x_stride, std::int64_t rows, std::int64_t k, typename D::Packed* out,
               std::int64_t stride) {
  for (std::int64_t row = 0; row < rows; ++row) {
    const X* from = x + row * x_stride;
    typename D::Packed* to = out + row * stride;
    std::int64_t i = 0;
    for (; i + D::kStep <= k; i += D::kStep) D::store_packed(to + i, D::load_x(from + i));
    if (i < k) D::store_packed(to + i, D::load_x_n(from + i, k - i));
  }
}

/// y[c][0 .. valid) for C packed activation rows and four packed weight rows, whose F32 block scales, if any, are
/// scales[r].
template <class D, int C>
void tile(const typename D::Packed* w, std::int64_t w_stride, const std::uint8_t* const* scales,
          const typename D::Packed* x, std::int64_t x_stride, std::int64_t k, std::int64_t valid, float* y,
          std::int64_t y_stride) {
  typename D::Acc acc[kWeightRows][C];
  unroll<kWeightRows>([&](auto r) { unroll<C>([&](auto c) { acc[r.value][c.value] = V::zero(); }); });
  const auto add = [&](std::int64_t begin, std::int64_t end, auto& sums) HADAL_INLINE_LAMBDA {
    for (std::int64_t i = begin; i < end; i += D::kStep) {
      typename D::Reg ws[kWeightRows];
      unroll<kWeightRows>([&](auto r) { ws[r.value] = D::load_packed(w + r.value * w_stride + i); });
      unroll<C>([&](auto c) {
        const typename D::Reg xc = D::load_packed(x + c.value * x_stride + i);
        unroll<kWeightRows>(
            [&](auto r) { sums[r.value][c.value] = D::mul_add(sums[r.value][c.value], ws[r.value], xc); });
      });
    }
  };
  if constexpr (D::kBlockScaled) {
    for (std::int64_t begin = 0; begin < k; begin += kSegment) {
      typename D::Acc sums[kWeightRows][C];
      unroll<kWeightRows>([&](auto r) { unroll<C>([&](auto c) { sums[r.value][c.value] = V::zero(); }); });
      add(begin, min64(begin + kSegment, k), sums);
      unroll<kWeightRows>([&](auto r) {
        const auto scale = V::set1(load_scale(scales[r.value], begin / kSegment));
        unroll<C>(
            [&](auto c) { acc[r.value][c.value] = V::fma(sums[r.value][c.value], scale, acc[r.value][c.value]); });
      });
    }
  } else {
    add(0, k, acc);
  }
  write_sums<D>(acc, valid, y, y_stride);
}

template <class D, int C = V::kTileColumns>
HADAL_INLINE void tile_of(int columns, const typename D::Packed* w, std::int64_t w_stride,
                          const std::uint8_t* const* scales, const typename D::Packed* x, std::int64_t x_stride,
                          std::int64_t k, std::int64_t valid, float* y, std::int64_t y_stride) {
  if constexpr (C > 0) {
    if (columns == C) return tile<D, C>(w, w_stride, scales, x, x_stride, k, valid, y, y_stride);
    tile_of<D, C - 1>(columns, w, w_stride, scales, x, x_stride, k, valid, y, y_stride);
  }
}

/// Elements between packed rows.
template <class D>
HADAL_INLINE std::int64_t packed_stride(std::int64_t k) {
  constexpr std::int64_t kElement = sizeof(typename D::Packed);
  return round_up(round_up(k, D::kStep), 64 / kElement) + kPad / kElement;
}

inline std::int64_t linear_scratch_bytes(std::int64_t k) {
  const std::int64_t row = packed_stride<F32Dot<V>>(k) * static_cast<std::int64_t>(sizeof(float));
  return max64(kTileBytes, kWeightRows * row) + max64(kPanelBytes, V::kTileColumns * row);
}

template <class D, class X>
void many_rows(const X* x, std::int64_t x_stride, std::int64_t rows, const MatrixRef& w, std::int64_t n_begin,
               std::int64_t n_end, float* y, std::int64_t y_stride, std::byte* scratch) {
  using Packed = typename D::Packed;
  const std::int64_t stride = packed_stride<D>(w.k);
  const std::int64_t row_bytes = stride * static_cast<std::int64_t>(sizeof(Packed));
  const std::int64_t tile_rows = max64(kTileBytes / row_bytes / kWeightRows, 1) * kWeightRows;
  const std::int64_t panel_rows = max64(kPanelBytes / row_bytes / V::kTileColumns, 1) * V::kTileColumns;
  auto* const weights = reinterpret_cast<Packed*>(scratch);
  auto* const panel = reinterpret_cast<Packed*>(scratch + max64(kTileBytes, kWeightRows * row_bytes));
  for (std::int64_t first = 0; first < rows; first += panel_rows) {
    const std::int64_t count = min64(panel_rows, rows - first);
    const std::int64_t blocks = (count + V::kTileColumns - 1) / V::kTileColumns;  // of nearly equal size
    pack_rows<D>(x + first * x_stride, x_stride, count, w.k, panel, stride);
    for (std::int64_t n = n_begin; n < n_end; n += tile_rows) {
      const std::int64_t outputs = min64(tile_rows, n_end - n);
      decode_rows<D>(w, n, outputs, weights, stride);
      for (std::int64_t block = 0; block < blocks; ++block) {
        const std::int64_t begin = count * block / blocks;
        const int columns = static_cast<int>(count * (block + 1) / blocks - begin);
        for (std::int64_t sub = 0; sub < outputs; sub += kWeightRows) {
          const std::int64_t valid = min64(kWeightRows, outputs - sub);
          const Rows<kWeightRows> in_place(w, n + sub, valid, D::kScaleRows);  // for its scales
          tile_of<D>(columns, weights + sub * stride, stride, in_place.scales, panel + begin * stride, stride, w.k,
                     valid, y + (first + begin) * y_stride + n + sub, y_stride);
        }
      }
    }
  }
}

template <class D, class X>
void multiply_as(const X* x, std::int64_t x_stride, std::int64_t rows, const MatrixRef& w, std::int64_t n_begin,
                 std::int64_t n_end, float* y, std::int64_t y_stride, std::byte* scratch) {
  if (rows > kFewRows) return many_rows<D>(x, x_stride, rows, w, n_begin, n_end, y, y_stride, scratch);
  constexpr int kOneRow = D::kOneRow;
  const int group = rows == 1 ? kOneRow : kWeightRows;
  for (std::int64_t n = n_begin; n < n_end;) {
    std::int64_t valid = min64(group, n_end - n);
    if constexpr (D::kScaleRows > 1) valid = min64(valid, D::kScaleRows - n % D::kScaleRows);
    switch (rows) {
      case 1:
        few_rows<D, kOneRow, 1>(x, x_stride, w, n, valid, y + n, y_stride);
        break;
      case 2:
        few_rows<D, kWeightRows, 2>(x, x_stride, w, n, valid, y + n, y_stride);
        break;
      case 3:
        few_rows<D, kWeightRows, 3>(x, x_stride, w, n, valid, y + n, y_stride);
        break;
      case 4:
        few_rows<D, kWeightRows, 4>(x, x_stride, w, n, valid, y + n, y_stride);
        break;
      default:
        break;
    }
    n += valid;
  }
}

template <class X, template <WeightFormat> class D>
void multiply(const X* x, std::int64_t x_stride, std::int64_t rows, const MatrixRef& w, std::int64_t n_begin,
              std::int64_t n_end, float* y, std::int64_t y_stride, std::byte* scratch) {
  switch (w.format) {
    case WeightFormat::kF32:
      return multiply_as<F32Decoder<V, WeightFormat::kF32>>(x, x_stride, rows, w, n_begin, n_end, y, y_stride, scratch);
    case WeightFormat::kBf16:
      return multiply_as<D<WeightFormat::kBf16>>(x, x_stride, rows, w, n_begin, n_end, y, y_stride, scratch);
    case WeightFormat::kE4m3E8m0:
      return multiply_as<D<WeightFormat::kE4m3E8m0>>(x, x_stride, rows, w, n_begin, n_end, y, y_stride, scratch);
    case WeightFormat::kE4m3F32:
      return multiply_as<D<WeightFormat::kE4m3F32>>(x, x_stride, rows, w, n_begin, n_end, y, y_stride, scratch);
    case WeightFormat::kE2m1E8m0:
      return multiply_as<D<WeightFormat::kE2m1E8m0>>(x, x_stride, rows, w, n_begin, n_end, y, y_stride, scratch);
  }
}

template <WeightFormat kFormat>
using WidenedWeights = F32Decoder<V, kFormat>;

template <template <WeightFormat> class D>
void multiply_bf16_as(const bf16* x, std::int64_t x_stride, std::int64_t rows, const MatrixRef& w, std::int64_t n_begin,
                      std::int64_t n_end, float* y, std::int64_t y_stride, std::byte* scratch) {
  multiply<std::uint16_t, D>(reinterpret_cast<const std::uint16_t*>(x), x_stride, rows, w, n_begin, n_end, y, y_stride,
                             scratch);
}
