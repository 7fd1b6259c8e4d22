#include "training_run.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <memory>
#include <optional>

#include "backends/registry.h"
#include "base/log.h"
#include "base/units.h"
#include "engine/session.h"
#include "formats/model_config.h"
#include "interrupt.h"
#include "model/executor.h"
#include "progress.h"
#include "text/tokenizer.h"
#include "train/checkpoint_folder.h"
#include "train/model_step.h"

namespace hadal::apps {
namespace {

namespace fs = std::filesystem;

/// The processor's name, as the system gives it.
std::string processor() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (const std::size_t at = line.find(": "); line.starts_with("model name") && at != std::string::npos) {
      return line.substr(at + 2);
    }
  }
  return "unknown";
}

/// Keeps an answer's text.
class TextSink final : public engine::TokenSink {
 public:
  Status prefilled(std::int64_t /*done*/, std::int64_t /*total*/) override { return {}; }
  Result<bool> token(const engine::TokenEvent& event) override {
    text += event.text;
    return false;
  }
  Status tail(std::string_view rest) override {
    text += rest;
    return {};
  }
  std::string text;
};

/// Lets the model that is being trained go on with the prompts of the configuration: always the same way to choose.
class Sampler {
 public:
  Sampler(ops::Backend& backend, const train::TrainConfig& config) : backend_(backend), config_(config) {}

  Status load_tokenizer() {
    if (config_.output.sample_every == 0 || config_.output.prompts.empty()) return {};
    if (config_.tokenizer.empty()) {
      return fail(ErrorCode::kInvalidArgument,
                  "output.sample_every is set, but no tokenizer is named to read and write text with");
    }
    HADAL_ASSIGN(auto tokenizer, text::Tokenizer::load(config_.tokenizer));
    tokenizer_.emplace(std::move(tokenizer));
    return {};
  }

  Result<std::string> sample(const model::Model& model) const {
    std::string text;
    for (const std::string& prompt : config_.output.prompts) {
      std::vector<std::int64_t> tokens{model.config().bos_token_id};
      HADAL_ASSIGN(const auto encoded, tokenizer_->encode(prompt, {.added_tokens = text::AddedTokens::kOff}));
      tokens.insert(tokens.end(), encoded.begin(), encoded.end());
      HADAL_ASSIGN(const std::string answer, answer_to(model, tokens));
      text += prompt + answer + "\n\n";
    }
    return text;
  }
  [[nodiscard]] bool active() const { return tokenizer_.has_value(); }

 private:
  Result<std::string> answer_to(const model::Model& model, std::span<const std::int64_t> tokens) const {
    const std::int64_t context = static_cast<std::int64_t>(tokens.size()) + config_.output.sample_tokens;
    const std::int64_t pages = (context + ops::kPageTokens - 1) / ops::kPageTokens;
    HADAL_ASSIGN(const auto pool, model::StatePool::create(backend_, model.state_layout(), 1, pages));
    HADAL_ASSIGN(const auto executor,
                 model::Executor::create(model, *pool,
                                         {.max_rows = std::min<std::int64_t>(context, 256), .max_tokens = context}));
    HADAL_ASSIGN(const auto session, engine::Session::create(*executor, &*tokenizer_, {.chunk = 256}));
    HADAL_TRY(session->set_prompt(tokens));
    TextSink sink;
    HADAL_TRY(session->generate({.sampling = {.temperature = 0.8, .top_p = 0.95, .seed = config_.seed},
                                 .max_tokens = config_.output.sample_tokens,
                                 .stop_tokens = {model.config().eos_token_id},
                                 .drafts = engine::DraftMode::kOff},
                                sink));
    return sink.text;
  }

  ops::Backend& backend_;
  const train::TrainConfig& config_;
  std::optional<text::Tokenizer> tokenizer_;
};

/// One line on the terminal while it runs, or nothing.
class Display {
 public:
  explicit Display(bool quiet) : quiet_(quiet), progress_("Training") {}

  void show(const train::StepReport& report) {
    if (quiet_) return;
    if (first_) progress_.start_at(report.record.tokens);
    first_ = false;
    progress_.update(report.record.tokens, report.total_tokens,
                     fmt::format("loss {:.4f}, {} tokens/s", report.record.loss,
                                 with_separators(static_cast<std::int64_t>(report.tokens_per_second))));
  }
  void clear() { progress_.clear(); }

