// Products of activation rows with a weight matrix in its checkpoint layout. Included inside an anonymous namespace and
// a target region, after a V (vector_*-inl.h).
//
// One order of sums per decoder: lanes along K, one accumulator an output, K ascending a register at a time, one tree
// over the lanes at the end. F32 block scales: the sum over 128 columns, then one multiply-add onto the accumulator.
// Two paths with this order: direct() decodes weights in registers; tile() reads weights and activations that were
// decoded and packed into scratch, so that many rows share one decoding.

constexpr std::int64_t kSegment = 128;            // columns between two looks at the scales
constexpr int kWeightRows = 4;                    // weight rows of a register tile
constexpr int kDirectRows = 16;                   // up to this many activation rows weights are decoded in registers
constexpr std::int64_t kTileBytes = 192 << 10;    // decoded weights: stay in L2 for all blocks of activations
constexpr std::int64_t kPanelBytes = 2048 << 10;  // packed activations: read once a tile, a block of them from L1
constexpr std::int64_t kMaxTileRows = 64;
constexpr std::int64_t kChunkBytes = 3072;  // of each packed row: 6 activation and 4 weight rows of it stay in L1
constexpr std::int64_t kPad = 64;           // bytes; breaks strides of a power of two, which share cache sets

HADAL_INLINE constexpr std::int64_t min64(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
HADAL_INLINE constexpr std::int64_t max64(std::int64_t a, std::int64_t b) { return a > b ? a : b; }
HADAL_INLINE constexpr std::int64_t round_up(std::int64_t value, std::int64_t unit) {
  return (value + unit - 1) / unit * unit;
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
  using Dot = F32Dot<V>;
  static constexpr int kOneRow = V::kOneRow;
  static constexpr int kDirectColumns = V::kTileColumns < 4 ? V::kTileColumns : 4;
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
  unroll<C>([&](auto c) HADAL_INLINE_LAMBDA {
    unroll<R / 4>([&](auto group) HADAL_INLINE_LAMBDA {
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
HADAL_INLINE void direct_segment(const typename D::Segment& segment, const Rows<R>& rows, const X* x,
                                 std::int64_t x_stride, std::int64_t column, std::int64_t n,
                                 typename D::Acc (&acc)[R][C]) {
  constexpr int kBlock = D::kRegs * D::kStep;
#pragma GCC unroll 2
  for (std::int64_t i = 0; i < (kWhole ? kSegment : n); i += kBlock) {
    const std::int64_t rest = n - i;
    typename D::Reg ws[R][D::kRegs];
    unroll<R>([&](auto r) HADAL_INLINE_LAMBDA {
      if (kWhole || rest >= kBlock) {
        D::decode(segment, rows, r.value, column + i, ws[r.value]);
      } else {
        D::decode_n(segment, rows, r.value, column + i, rest, ws[r.value]);
      }
    });
    unroll<D::kRegs>([&](auto v) HADAL_INLINE_LAMBDA {
      const std::int64_t valid = rest - v.value * D::kStep;
      if (!kWhole && valid <= 0) return;  // a register wholly beyond K is no step of the canonical order
      unroll<C>([&](auto c) HADAL_INLINE_LAMBDA {
        const X* p = x + c.value * x_stride + column + i + v.value * D::kStep;
        const typename D::Reg xc = kWhole ? D::load_x(p) : D::load_x_n(p, min64(valid, D::kStep));
        unroll<R>([&](auto r) HADAL_INLINE_LAMBDA {
          acc[r.value][c.value] = D::mul_add(acc[r.value][c.value], ws[r.value][v.value], xc);
        });
      });
    });
  }
}

/// y[c][0 .. valid) for C activation rows and R weight rows from n on, which share one row of 128x128 scales.
template <class D, int R, int C, class X>
void direct(const X* x, std::int64_t x_stride, const MatrixRef& w, std::int64_t n, std::int64_t valid, float* y,
            std::int64_t y_stride) {
  const Rows<R> rows(w, n, valid, D::kScaleRows);
  typename D::Acc acc[R][C];
  unroll<R>([&](auto r) HADAL_INLINE_LAMBDA {
    unroll<C>([&](auto c) HADAL_INLINE_LAMBDA { acc[r.value][c.value] = V::zero(); });
  });
  const auto add_segment = [&](auto whole, std::int64_t index, std::int64_t columns) HADAL_INLINE_LAMBDA {
    constexpr bool kWhole = whole.value != 0;
    const typename D::Segment segment(rows, index);
    if constexpr (D::kBlockScaled) {
      typename D::Acc sums[R][C];
      unroll<R>([&](auto r) HADAL_INLINE_LAMBDA {
        unroll<C>([&](auto c) HADAL_INLINE_LAMBDA { sums[r.value][c.value] = V::zero(); });
      });
      direct_segment<D, kWhole>(segment, rows, x, x_stride, index * kSegment, columns, sums);
      const auto scale = V::set1(load_scale(rows.scales[0], index));
      unroll<R>([&](auto r) HADAL_INLINE_LAMBDA {
        unroll<C>([&](auto c) HADAL_INLINE_LAMBDA {
          acc[r.value][c.value] = V::fma(sums[r.value][c.value], scale, acc[r.value][c.value]);
        });
      });
    } else {
      direct_segment<D, kWhole>(segment, rows, x, x_stride, index * kSegment, columns, acc);
    }
  };
  const std::int64_t whole = w.k / kSegment;
  constexpr std::int64_t kLines = (kSegment * D::kColumnBytes2 / 2 + 63) / 64;
  for (std::int64_t index = 0; index < whole; ++index) {
    unroll<R>([&](auto r) HADAL_INLINE_LAMBDA {
      const std::uint8_t* next = rows.codes[r.value] + rows.ahead + index * (kSegment * D::kColumnBytes2 / 2);
      unroll<kLines>([&](auto line) HADAL_INLINE_LAMBDA { __builtin_prefetch(next + line.value * 64); });
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
#pragma GCC unroll 4
      for (std::int64_t i = column; i < end; i += kBlock) {
        typename D::Reg ws[D::kRegs];
        if (end - i >= kBlock) {
          D::decode(segment, rows, 0, i, ws);
        } else {
          D::decode_n(segment, rows, 0, i, end - i, ws);
        }
        unroll<D::kRegs>([&](auto v)
                             HADAL_INLINE_LAMBDA { D::store_packed(to + i + v.value * D::kStep, ws[v.value]); });
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

/// Chunk [0, k) of the columns for C packed activation rows and four packed weight rows. `carry` holds the accumulators
/// between the chunks; the first starts from zero, the last writes y[c][0 .. valid). F32 block scales, if any, are
/// scales[r], from this chunk's first block on.
template <class Dot, bool kBlockScaled, int C>
void tile(const typename Dot::Packed* w, std::int64_t w_stride, const std::uint8_t* const* scales,
          const typename Dot::Packed* x, std::int64_t x_stride, std::int64_t k, bool first, bool last, float* carry,
          std::int64_t valid, float* y, std::int64_t y_stride) {
  typename Dot::Acc acc[kWeightRows][C];
  if (first) {
    unroll<kWeightRows>([&](auto r) HADAL_INLINE_LAMBDA {
      unroll<C>([&](auto c) HADAL_INLINE_LAMBDA { acc[r.value][c.value] = V::zero(); });
    });
  } else {
    unroll<kWeightRows>([&](auto r) HADAL_INLINE_LAMBDA {
      unroll<C>([&](auto c) HADAL_INLINE_LAMBDA {
        acc[r.value][c.value] = V::load(carry + (r.value * C + c.value) * V::kLanes);
      });
    });
  }
  const auto add = [&](std::int64_t begin, std::int64_t end, auto& sums) HADAL_INLINE_LAMBDA {
    for (std::int64_t i = begin; i < end; i += Dot::kStep) {
      typename Dot::Reg ws[kWeightRows];
      unroll<kWeightRows>([&](auto r)
                              HADAL_INLINE_LAMBDA { ws[r.value] = Dot::load_packed(w + r.value * w_stride + i); });
      unroll<C>([&](auto c) HADAL_INLINE_LAMBDA {
        const typename Dot::Reg xc = Dot::load_packed(x + c.value * x_stride + i);
        unroll<kWeightRows>([&](auto r) HADAL_INLINE_LAMBDA {
          sums[r.value][c.value] = Dot::mul_add(sums[r.value][c.value], ws[r.value], xc);
        });
      });
    }
  };
  if constexpr (kBlockScaled) {
    for (std::int64_t begin = 0; begin < k; begin += kSegment) {
      typename Dot::Acc sums[kWeightRows][C];
      unroll<kWeightRows>([&](auto r) HADAL_INLINE_LAMBDA {
        unroll<C>([&](auto c) HADAL_INLINE_LAMBDA { sums[r.value][c.value] = V::zero(); });
      });
      add(begin, min64(begin + kSegment, k), sums);
      unroll<kWeightRows>([&](auto r) HADAL_INLINE_LAMBDA {
        const auto scale = V::set1(load_scale(scales[r.value], begin / kSegment));
        unroll<C>([&](auto c) HADAL_INLINE_LAMBDA {
          acc[r.value][c.value] = V::fma(sums[r.value][c.value], scale, acc[r.value][c.value]);
        });
      });
    }
  } else {
    add(0, k, acc);
  }
  if (last) return write_sums<Dot>(acc, valid, y, y_stride);
  unroll<kWeightRows>([&](auto r) HADAL_INLINE_LAMBDA {
    unroll<C>([&](auto c) HADAL_INLINE_LAMBDA {
      V::store(carry + (r.value * C + c.value) * V::kLanes, acc[r.value][c.value]);
    });
  });
}

template <class Dot, bool kBlockScaled, int C, class... Args>
HADAL_INLINE void tile_of(int columns, Args... args) {
  if constexpr (C > 0) {
    if (columns == C) return tile<Dot, kBlockScaled, C>(args...);
    tile_of<Dot, kBlockScaled, C - 1>(columns, args...);
  }
}

/// How a product with packed operands is cut up, and where its parts lie in scratch.
template <class D>
struct Plan {
  using Packed = typename D::Packed;
  static constexpr std::int64_t kElement = sizeof(Packed);
  static constexpr std::int64_t kChunk = kChunkBytes / kElement;  // columns; whole segments
  static_assert(kChunk % kSegment == 0);
  static constexpr std::int64_t kCarry = kWeightRows * V::kTileColumns * V::kLanes;  // floats of one tile

  std::int64_t stride;      // elements between packed rows
  std::int64_t tile_rows;   // weight rows decoded at once
  std::int64_t panel_rows;  // activation rows packed at once
  std::int64_t weights_bytes;
  std::int64_t panel_bytes;
  static constexpr std::int64_t kCarryBytes =
      kMaxTileRows / kWeightRows * kCarry * static_cast<std::int64_t>(sizeof(float));

  explicit Plan(std::int64_t k) : stride(round_up(round_up(k, D::kStep), 64 / kElement) + kPad / kElement) {
    const std::int64_t row_bytes = stride * kElement;
    tile_rows = min64(max64(kTileBytes / row_bytes / kWeightRows, 1) * kWeightRows, kMaxTileRows);
    panel_rows = max64(kPanelBytes / row_bytes / V::kTileColumns, 1) * V::kTileColumns;
    weights_bytes = tile_rows * row_bytes;
    panel_bytes = panel_rows * row_bytes;
  }
};

inline std::int64_t linear_scratch_bytes(std::int64_t k) {
  using F32Plan = Plan<F32Dot<V>>;  // wider rows than bf16's
  const F32Plan plan(k);
  return max64(kTileBytes, plan.weights_bytes) + max64(kPanelBytes, plan.panel_bytes) + F32Plan::kCarryBytes;
}

/// Asks for the codes of the weight tile after this one, a part at each call of step(), so that decoding it finds them
/// in cache.
class NextTile {
 public:
  NextTile(const MatrixRef& w, std::int64_t n, std::int64_t n_end, std::int64_t tile_rows, std::int64_t steps) {
    const std::int64_t rows = max64(min64(tile_rows, n_end - n), 0);
    next_ = static_cast<const std::uint8_t*>(w.codes) + n * w.row_bytes;
    end_ = next_ + rows * w.row_bytes;
    part_ = round_up((end_ - next_) / steps + 1, 64);
  }
  HADAL_INLINE void step() {
    const std::uint8_t* to = end_ - next_ < part_ ? end_ : next_ + part_;
    for (; next_ < to; next_ += 64) __builtin_prefetch(next_, 0, 2);
  }

 private:
  const std::uint8_t* next_;
  const std::uint8_t* end_;
  std::int64_t part_;
};

/// Products of one packed panel with one decoded tile of weights.
template <class D>
void panel_times_tile(const Plan<D>& plan, const typename D::Packed* weights, const typename D::Packed* panel,
                      float* carry, std::int64_t count, const MatrixRef& w, std::int64_t n, std::int64_t n_end,
                      float* y, std::int64_t y_stride) {
  const std::int64_t outputs = min64(plan.tile_rows, n_end - n);
  const std::int64_t blocks = (count + V::kTileColumns - 1) / V::kTileColumns;  // of nearly equal size
  const std::int64_t chunks = (w.k + Plan<D>::kChunk - 1) / Plan<D>::kChunk;
  NextTile next_tile(w, n + outputs, n_end, plan.tile_rows, blocks * chunks * ((outputs + 3) / kWeightRows));
  for (std::int64_t block = 0; block < blocks; ++block) {
    const std::int64_t begin = count * block / blocks;
    const int columns = static_cast<int>(count * (block + 1) / blocks - begin);
    for (std::int64_t from = 0; from < w.k; from += Plan<D>::kChunk) {
      const std::int64_t width = min64(Plan<D>::kChunk, w.k - from);
      for (std::int64_t sub = 0; sub < outputs; sub += kWeightRows) {
        next_tile.step();
        const std::int64_t valid = min64(kWeightRows, outputs - sub);
        const std::uint8_t* scales[kWeightRows] = {};
        if constexpr (D::kBlockScaled) {
          const Rows<kWeightRows> in_place(w, n + sub, valid, D::kScaleRows);
          for (int r = 0; r < kWeightRows; ++r) scales[r] = in_place.scales[r] + from / kSegment * 4;
        }
        tile_of<typename D::Dot, D::kBlockScaled, V::kTileColumns>(
            columns, weights + sub * plan.stride + from, plan.stride, scales, panel + begin * plan.stride + from,
            plan.stride, width, from == 0, from + width == w.k, carry + sub / kWeightRows * Plan<D>::kCarry, valid,
            y + begin * y_stride + n + sub, y_stride);
      }
    }
  }
}

template <class D, class X>
void many_rows(const X* x, std::int64_t x_stride, std::int64_t rows, const MatrixRef& w, std::int64_t n_begin,
               std::int64_t n_end, float* y, std::int64_t y_stride, std::byte* scratch) {
  using Packed = typename D::Packed;
  const Plan<D> plan(w.k);
  auto* const weights = reinterpret_cast<Packed*>(scratch);
  auto* const panel = reinterpret_cast<Packed*>(scratch + plan.weights_bytes);
  auto* const carry = reinterpret_cast<float*>(scratch + plan.weights_bytes + plan.panel_bytes);
  for (std::int64_t first = 0; first < rows; first += plan.panel_rows) {
    const std::int64_t count = min64(plan.panel_rows, rows - first);
    pack_rows<D>(x + first * x_stride, x_stride, count, w.k, panel, plan.stride);
    for (std::int64_t n = n_begin; n < n_end; n += plan.tile_rows) {
      decode_rows<D>(w, n, min64(plan.tile_rows, n_end - n), weights, plan.stride);
      panel_times_tile<D>(plan, weights, panel, carry, count, w, n, n_end, y + first * y_stride, y_stride);
    }
  }
}

template <class D, int C, class X>
HADAL_INLINE void direct_of(int columns, const X* x, std::int64_t x_stride, const MatrixRef& w, std::int64_t n,
                            std::int64_t valid, float* y, std::int64_t y_stride) {
  if constexpr (C > 0) {
    if (columns == C) {
      direct<D, C == 1 ? D::kOneRow : kWeightRows, C>(x, x_stride, w, n, valid, y, y_stride);
    } else {
      direct_of<D, C - 1>(columns, x, x_stride, w, n, valid, y, y_stride);
    }
  }
}

template <class D, class X>
void multiply_as(const X* x, std::int64_t x_stride, std::int64_t rows, const MatrixRef& w, std::int64_t n_begin,
                 std::int64_t n_end, float* y, std::int64_t y_stride, std::byte* scratch) {
  if (rows > kDirectRows) return many_rows<D>(x, x_stride, rows, w, n_begin, n_end, y, y_stride, scratch);
  const std::int64_t blocks = (rows + D::kDirectColumns - 1) / D::kDirectColumns;  // of nearly equal size
  const std::int64_t group = rows == 1 ? D::kOneRow : kWeightRows;
  for (std::int64_t n = n_begin; n < n_end;) {
    std::int64_t valid = min64(group, n_end - n);
    if constexpr (D::kScaleRows > 1) valid = min64(valid, D::kScaleRows - n % D::kScaleRows);
    for (std::int64_t block = 0; block < blocks; ++block) {
      const std::int64_t begin = rows * block / blocks;
      const int columns = static_cast<int>(rows * (block + 1) / blocks - begin);
      direct_of<D, D::kDirectColumns>(columns, x + begin * x_stride, x_stride, w, n, valid, y + begin * y_stride + n,
                                      y_stride);
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
