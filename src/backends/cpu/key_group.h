#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "backends/cpu/kernels/block_kernels.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {

/// A block's keys are taken in groups of at most so many: packed twice they stay in L2 with the block's rows.
inline constexpr std::int64_t kGroupKeys = 160;
/// Rows of a block whose scores against a group stay in L1.
inline constexpr std::int64_t kStripRows = 16;

/// Queries of a block: about this many rows of all heads.
inline constexpr std::int64_t kBlockRows = 128;
[[nodiscard]] constexpr std::int64_t block_queries(std::int64_t heads) {
  return heads >= kBlockRows ? 1 : kBlockRows / heads;
}

/// Shapes of a row of products' inputs: `words` words of 4 bytes hold `channels` values.
struct RowShape {
  const BlockProducts& products;
  std::int64_t channels;

  [[nodiscard]] std::int64_t words(std::int64_t count) const { return (count + products.values - 1) / products.values; }
  [[nodiscard]] std::int64_t words() const { return words(channels); }
};

/// Up to kGroupKeys keys of a block of queries: addresses of their rows and both packings.
class KeyGroup {
 public:
  static std::int64_t bytes(std::int64_t channels) {
    return padded(kGroupKeys * static_cast<std::int64_t>(sizeof(const std::byte*))) +
           2 * padded(kGroupKeys * (channels + 1) * static_cast<std::int64_t>(sizeof(float)));
  }
  KeyGroup(Carver& carver, RowShape shape, int lanes)
      : shape_(shape),
        tile_(2 * lanes),
        keys_(carver.take<const std::byte*>(kGroupKeys)),
        columns_(carver.take<float>(kGroupKeys * (shape.channels + 1))),
        rows_(carver.take<float>(kGroupKeys * (shape.channels + 1))) {}

  void clear() { count_ = 0; }
  void add(const std::byte* key) { keys_[count_++] = key; }
  [[nodiscard]] std::int64_t count() const { return count_; }
  [[nodiscard]] bool full() const { return count_ == kGroupKeys; }
  /// Scores of one row lie this far apart: whole tiles.
  [[nodiscard]] std::int64_t stride() const { return (count_ + tile_ - 1) / tile_ * tile_; }

  void pack_columns() { shape_.products.pack_columns(keys_, count_, shape_.channels, columns_, stride()); }
  void pack_rows() { shape_.products.pack_rows(keys_, count_, shape_.channels, rows_); }

  /// out [m, stride()] = rows . keys^T; `rows` are words, one row after the other. After pack_columns().
  void scores(const float* rows, std::int64_t m, float* out) const {
    const std::int64_t words = shape_.words();
    shape_.products.multiply(rows, words, 1, m, columns_, stride(), stride(), words, out, stride(), false);
  }
  /// out [m, channels] (+)= weights . keys; `weights` are rows of stride() values of the keys' type. After pack_rows().
  void combine(const float* weights, std::int64_t m, float* out, bool add) const {
    shape_.products.multiply(weights, shape_.words(stride()), 1, m, rows_, shape_.channels, shape_.channels,
                             shape_.words(count_), out, shape_.channels, add);
  }

 private:
  RowShape shape_;
  std::int64_t tile_;
  const std::byte** keys_;
  float* columns_;  // [words, stride()]
  float* rows_;     // [ceil(keys / values), channels]
  std::int64_t count_ = 0;
};

/// Rows of values of the products' type, and their packing for sums over the rows.
class PackedRows {
 public:
  static std::int64_t bytes(std::int64_t rows, std::int64_t width) {
    return 2 * padded((rows + 1) * (width + 1) * static_cast<std::int64_t>(sizeof(float))) +
           padded(rows * static_cast<std::int64_t>(sizeof(const std::byte*)));
  }
  /// Room for `rows` rows of at most `width` values.
  PackedRows(Carver& carver, const BlockProducts& products, std::int64_t rows, std::int64_t width)
      : products_(products),
        rows_(carver.take<float>((rows + 1) * (width + 1))),
        packed_(carver.take<float>((rows + 1) * (width + 1))),
        addresses_(carver.take<const std::byte*>(rows)) {}

  /// Rows of `width` values from now on.
  void set_width(std::int64_t width) {
    width_ = width;
    words_ = (width + products_.values - 1) / products_.values;
  }
  [[nodiscard]] float* row(std::int64_t i) const { return rows_ + i * words_; }
  void narrow(std::int64_t i, const float* values) const {
    pad(i);
    products_.narrow(values, row(i), width_);
  }
  void copy(std::int64_t i, const std::byte* values) const {
    pad(i);
    std::memcpy(row(i), values, static_cast<std::size_t>(width_ * 4 / products_.values));
  }
  /// Packs the rows [begin, begin + count) for add_products().
  void pack(std::int64_t begin, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) {
      addresses_[i] = static_cast<const std::byte*>(static_cast<const void*>(row(begin + i)));
    }
    products_.pack_rows(addresses_, count, width_, packed_);
    packed_count_ = count;
  }
  /// out [keys, width of b] (+)= sum over the packed rows of this[row][key] * b[row].
  void multiply(const PackedRows& b, std::int64_t keys, float* out, bool add) const {
    const std::int64_t words = (packed_count_ + products_.values - 1) / products_.values;
    products_.multiply(packed_, 1, width_, keys, b.packed_, b.width_, b.width_, words, out, b.width_, add);
  }

 private:
  void pad(std::int64_t i) const {
    if (width_ % products_.values != 0) row(i)[words_ - 1] = 0;
  }

  const BlockProducts& products_;
  float* rows_;    // [rows, words]
  float* packed_;  // [ceil(rows / values), width]
  const std::byte** addresses_;
  std::int64_t width_ = 0;
  std::int64_t words_ = 0;
  std::int64_t packed_count_ = 0;
};

}  // namespace hadal::cpu
