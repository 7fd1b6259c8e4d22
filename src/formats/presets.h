#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "formats/model_config.h"

namespace hadal::formats {

/// A configuration by name: flash, flash-0731, pro, pro-0813 (the official ones); bench (Flash's shapes with 4 layers,
/// 64 experts and 12,032 tokens, the model of the speed goals); tiny (every kind of layer in some 10 MB).
/// Errors: kInvalidArgument, naming the known ones.
[[nodiscard]] Result<ModelConfig> preset(std::string_view name);

/// "flash, flash-0731, ...".
[[nodiscard]] std::string preset_names();

enum class DrafterFields : std::uint8_t { kNone, kMtp, kDSpark };

/// The drafter that the fields describe; whether there is one is decided by the tensors.
[[nodiscard]] DrafterFields drafter_fields(const ModelConfig& config);

/// The same model with another drafter: compress_ratios' tail, num_nextn_predict_layers and dspark_* are replaced.
/// DSpark gets three stages, the last three layers as targets, and the last token as noise.
[[nodiscard]] ModelConfig with_drafter(ModelConfig config, DrafterFields drafter);

}  // namespace hadal::formats
