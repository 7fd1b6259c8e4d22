#pragma once

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
