#include "quant/export.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <utility>

#include "formats/checkpoint_writer.h"
#include "formats/tensor_check.h"
#include "quant/block_codes.h"
#include "quant/read_weight.h"

namespace hadal::quant {
namespace {

using formats::ExpectedTensor;
using formats::TensorRole;

/// The name of the weight that a tensor of scales belongs to.
std::string weight_name(const std::string& scale) {
  constexpr std::size_t kSuffix = std::string_view("scale").size();
  return scale.substr(0, scale.size() - kSuffix) + "weight";
}

TensorError compare(const ExpectedTensor& tensor, std::span<const float> original, std::span<const float> written) {
  double squares = 0;
  double lost = 0;
  TensorError error{.name = tensor.name, .type = tensor.type};
  for (std::size_t i = 0; i < original.size(); ++i) {
    const double difference = double{written[i]} - double{original[i]};
    squares += double{original[i]} * double{original[i]};
    lost += difference * difference;
    error.largest = std::max(error.largest, std::abs(difference));
  }
  if (squares > 0) error.relative_rms = std::sqrt(lost / squares);
  return error;
}

/// Turns the tensors of a source into those of a table and keeps account of the differences.
class Exporter {
 public:
  Exporter(const formats::WeightSource& source, const ExportRequest& request, std::int64_t total)
      : source_(source), request_(request), total_(total) {}

  Status write(const ExpectedTensor& tensor, formats::SafetensorsWriter& file) {
    std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.bytes()));
    if (tensor.type == DType::kI64) {
      HADAL_ASSIGN(const formats::HostTensor found, source_.tensor(tensor.name));
      std::memcpy(bytes.data(), found.data, bytes.size());
    } else if (tensor.role == TensorRole::kFp8Scale || tensor.role == TensorRole::kFp4Scale) {
      HADAL_TRY(make_scales(tensor, bytes));
    } else if (tensor.type == DType::kE4m3 || tensor.type == DType::kI8) {
      HADAL_TRY(make_codes(tensor, bytes));
    } else {
      HADAL_TRY(make_numbers(tensor, bytes));
    }
    HADAL_TRY(file.write(bytes));
    done_ += tensor.bytes();
    if (request_.progress && !request_.progress(done_, total_)) {
      return fail(ErrorCode::kCancelled, fmt::format("{}: was not written to its end", request_.directory.string()));
    }
    return {};
  }

  [[nodiscard]] std::vector<TensorError> take() { return std::move(errors_); }

 private:
  [[nodiscard]] Result<std::vector<float>> finite_values(const std::string& name, const Shape& shape) const {
    HADAL_ASSIGN(auto values, read_weight(source_, name, shape));
    if (!std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); })) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("{}: tensor '{}' holds a number that is not finite and has no code; the training went "
                              "wrong before it was saved, export an earlier state",
                              source_.description(), name));
    }
    return values;
  }

  /// Codes and scales of a weight with these extents.
  struct Quantized {
    std::vector<float> original;
    std::vector<std::byte> codes, scales;
  };
  [[nodiscard]] Result<Quantized> quantized(const std::string& name, MatrixShape shape, CodeFormat format) const {
    Quantized result;
    HADAL_ASSIGN(result.original, finite_values(name, {shape.rows, shape.columns}));
    result.codes.resize(static_cast<std::size_t>(code_bytes(shape, format)));
    result.scales.resize(static_cast<std::size_t>(scale_shape(shape, format).elements()));
    quantize(result.original, shape, format, result.codes, result.scales);
    return result;
  }

  Status make_codes(const ExpectedTensor& tensor, std::vector<std::byte>& bytes) {
    const bool fp4 = tensor.type == DType::kI8;
    const CodeFormat format = fp4 ? CodeFormat::kFp4Block32 : CodeFormat::kFp8Tile128;
    const MatrixShape shape{tensor.shape[0], tensor.shape[1] * (fp4 ? 2 : 1)};
    HADAL_ASSIGN(Quantized result, quantized(tensor.name, shape, format));
    std::vector<float> written(result.original.size());
    dequantize(result.codes, result.scales, shape, format, written);
    errors_.push_back(compare(tensor, result.original, written));
    bytes = std::move(result.codes);
    return {};
  }

  /// The official order puts a shard's scales before its codes, so the weight is quantised once for each.
  Status make_scales(const ExpectedTensor& tensor, std::vector<std::byte>& bytes) {
    const std::string name = weight_name(tensor.name);
    HADAL_ASSIGN(const formats::HostTensor weight, source_.tensor(name));
    const bool fp4 = tensor.role == TensorRole::kFp4Scale;
    const MatrixShape shape{weight.shape[0], weight.shape[1] * (weight.type == DType::kI8 ? 2 : 1)};
    HADAL_ASSIGN(Quantized result, quantized(name, shape, fp4 ? CodeFormat::kFp4Block32 : CodeFormat::kFp8Tile128));
    bytes = std::move(result.scales);
    return {};
  }

  Status make_numbers(const ExpectedTensor& tensor, std::vector<std::byte>& bytes) {
    HADAL_ASSIGN(const std::vector<float> values, finite_values(tensor.name, tensor.shape));
    std::vector<float> written(values.size());
    const TensorView out(bytes.data(), tensor.type, tensor.shape);
    for (std::size_t i = 0; i < values.size(); ++i) {
      store(out, static_cast<std::int64_t>(i), values[i]);
      written[i] = load<float>(out, static_cast<std::int64_t>(i));
    }
    errors_.push_back(compare(tensor, values, written));
    return {};
  }

  const formats::WeightSource& source_;
  const ExportRequest& request_;
  std::int64_t total_;
  std::int64_t done_ = 0;
  std::vector<TensorError> errors_;
};

}  // namespace

Result<std::vector<TensorError>> export_model(const formats::WeightSource& source, const formats::ModelConfig& config,
                                              const ExportRequest& request) {
  HADAL_ASSIGN(const formats::TensorCheck check, formats::check_tensors(config, source));
  const bool official = request.format == ExportFormat::kFp8Fp4;
  const formats::WeightFormats formats =
      official ? formats::WeightFormats{} : formats::WeightFormats{.linear = DType::kBf16, .expert = DType::kBf16};
  HADAL_ASSIGN(formats::TensorTable table, formats::TensorTable::make(config, check.drafter, formats));
  formats::ModelConfig written = config;
  written.expert_dtype = official ? "fp4" : "";
  HADAL_ASSIGN(
      formats::CheckpointWriter writer,
      formats::CheckpointWriter::create(request.directory, written, std::move(table), {.quantized = official}));
  Exporter exporter(source, request, writer.total_bytes());
  HADAL_TRY(writer.write_shards(
      [&](const ExpectedTensor& tensor, formats::SafetensorsWriter& file) { return exporter.write(tensor, file); }));
  for (const auto& [name, contents] : request.files) HADAL_TRY(writer.add_file(name, contents));
  HADAL_TRY(writer.publish());
  return exporter.take();
}

}  // namespace hadal::quant
