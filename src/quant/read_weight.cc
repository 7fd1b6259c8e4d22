#include "quant/read_weight.h"

#include <fmt/core.h>

#include <string>

#include "tensor/scale_blocks.h"

namespace hadal::quant {
namespace {

constexpr std::string_view kWeight = ".weight";

tl::unexpected<Error> misshapen(std::string_view name, const formats::HostTensor& found, const Shape& wanted) {
  return fail(ErrorCode::kCorrupt, fmt::format("tensor '{}' is {} {}, but must be {}", name, hadal::name(found.type),
                                               to_string(found.shape), to_string(wanted)));
}

TensorView view_of(const formats::HostTensor& tensor) {
  return {const_cast<std::byte*>(tensor.data), tensor.type, tensor.shape};
}

/// Multiplies values [rows, columns] by the scale of their block.
void apply_scales(std::vector<float>& values, const Shape& shape, const formats::HostTensor& scales,
                  std::int64_t block_rows, std::int64_t block_columns) {
  const TensorView view = view_of(scales);
  for (std::int64_t row = 0; row < shape[0]; ++row) {
    for (std::int64_t column = 0; column < shape[1]; ++column) {
      const std::int64_t block = row / block_rows * scales.shape[1] + column / block_columns;
      values[static_cast<std::size_t>(row * shape[1] + column)] *= load<float>(view, block);
    }
  }
}

}  // namespace

Result<std::vector<float>> read_weight(const formats::WeightSource& source, std::string_view name, const Shape& shape) {
  HADAL_ASSIGN(const formats::HostTensor found, source.tensor(name));
  const bool fp4 = found.type == DType::kI8;
  const bool fp8 = found.type == DType::kE4m3;
  if (!fp4 && !fp8 && found.type != DType::kBf16 && found.type != DType::kF32) return misshapen(name, found, shape);
  if ((fp4 || fp8) && (shape.rank() != 2 || !name.ends_with(kWeight))) return misshapen(name, found, shape);
  const Shape stored = fp4 ? Shape{shape[0], shape[1] / 2} : shape;
  if (found.shape != stored || (fp4 && shape[1] % kFp4Block != 0)) return misshapen(name, found, stored);

  std::vector<float> values(static_cast<std::size_t>(shape.elements()));
  if (fp4) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto pair = std::to_integer<std::uint8_t>(found.data[i / 2]);
      values[i] = e2m1_to_f32(static_cast<std::uint8_t>(i % 2 == 0 ? pair & 15U : pair >> 4));
    }
  } else {
    const TensorView view = view_of(found);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = load<float>(view, static_cast<std::int64_t>(i));
  }
  if (!fp4 && !fp8) return values;

  const std::string scale_name = fmt::format("{}.scale", name.substr(0, name.size() - kWeight.size()));
  HADAL_ASSIGN(const formats::HostTensor scales, source.tensor(scale_name));
  const std::int64_t block_rows = fp4 ? 1 : kFp8Tile;
  const std::int64_t block_columns = fp4 ? kFp4Block : kFp8Tile;
  const Shape blocks{(shape[0] + block_rows - 1) / block_rows, (shape[1] + block_columns - 1) / block_columns};
  const bool type_fits = scales.type == DType::kE8m0 || (fp8 && scales.type == DType::kF32);
  if (scales.shape != blocks || !type_fits) return misshapen(scale_name, scales, blocks);
  apply_scales(values, shape, scales, block_rows, block_columns);
  return values;
}

}  // namespace hadal::quant
