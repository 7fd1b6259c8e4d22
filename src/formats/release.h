#pragma once

#include <optional>
#include <string>

#include "formats/model_config.h"
#include "formats/presets.h"
#include "tensor/dtype.h"

namespace hadal::formats {

/// What a person calls a checkpoint ("DeepSeek-V4-Flash-0731"): by its dimensions, its drafter and the type of its
/// experts. `experts`: as in the tensors; nothing when only the configuration is known.
[[nodiscard]] std::string release_name(const ModelConfig& config, DrafterFields drafter, std::optional<DType> experts);

}  // namespace hadal::formats
