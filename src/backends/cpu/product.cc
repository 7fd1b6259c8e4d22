#include "backends/cpu/product.h"

#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

WeightFormat format_of(const ops::Weight& weight) {
  switch (weight.codes.type()) {
    case DType::kBf16:
      return WeightFormat::kBf16;
    case DType::kE4m3:
      return weight.scales.type() == DType::kF32 ? WeightFormat::kE4m3F32 : WeightFormat::kE4m3E8m0;
    case DType::kE2m1x2:
      return WeightFormat::kE2m1E8m0;
    default:
      return WeightFormat::kF32;
  }
}

}  // namespace

MatrixRef matrix_of(const ops::Weight& weight) {
  const TensorView& codes = weight.codes;
  MatrixRef matrix{.format = format_of(weight),
                   .codes = codes.bytes(),
                   .row_bytes = codes.stride(0) * size_of(codes.type()),
                   .n = weight.rows(),
                   .k = weight.columns()};
  if (!weight.scales.absent()) {
    matrix.scales = weight.scales.bytes();
    matrix.scale_row_bytes = weight.scales.stride(0) * size_of(weight.scales.type());
  }
  return matrix;
}

bool is_matrix(const ops::Weight& weight) {
  switch (weight.codes.type()) {
    case DType::kF32:
    case DType::kBf16:
      return true;
    case DType::kE4m3:
      return weight.scales.type() == DType::kF32 || weight.scales.type() == DType::kE8m0;
    case DType::kE2m1x2:
      return weight.scales.type() == DType::kE8m0;
    default:
      return false;
  }
}

void multiply(const CpuBackend& backend, DType x_type, const std::byte* x, std::int64_t x_stride, std::int64_t rows,
              const MatrixRef& w, std::int64_t n_begin, std::int64_t n_end, float* y, std::int64_t y_stride,
              std::byte* scratch) {
  const KernelTable& products = backend.products();
  if (x_type == DType::kBf16) {
    products.multiply_bf16(static_cast<const bf16*>(static_cast<const void*>(x)), x_stride, rows, w, n_begin, n_end, y,
                           y_stride, scratch);
  } else {
    products.multiply_f32(static_cast<const float*>(static_cast<const void*>(x)), x_stride, rows, w, n_begin, n_end, y,
                          y_stride, scratch);
  }
}

std::int64_t output_grain(std::int64_t work) {
  constexpr std::int64_t kTile = 16;  // outputs that the kernels compute together
  return (grain_of(work) + kTile - 1) / kTile * kTile;
}

std::int64_t product_scratch(const CpuBackend& backend, std::int64_t k) {
  return padded(backend.products().scratch_bytes(k));
}

std::int64_t product_scratch_of_all(const ops::Backend& backend, std::int64_t k) {
  return product_scratch(static_cast<const CpuBackend&>(backend), k) * backend.workers();
}

}  // namespace hadal::cpu
