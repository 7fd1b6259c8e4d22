#pragma once

#include <CLI/App.hpp>
#include <cstdint>
#include <filesystem>
#include <string>

#include "base/result.h"
#include "train/train_config.h"
#include "train/trainer.h"

namespace hadal::apps {

/// Flags of every command that trains.
struct TrainingFlags {
  std::string checkpoints;  // folder; empty: the user's state folder, by the run's name
  bool resume = false;
  std::string backend;  // empty: the first known
  int threads = 0;
  std::int64_t max_steps = 0;
  double max_minutes = 0;
  bool quiet = false;
};

void add_training_flags(CLI::App& command, TrainingFlags& flags);

/// The folder of checkpoints and logs. Errors: kNotFound (no home).
[[nodiscard]] Result<std::filesystem::path> run_folder(const TrainingFlags& flags, const std::string& name);

/// What a session of training came to.
struct TrainingOutcome {
  train::Trainer::End end = train::Trainer::End::kFinished;
  std::filesystem::path checkpoint;  // the last one
  std::string text;                  // for the user
};

/// Trains with progress on the terminal until the end, a limit or Ctrl-C. Errors: those of the parts.
[[nodiscard]] Result<TrainingOutcome> run_training(const train::TrainConfig& config, const TrainingFlags& flags);

}  // namespace hadal::apps
