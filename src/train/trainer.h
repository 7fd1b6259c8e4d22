#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>

#include "base/result.h"
#include "base/thread_pool.h"
#include "ops/backend.h"
#include "train/adamw.h"
#include "train/batch.h"
#include "train/checkpoint_folder.h"
#include "train/gradient_norm.h"
#include "train/muon.h"
#include "train/parameters.h"
#include "train/run_log.h"
#include "train/run_state.h"
#include "train/spike_guard.h"
#include "train/train_config.h"
#include "train/training_step.h"
#include "train/validation.h"

namespace hadal::train {

/// Forward and backward passes over the parameters' working copies and gradients; as TrainingStep's functions.
struct StepFunctions {
  std::function<Result<StepLosses>(std::span<const TrainingSequence>, const BatchCounts&, const Objective&)> run;
  std::function<Result<StepLosses>(std::span<const TrainingSequence>, const Objective&)> evaluate;
};

/// Document parts that a micro-batch of a run has at most.
[[nodiscard]] std::int64_t most_sequences(const TrainConfig& config);

/// What a user wants to see after each step.
struct StepReport {
  const StepRecord& record;
  std::int64_t total_tokens = 0;
  double tokens_per_second = 0;  // of the last steps
};

/// A training run: data, model, optimisers, schedule, logs and checkpoints. The same configuration gives the same
/// bits, whether or not it was interrupted at any moment, and for any number of threads, as long as processor,
/// instruction set and libraries stay the same.
class Trainer {
 public:
  struct Setup {
    TrainConfig config;
    formats::ModelConfig model;
    std::filesystem::path folder;                    // of checkpoints and logs
    bool resume = false;                             // go on from the folder's last checkpoint
    std::map<std::string, std::string> environment;  // processor, instruction set, libraries: compared on resume
    std::function<Result<StepFunctions>(Parameters&)> make_step;
    std::int64_t max_steps = 0;  // of this session; 0: no limit
    double max_minutes = 0;      // likewise
    std::function<void(const StepReport&)> on_step = nullptr;
    std::function<Result<std::string>()> sample = nullptr;  // text that the model writes now
  };
  enum class End : std::uint8_t { kFinished, kMaxSteps, kMaxMinutes, kStopped };

  /// `backend` must outlive the trainer. Errors: kInvalidArgument (the folder holds a run already and resume is not
  /// set; another model than the checkpoint's), kNotFound (nothing to resume), those of the parts.
  [[nodiscard]] static Result<std::unique_ptr<Trainer>> create(ops::Backend& backend, Setup setup);

  /// Trains until the tokens are used up, a limit is reached or a stop is asked for; saves in any case. Errors:
  /// kResourceExhausted (full disk: earlier checkpoints stay), kInternal (the loss spikes again and again), those of
  /// data and backend.
  [[nodiscard]] Result<End> run(const std::stop_token& stop);

  [[nodiscard]] const RunState& state() const { return state_; }
  [[nodiscard]] const RunLog& log() const { return *log_; }
  [[nodiscard]] Parameters& parameters() { return *parameters_; }
  [[nodiscard]] std::filesystem::path last_checkpoint() const { return folder_->file(saved_step_); }

 private:
  using Clock = std::chrono::steady_clock;

  explicit Trainer(Setup setup, int threads) : setup_(std::move(setup)), pool_(threads), guard_({}) {}

  [[nodiscard]] Status open(ops::Backend& backend);
  [[nodiscard]] Status open_data();
  [[nodiscard]] Status start();
  [[nodiscard]] Status resume();
  [[nodiscard]] Status compare_with(const RunState& saved);
  [[nodiscard]] Status enter_stage();
  void refresh();

  [[nodiscard]] Status step();
  [[nodiscard]] Result<StepLosses> gradients(const Batch& batch, const Objective& objective);
  [[nodiscard]] Status update(const StepLosses& losses, const GradientNorms& norms, StepRecord& record);
  [[nodiscard]] Status go_back();
  void balance(const StepLosses& losses);
  void describe(const StepLosses& losses, StepRecord& record) const;
  [[nodiscard]] Objective objective() const;

  [[nodiscard]] Status after_step();
  [[nodiscard]] Result<bool> evaluate();  // true: better than ever
  [[nodiscard]] Status write_sample();
  [[nodiscard]] Status save(bool best);
  [[nodiscard]] Status write_plot() const;
  [[nodiscard]] const TrainConfig& config() const { return setup_.config; }
  [[nodiscard]] const Stage& stage() const { return config().stages[static_cast<std::size_t>(state_.stage)]; }
  [[nodiscard]] bool finished() const { return state_.tokens >= config().schedule.total_tokens; }

  Setup setup_;
  ThreadPool pool_;
  std::unique_ptr<Parameters> parameters_;
  std::unique_ptr<AdamW> adam_;
  std::unique_ptr<Muon> muon_;
  std::optional<DataLoader> loader_;
  std::optional<ValidationText> validation_;
  std::optional<CheckpointFolder> folder_;
  std::optional<RunLog> log_;
  StepFunctions functions_;
  SpikeGuard guard_;
  RunState state_;
  std::int64_t saved_step_ = -1;
  Clock::time_point saved_at_ = Clock::now();
  double speed_ = 0;  // tokens a second
};

}  // namespace hadal::train
