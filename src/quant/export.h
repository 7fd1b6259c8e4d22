#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "formats/model_config.h"
#include "formats/weight_source.h"

namespace hadal::quant {

enum class ExportFormat : std::uint8_t {
  kBf16,    // all matrices BF16
  kFp8Fp4,  // the official one: experts FP4, other linear weights FP8, the rest as in the BF16 layout
};

struct ExportRequest {
  std::filesystem::path directory;  // does not exist yet, or is empty
  ExportFormat format = ExportFormat::kFp8Fp4;
  std::vector<std::pair<std::string, std::string>> files{};            // more files for it: name, contents
  std::function<bool(std::int64_t, std::int64_t)> progress = nullptr;  // bytes done, of all; false: give up
};

/// What a tensor lost.
struct TensorError {
  std::string name;
  DType type = DType::kBf16;  // in the new file
  double relative_rms = 0;    // rms(written - original) / rms(original); 0 for a tensor of zeros
  double largest = 0;         // max |written - original|
};

/// Writes the model of a source (any layout that Hadal reads, or f32 masters) as a checkpoint directory. Values that
/// are those of codes already stay as they are. Returns an entry for every tensor of the new checkpoint that holds
/// numbers, in its order. Errors: those of check_tensors, TensorTable::make (dimensions that FP4 does not allow) and
/// CheckpointWriter; kInvalidArgument (a tensor holds a number that is not finite); kCancelled.
[[nodiscard]] Result<std::vector<TensorError>> export_model(const formats::WeightSource& source,
                                                            const formats::ModelConfig& config,
                                                            const ExportRequest& request);

}  // namespace hadal::quant
