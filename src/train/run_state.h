#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/weight_source.h"
#include "train/adamw.h"
#include "train/checkpoint_file.h"
#include "train/data/data_state.h"
#include "train/muon.h"
#include "train/parameters.h"
#include "train/spike_guard.h"

namespace hadal::train {

/// The state of a run beside its tensors.
struct RunState {
  std::int64_t step = 0;    // steps taken
  std::int64_t tokens = 0;  // seen
  std::int64_t stage = 0;   // whose lengths and mixture `data` has
  double seconds = 0;       // of computing, over all sessions
  std::int64_t adam_steps = 0;
  SpikeGuard::State spikes;
  std::int64_t returned_to = -1;                   // step of the checkpoint that a loss spike last went back to
  std::optional<double> best_loss;                 // of the evaluations
  DataState data;                                  // before the next row
  std::string model_config;                        // config.json
  std::map<std::string, std::string> settings;     // TrainConfig::settings
  std::map<std::string, std::string> environment;  // what the bits depend on: processor, instruction set, libraries
  std::string tokenizer_sha256;

  bool operator==(const RunState&) const = default;
};

/// A JSON text; doubles keep every bit.
[[nodiscard]] std::string to_json(const RunState& state);
/// Errors: kCorrupt.
[[nodiscard]] Result<RunState> parse_run_state(std::string_view json, std::string_view where);

/// Everything that changes while a model is trained.
struct RunTensors {
  Parameters& parameters;
  AdamW& adam;
  Muon& muon;
};

/// Writes state and tensors as one file. Errors: those of write_checkpoint_file.
[[nodiscard]] Status save_run(const std::filesystem::path& path, const RunState& state, const RunTensors& tensors);
/// The inverse. Errors: kCorrupt (a tensor is missing or of another shape); the tensors are in no known state then.
[[nodiscard]] Status load_tensors(const CheckpointFile& file, const RunTensors& tensors);

/// The masters of a training checkpoint under their official names.
class MasterSource final : public formats::WeightSource {
 public:
  explicit MasterSource(const CheckpointFile& file);

  [[nodiscard]] Result<formats::HostTensor> tensor(std::string_view name) const override;
  [[nodiscard]] bool contains(std::string_view name) const override { return tensors_.contains(name); }
  [[nodiscard]] std::vector<std::string> names() const override;
  [[nodiscard]] std::string description() const override { return description_; }

 private:
  std::string description_;
  std::map<std::string, formats::HostTensor, std::less<>> tensors_;
};

}  // namespace hadal::train
