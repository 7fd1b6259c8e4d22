#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "command.h"
#include "standard_streams.h"
#include "training_run.h"

namespace hadal::apps {
namespace {

struct Options {
  std::string config;
  TrainingFlags training;
};

Status run(const Options& options) {
  HADAL_ASSIGN(const train::TrainConfig config, train::read_train_config(options.config));
  HADAL_ASSIGN(const TrainingOutcome outcome, run_training(config, options.training));
  return write_standard_output(outcome.text);
}

}  // namespace

void add_train(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  CLI::App* const command = app.add_subcommand("train", "Train a model on prepared text");
  command->add_option("CONFIG", options->config, "Configuration of the run (TOML), see docs/training.md")->required();
  add_training_flags(*command, options->training);
  command->callback([options, &outcome] { outcome.status = run(*options); });
}

}  // namespace hadal::apps
