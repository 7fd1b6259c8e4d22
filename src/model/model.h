#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "formats/model_config.h"
#include "formats/weight_source.h"
#include "model/numerics.h"
#include "model/state.h"
#include "model/step.h"
#include "model/weights.h"
#include "ops/backend.h"

namespace hadal::model {

/// Rotary frequencies 1 / theta^(2i / rope_dim), i < rope_dim / 2, in radians a position, for ratio-0 layers.
/// Every operation is rounded to float32, the power is taken in double and rounded once: the model was trained with
/// the resulting bits. Source: spec/model.md 2.2; official precompute_freqs_cis.
[[nodiscard]] std::vector<float> rope_frequencies(std::int64_t rope_dim, double theta);

/// The same with YaRN, for compressed layers: frequencies below the correction range are divided by scaling.factor,
/// those above are kept, between them is a linear ramp. scaling.original_max_position_embeddings 0: no YaRN.
[[nodiscard]] std::vector<float> rope_frequencies(std::int64_t rope_dim, double theta,
                                                  const formats::ModelConfig::RopeScaling& scaling);

/// A loaded model: configuration, weights and rotary tables in a backend's memory. Immutable; shared by any number of
/// executors. The weight source and the backend must outlive it.
class Model {
 public:
  /// Checks every tensor, then prepares them. Errors: kCorrupt or kNotFound with all that is wrong in one message,
  /// kUnsupported (the profile does not fit the dimensions), kResourceExhausted.
  [[nodiscard]] static Result<std::unique_ptr<Model>> load(ops::Backend& backend, const formats::WeightSource& source,
                                                           const formats::ModelConfig& config,
                                                           const NumericsProfile& profile);

  [[nodiscard]] ops::Backend& backend() const { return *backend_; }
  [[nodiscard]] const formats::ModelConfig& config() const { return config_; }
  [[nodiscard]] const NumericsProfile& profile() const { return profile_; }
  [[nodiscard]] const ModelWeights& weights() const { return weights_; }
  [[nodiscard]] const RopeTables& rope() const { return rope_; }
  [[nodiscard]] const formats::DrafterShape& drafter() const { return weights_.drafter.shape; }
  /// What the user should know about the checkpoint: extra tensors, why drafting is off.
  [[nodiscard]] const std::vector<std::string>& warnings() const { return warnings_; }
  /// A step of this model with activations in `arena`, on the rows that `tables` tells of; both must outlive it.
  [[nodiscard]] Step step(ops::Stream& stream, Arena& arena, const StatePool& pool, const ops::StepTables& tables,
                          const ActivationTap* tap = nullptr) const {
    return {.stream = stream,
            .arena = arena,
            .config = config_,
            .profile = profile_,
            .rope = rope_,
            .pool = pool,
            .tables = tables,
            .tap = tap};
  }
  [[nodiscard]] StateLayout state_layout() const { return StateLayout::make(config_, profile_, drafter()); }

 private:
  Model() = default;

  ops::Backend* backend_ = nullptr;
  formats::ModelConfig config_;
  NumericsProfile profile_;
  ModelWeights weights_;
  Buffer rope_memory_;
  RopeTables rope_;
  std::vector<std::string> warnings_;
};

}  // namespace hadal::model
