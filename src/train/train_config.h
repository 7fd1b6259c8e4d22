#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "train/adamw.h"
#include "train/data/data_loader.h"
#include "train/muon.h"
#include "train/schedule.h"

namespace hadal::train {

/// A source of documents under a name that stages can use.
struct NamedSource {
  std::string name;
  DataSource source;
};

/// A stretch of the run.
struct Stage {
  double until = 1;                   // share of all tokens
  std::int64_t sequence = 0;          // T: tokens of a row
  std::int64_t batch = 0;             // tokens of a step; a multiple of T
  bool dense_attention = false;       // ratio-4 layers attend to every visible entry, whatever the indexer chose
  bool quantized = false;             // weights are the values of their FP8 and FP4 codes
  std::vector<SourceWeight> mixture;  // like TrainConfig::sources
};

/// How far the program that trains works in the background of the run: nothing here changes the numbers.
struct OutputConfig {
  double checkpoint_minutes = 10;
  std::int64_t evaluate_every = 0;  // steps; 0: only at the end
  std::int64_t sample_every = 0;    // steps; 0: never
  std::vector<std::string> prompts;
  std::int64_t sample_tokens = 120;
};

/// What `hadal train` is asked to do. Format of the file: docs/training.md.
struct TrainConfig {
  std::string name;                 // of the run, for its folder
  std::filesystem::path model;      // a config.json
  std::filesystem::path tokenizer;  // tokenizer.json, or the folder with it; may be empty
  std::filesystem::path initial;    // checkpoint directory to start from; empty: from nothing
  std::uint64_t seed = 0;
  std::string numerics = "bf16";
  std::int64_t micro_batch = 16384;  // tokens
  bool recompute_layers = false;
  std::vector<NamedSource> sources;
  std::int64_t longest_piece = 8192;
  std::vector<std::filesystem::path> validation;  // prepared sets
  std::int64_t validation_tokens = 65536;
  Schedule schedule;
  AdamW::Options adam;
  Muon::Options muon;
  double clip = 1;
  double mtp_weight = 0.3;
  double mtp_weight_decaying = 0.1;  // from the start of the decay
  double balance_alpha = 1e-4;
  double bias_speed = 1e-3;
  double indexer_weight = 1;
  std::vector<Stage> stages;
  OutputConfig output;
  /// Everything that the numbers depend on, by its key in the file ("schedule.peak").
  std::map<std::string, std::string> settings;

  /// Index in `stages` of the step that begins after `tokens` tokens.
  [[nodiscard]] std::size_t stage_at(std::int64_t tokens) const;
  [[nodiscard]] std::int64_t longest_sequence() const;
};

/// Parses the text of a configuration; relative paths are relative to `folder`. `where` is named in messages.
/// Errors: kInvalidArgument with all that is wrong: unknown keys by name, values of a wrong type or out of range.
[[nodiscard]] Result<TrainConfig> parse_train_config(std::string_view text, const std::filesystem::path& folder,
                                                     std::string_view where);
[[nodiscard]] Result<TrainConfig> read_train_config(const std::filesystem::path& path);

}  // namespace hadal::train
