#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "backends/cpu/kernels/kernels.h"
#include "tensor/scalar.h"

namespace hadal::cpu::testing {

inline constexpr WeightFormat kFormats[] = {WeightFormat::kF32, WeightFormat::kBf16, WeightFormat::kE4m3E8m0,
                                            WeightFormat::kE4m3F32, WeightFormat::kE2m1E8m0};

inline std::string name(WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32:
      return "f32";
    case WeightFormat::kBf16:
      return "bf16";
    case WeightFormat::kE4m3E8m0:
      return "e4m3/e8m0";
    case WeightFormat::kE4m3F32:
      return "e4m3/f32";
    case WeightFormat::kE2m1E8m0:
      return "e2m1/e8m0";
  }
  return "?";
}

/// Tables that this processor can run.
inline std::vector<const KernelTable*> tables() {
  std::vector<const KernelTable*> found;
  for (const std::string_view isa : kInstructionSets) {
    if (const auto table = kernel_table(isa)) found.push_back(*table);
  }
  return found;
}

/// A random weight matrix in checkpoint layout. It starts one byte after an aligned address, rows have `gap` bytes
/// between them, and its buffers end where the matrix ends.
class TestMatrix {
 public:
  TestMatrix(WeightFormat format, std::int64_t n, std::int64_t k, std::uint64_t seed, std::int64_t gap = 0)
      : format_(format), n_(n), k_(k), random_(seed) {
    const std::int64_t bits = format == WeightFormat::kF32        ? 32
                              : format == WeightFormat::kBf16     ? 16
                              : format == WeightFormat::kE2m1E8m0 ? 4
                                                                  : 8;
    row_bytes_ = k * bits / 8 + gap;
    codes_.resize(static_cast<std::size_t>(1 + (n - 1) * row_bytes_ + k * bits / 8));
    fill_codes();
    if (format == WeightFormat::kE2m1E8m0) {
      scale_row_bytes_ = k / 32;
      scales_.resize(static_cast<std::size_t>(1 + n * scale_row_bytes_));
    } else if (format != WeightFormat::kF32 && format != WeightFormat::kBf16) {
      scale_row_bytes_ = (k + 127) / 128 * (format == WeightFormat::kE4m3F32 ? 4 : 1);
      scales_.resize(static_cast<std::size_t>(1 + (n + 127) / 128 * scale_row_bytes_));
    }
    fill_scales();
  }

  [[nodiscard]] MatrixRef ref() const {
    return {.format = format_,
            .codes = codes_.data() + 1,
            .row_bytes = row_bytes_,
            .scales = scales_.empty() ? nullptr : scales_.data() + 1,
            .scale_row_bytes = scale_row_bytes_,
            .n = n_,
            .k = k_};
  }

  [[nodiscard]] std::uint8_t* row(std::int64_t n) { return codes_.data() + 1 + n * row_bytes_; }
  void set_all_scales(std::uint8_t byte) { std::fill(scales_.begin(), scales_.end(), byte); }

  [[nodiscard]] double value(std::int64_t n, std::int64_t k) const {
    const std::uint8_t* row = codes_.data() + 1 + n * row_bytes_;
    const std::uint8_t* scales = scales_.data() + 1;
    switch (format_) {
      case WeightFormat::kF32:
        return read<float>(row + k * 4);
      case WeightFormat::kBf16:
        return to_f32(read<bf16>(row + k * 2));
      case WeightFormat::kE4m3E8m0:
        return static_cast<double>(e4m3_to_f32(row[k])) *
               static_cast<double>(e8m0_to_f32(scales[n / 128 * scale_row_bytes_ + k / 128]));
      case WeightFormat::kE4m3F32:
        return static_cast<double>(e4m3_to_f32(row[k])) *
               static_cast<double>(read<float>(scales + n / 128 * scale_row_bytes_ + k / 128 * 4));
      case WeightFormat::kE2m1E8m0:
        return static_cast<double>(e2m1_to_f32((k % 2 == 0 ? row[k / 2] : row[k / 2] >> 4) & 15)) *
               static_cast<double>(e8m0_to_f32(scales[n * scale_row_bytes_ + k / 32]));
    }
    return 0.0;
  }

 private:
  template <class T>
  static T read(const std::uint8_t* p) {
    T value;
    std::memcpy(&value, p, sizeof(value));
    return value;
  }

  void fill_codes() {
    for (std::uint8_t& byte : codes_) {
      byte = static_cast<std::uint8_t>(random_());
      if (format_ != WeightFormat::kE2m1E8m0 && (byte & 0x7F) == 0x7F) byte = 0x30;  // no NaN unless a test asks for it
    }
    std::normal_distribution<float> normal;
    for (std::int64_t n = 0; n < n_; ++n) {
      for (std::int64_t k = 0; k < k_; ++k) {
        const float value = normal(random_);
        if (format_ == WeightFormat::kF32) std::memcpy(row(n) + k * 4, &value, 4);
        const bf16 rounded = to_bf16(value);
        if (format_ == WeightFormat::kBf16) std::memcpy(row(n) + k * 2, &rounded, 2);
      }
    }
  }

  void fill_scales() {
    if (format_ == WeightFormat::kE4m3F32) {
      std::uniform_real_distribution<float> uniform(0.01F, 0.03F);
      for (std::size_t i = 1; i < scales_.size(); i += 4) {
        const float value = uniform(random_);
        std::memcpy(scales_.data() + i, &value, 4);
      }
    } else {
      for (std::uint8_t& byte : scales_) byte = static_cast<std::uint8_t>(118 + random_() % 9);
    }
  }

  WeightFormat format_;
  std::int64_t n_;
  std::int64_t k_;
  std::int64_t row_bytes_ = 0;
  std::int64_t scale_row_bytes_ = 0;
  std::mt19937_64 random_;
  std::vector<std::uint8_t> codes_;
  std::vector<std::uint8_t> scales_;
};

/// Random activations, as bf16 and as the same numbers in f32; rows `stride` elements apart, the last one ends the
/// buffer.
struct TestRows {
  TestRows(std::int64_t rows, std::int64_t k, std::int64_t stride_in, std::uint64_t seed) : stride(stride_in) {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal;
    f32.resize(static_cast<std::size_t>((rows - 1) * stride + k));
    narrow.resize(f32.size());
    for (std::size_t i = 0; i < f32.size(); ++i) {
      narrow[i] = to_bf16(normal(random));
      f32[i] = to_f32(narrow[i]);
    }
  }
  [[nodiscard]] float at(std::int64_t row, std::int64_t k) const {
    return f32[static_cast<std::size_t>(row * stride + k)];
  }
  std::int64_t stride;
  std::vector<float> f32;
  std::vector<bf16> narrow;
};

/// Scratch as the kernels ask for it.
class Scratch {
 public:
  explicit Scratch(std::int64_t bytes)
      : size_(static_cast<std::size_t>(bytes)),
        data_(static_cast<std::byte*>(::operator new(size_, std::align_val_t{64}))) {}
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { ::operator delete(data_, std::align_val_t{64}); }
  [[nodiscard]] std::byte* data() const { return data_; }

 private:
  std::size_t size_;
  std::byte* data_;
};

}  // namespace hadal::cpu::testing
