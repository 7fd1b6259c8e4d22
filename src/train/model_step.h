#pragma once

#include <memory>

#include "base/result.h"
#include "model/model.h"
#include "model/weights.h"
#include "ops/backend.h"
#include "train/parameters.h"
#include "train/trainer.h"
#include "train/training_step.h"

namespace hadal::train {

/// The model over a run's working copies, and the passes that train it.
class ModelStep {
 public:
  /// `backend` and `parameters` must outlive it. Errors: those of Model::load and TrainingStep::create.
  [[nodiscard]] static Result<std::unique_ptr<ModelStep>> create(ops::Backend& backend, const Parameters& parameters,
                                                                 const TrainConfig& config);

  [[nodiscard]] const model::Model& model() const { return *model_; }
  /// Valid as long as this object.
  [[nodiscard]] StepFunctions functions();

 private:
  ModelStep() = default;

  std::unique_ptr<model::Model> model_;
  model::ModelWeights gradients_;
  std::unique_ptr<TrainingStep> step_;
};

}  // namespace hadal::train
