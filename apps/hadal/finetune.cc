#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/mapped_file.h"
#include "base/units.h"
#include "command.h"
#include "export_checkpoint.h"
#include "prepare_run.h"
#include "shipped_model.h"
#include "standard_streams.h"
#include "train/data/prepare.h"
#include "train/finetune.h"
#include "training_run.h"

namespace hadal::apps {
namespace {

namespace fs = std::filesystem;

struct Options {
  train::FinetuneOptions tuning;
  std::string model;
  std::vector<std::string> inputs;
  std::string out;
  std::string format = "fp8+fp4";
  double valid = 2;  // per cent
  TrainingFlags training;
};

/// Which inputs are prepared already, and which are to be.
struct Inputs {
  std::vector<fs::path> prepared;
  std::vector<fs::path> raw;
};

Inputs sort_inputs(const std::vector<std::string>& inputs) {
  Inputs sorted;
  for (const fs::path path : inputs) {
    (fs::exists(path / "meta.json") ? sorted.prepared : sorted.raw).push_back(path);
  }
  return sorted;
}

/// Turns the raw inputs into prepared sets below `folder`, with the model's tokenizer.
Status prepare(const Options& options, const std::vector<fs::path>& raw, const fs::path& folder,
               train::FinetuneOptions& tuning) {
  train::PrepareOptions request{.inputs = raw, .out = folder, .tokenizer = tuning.model};
  request.valid_share = options.valid / 100;
  HADAL_ASSIGN(const train::PrepareReport report, run_preparation(std::move(request)));
  for (const train::PreparedSet& set : report.sets) {
    if (set.split == train::Split::kTrain) tuning.sets.push_back(folder / set.folder);
    if (set.split == train::Split::kValid) tuning.validation.push_back(folder / set.folder);
    const auto longer =
        std::count_if(set.lengths.begin(), set.lengths.end(), [&](auto length) { return length > tuning.sequence; });
    if (!set.meta.has_mask || longer == 0) continue;
    log::warning(
        "{}: {} of {} conversations are longer than {} tokens: they end at the last answer that fits; "
        "--sequence makes room",
        set.folder, with_separators(longer), with_separators(set.meta.totals().documents), tuning.sequence);
  }
  return {};
}

Status check_out(const fs::path& out) {
  std::error_code error;
  if (!fs::exists(out, error) || fs::is_empty(out, error)) return {};
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("{}: exists and is not empty; name another directory for the tuned model", out.string()));
}

Status write_config(const Options& options, const fs::path& data, const fs::path& config) {
  train::FinetuneOptions tuning = options.tuning;
  tuning.model = options.model;
  Inputs inputs = sort_inputs(options.inputs);
  tuning.sets = std::move(inputs.prepared);
  if (!inputs.raw.empty()) HADAL_TRY(prepare(options, inputs.raw, data, tuning));
  HADAL_ASSIGN(const std::string text, train::finetune_config(tuning));
  return write_file_atomically(config, text);
}

/// Writes the configuration of a new run, with its data.
Status begin(const Options& options, const fs::path& folder, const fs::path& config) {
  const fs::path data = folder / "finetune-data";
  for (const fs::path& old : {config, data}) {
    if (!fs::exists(old)) continue;
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: is there already; go on with --resume, or name another folder with --checkpoints",
                            old.string()));
  }
  if (options.inputs.empty()) {
    return fail(ErrorCode::kInvalidArgument, "no conversations are given; name JSONL files, or prepared sets");
  }
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    return fail(ErrorCode::kUnavailable, fmt::format("{}: cannot be made: {}", folder.string(), error.message()));
  }
  // What is wrong with the inputs shows when they are read: then nothing stays that would stop the next attempt.
  const Status written = write_config(options, data, config);
  if (!written) fs::remove_all(data, error);
  return written;
}

Status run(Options& options) {
  HADAL_TRY(check_out(options.out));
  HADAL_ASSIGN(options.model, find_model(options.model));
  if (options.tuning.name.empty()) {
    fs::path out = fs::absolute(options.out).lexically_normal();
    if (!out.has_filename()) out = out.parent_path();  // "my-assistant/"
    options.tuning.name = out.filename().string();
  }
  HADAL_ASSIGN(const fs::path folder, run_folder(options.training, options.tuning.name));
  const fs::path config = folder / "finetune.toml";
  if (!options.training.resume) HADAL_TRY(begin(options, folder, config));
  HADAL_ASSIGN(const train::TrainConfig settings, train::read_train_config(config));
  HADAL_ASSIGN(const TrainingOutcome outcome, run_training(settings, options.training));
  HADAL_TRY(write_standard_output(outcome.text));
  if (outcome.end != train::Trainer::End::kFinished) return {};
  HADAL_ASSIGN(const std::string text, export_checkpoint({.checkpoint = outcome.checkpoint.string(),
                                                          .out = options.out,
                                                          .format = options.format,
                                                          .tokenizer = options.model}));
  return write_standard_output(text);
}

}  // namespace

void add_finetune(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  train::FinetuneOptions& tuning = options->tuning;
  CLI::App* const command = app.add_subcommand("finetune", "Tune a model on conversations (all weights)");
  command->add_option("MODEL", options->model, "Checkpoint directory with a tokenizer, or nano")->required();
  command->add_option("INPUT", options->inputs,
                      "Conversations (JSONL, 'messages' a line; loss on the assistant's turns) and plain texts (JSONL "
                      "with 'text', .txt, .md) that keep the model from forgetting; or folders that hadal data prepare "
                      "made");
  command->add_option("--out", options->out, "Directory of the tuned model")->required();
  command->add_option("--format", options->format, "fp8+fp4: the official layout; bf16: all matrices BF16")
      ->check(CLI::IsMember({"bf16", "fp8+fp4"}))
      ->capture_default_str();
  command->add_option("--name", tuning.name, "Name of the run (default: that of the directory)");
  command->add_option("--epochs", tuning.epochs, "Passes over the conversations")->capture_default_str();
  command->add_option("--plain-share", tuning.plain_share, "Share of plain text among all tokens, when there is some")
      ->capture_default_str();
  command->add_option("--learning-rate", tuning.learning_rate, "Peak; rises for 20 steps and falls linearly to 0")
      ->capture_default_str();
  command->add_option("--sequence", tuning.sequence, "Tokens of a row; conversations are packed into it")
      ->check(CLI::Range(2, 1 << 24))
      ->capture_default_str();
  command->add_option("--batch", tuning.batch, "Tokens of a step")
      ->check(CLI::Range(1, 1 << 28))
      ->capture_default_str();
  command->add_option("--micro-batch", tuning.micro_batch, "Tokens that go through the model together: sets the memory")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  command->add_option("--seed", tuning.seed, "Of the order of the data")->capture_default_str();
  command->add_option("--valid", options->valid, "Per cent of the documents kept aside to measure the loss on")
      ->check(CLI::Range(0.0, 50.0))
      ->capture_default_str();
  command->add_flag("!--no-quantization", tuning.quantized, "Do not train with the values of the FP8 and FP4 codes");
  add_training_flags(*command, options->training);
  command->callback([options, &outcome] { outcome.status = run(*options); });
}

}  // namespace hadal::apps