 private:
  bool quiet_;
  bool first_ = true;
  ProgressBar progress_;
};

std::string conclusion(const train::Trainer& trainer, train::Trainer::End end, const fs::path& folder) {
  const char* why = "";
  switch (end) {
    case train::Trainer::End::kFinished:
      why = "finished";
      break;
    case train::Trainer::End::kMaxSteps:
      why = "stopped after --max-steps";
      break;
    case train::Trainer::End::kMaxMinutes:
      why = "stopped after --max-minutes";
      break;
    case train::Trainer::End::kStopped:
      why = "stopped";
      break;
  }
  std::string text = fmt::format("{} at step {}, {} tokens", why, with_separators(trainer.state().step),
                                 with_separators(trainer.state().tokens));
  if (!trainer.log().records().empty()) text += fmt::format(", loss {:.4f}", trainer.log().records().back().loss);
  if (!trainer.log().evaluations().empty()) {
    const train::Evaluation& last = trainer.log().evaluations().back();
    text += fmt::format("; held-out text: {:.4f} nats a token, {:.4f} bits per byte", last.loss, last.bits_per_byte);
  }
  text += fmt::format("\ncheckpoints, steps.csv and plot.svg are in {}", folder.string());
  if (end != train::Trainer::End::kFinished) text += "; go on with --resume";
  return text + "\n";
}

}  // namespace

void add_training_flags(CLI::App& command, TrainingFlags& flags) {
  command.add_option("--checkpoints", flags.checkpoints,
                     "Folder of checkpoints and logs (default: the user's state folder, by the run's name)");
  command.add_flag("--resume", flags.resume, "Go on from the last checkpoint");
  command.add_option("--max-steps", flags.max_steps, "Save and stop after so many steps")
      ->check(CLI::NonNegativeNumber);
  command.add_option("--max-minutes", flags.max_minutes, "Save and stop after so many minutes")
      ->check(CLI::NonNegativeNumber);
  command.add_option("--backend", flags.backend, "Backend (default: the first there is)");
  command.add_option("--threads", flags.threads, "Threads (default: all processors)")->check(CLI::Range(0, 1024));
  command.add_flag("--quiet", flags.quiet, "Show no progress");
}

Result<fs::path> run_folder(const TrainingFlags& flags, const std::string& name) {
  if (!flags.checkpoints.empty()) return fs::path(flags.checkpoints);
  return train::default_run_folder(name);
}

Result<TrainingOutcome> run_training(const train::TrainConfig& config, const TrainingFlags& flags) {
  log::set_level(flags.quiet ? log::Level::kWarning : log::Level::kInfo);
  HADAL_ASSIGN(const formats::ModelConfig model, formats::read_model_config(config.model));
  HADAL_ASSIGN(const fs::path folder, run_folder(flags, config.name));
  const std::string_view name = flags.backend.empty() ? backends::backend_names().front() : flags.backend;
  HADAL_ASSIGN(const auto backend, backends::create_backend(name, flags.threads));
  Sampler sampler(*backend, config);
  HADAL_TRY(sampler.load_tokenizer());

  Display display(flags.quiet);
  std::unique_ptr<train::ModelStep> step;
  train::Trainer::Setup setup{.config = config,
                              .model = model,
                              .folder = folder,
                              .resume = flags.resume,
                              .environment = {{"backend", std::string(backend->name())},
                                              {"instruction set", std::string(backend->instruction_set())},
                                              {"processor", processor()}},
                              .make_step = {},
                              .max_steps = flags.max_steps,
                              .max_minutes = flags.max_minutes};
  setup.make_step = [&](train::Parameters& parameters) -> Result<train::StepFunctions> {
    HADAL_ASSIGN(step, train::ModelStep::create(*backend, parameters, config));
    return step->functions();
  };
  setup.on_step = [&](const train::StepReport& report) { display.show(report); };
  if (sampler.active()) setup.sample = [&] { return sampler.sample(step->model()); };

  Interrupt interrupt;
  const std::stop_token stop = interrupt.begin();
  HADAL_ASSIGN(const auto trainer, train::Trainer::create(*backend, std::move(setup)));
  const auto end = trainer->run(stop);
  display.clear();
  if (!end) return tl::unexpected<Error>(end.error());
  return TrainingOutcome{
      .end = *end, .checkpoint = trainer->last_checkpoint(), .text = conclusion(*trainer, *end, folder)};
}

}  // namespace hadal::apps
