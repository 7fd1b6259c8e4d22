#pragma once

#include <cstdint>
#include <vector>

#include "formats/model_config.h"

namespace hadal::model {

/// Rotary frequencies 1 / theta^(2i / rope_dim), i < rope_dim / 2, in radians a position, for ratio-0 layers.
/// Every operation is rounded to float32, the power is taken in double and rounded once: the model was trained with
/// the resulting bits. Source: spec/model.md 2.2; official precompute_freqs_cis.
[[nodiscard]] std::vector<float> rope_frequencies(std::int64_t rope_dim, double theta);

/// The same with YaRN, for compressed layers: frequencies below the correction range are divided by scaling.factor,
/// those above are kept, between them is a linear ramp. scaling.original_max_position_embeddings 0: no YaRN.
[[nodiscard]] std::vector<float> rope_frequencies(std::int64_t rope_dim, double theta,
                                                  const formats::ModelConfig::RopeScaling& scaling);

}  // namespace hadal::model
