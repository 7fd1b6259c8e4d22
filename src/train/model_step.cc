#include "train/model_step.h"

namespace hadal::train {

Result<std::unique_ptr<ModelStep>> ModelStep::create(ops::Backend& backend, const Parameters& parameters,
                                                     const TrainConfig& config) {
  std::unique_ptr<ModelStep> made(new ModelStep);
  HADAL_ASSIGN(const model::NumericsProfile profile, model::numerics_profile(config.numerics));
  HADAL_ASSIGN(made->model_, model::Model::load(backend, parameters.weights(), parameters.config(), profile));
  HADAL_ASSIGN(made->gradients_, model::ModelWeights::load(parameters.gradients(), parameters.config(),
                                                           made->model_->drafter(), backend));
  const TrainingStep::Limits limits{
      .rows = config.micro_batch, .sequences = most_sequences(config), .max_tokens = config.longest_sequence()};
  HADAL_ASSIGN(made->step_, TrainingStep::create(*made->model_, made->gradients_, limits,
                                                 config.recompute_layers ? Recompute::kLayer : Recompute::kNone));
  return made;
}

StepFunctions ModelStep::functions() {
  return {
      .run = [this](auto sequences, const BatchCounts& batch,
                    const Objective& objective) { return step_->run(sequences, batch, objective); },
      .evaluate = [this](auto sequences, const Objective& objective) { return step_->evaluate(sequences, objective); }};
}

}  // namespace hadal::train
