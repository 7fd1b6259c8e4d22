#include "train/trainer.h"

#include <fmt/core.h>

#include <algorithm>
#include <numbers>
#include <utility>

#include "base/log.h"
#include "base/mapped_file.h"
#include "base/units.h"
#include "formats/checkpoint.h"
#include "train/balance.h"
#include "train/initialization.h"
#include "train/plot.h"
#include "train/token_counts.h"

namespace hadal::train {
namespace {

namespace fs = std::filesystem;

/// Document parts that a micro-batch has room for.
constexpr std::int64_t kTokensPerSequence = 64;
constexpr std::int64_t kFewestSequences = 16;

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double ratio(double value, std::int64_t count) { return count == 0 ? 0 : value / static_cast<double>(count); }

/// The biases of a layer's experts, the MTP layer counting on after the main ones; null where routing is not learned.
const Parameter* biases_of(const Parameters& parameters, std::size_t layer) {
  const auto main = static_cast<std::size_t>(parameters.config().num_hidden_layers);
  return parameters.find(layer < main ? fmt::format("layers.{}.ffn.gate.bias", layer)
                                      : fmt::format("mtp.{}.ffn.gate.bias", layer - main));
}

}  // namespace

std::int64_t most_sequences(const TrainConfig& config) {
  return std::max(config.micro_batch / kTokensPerSequence, kFewestSequences);
}

Result<std::unique_ptr<Trainer>> Trainer::create(ops::Backend& backend, Setup setup) {
  std::unique_ptr<Trainer> trainer(new Trainer(std::move(setup), backend.workers()));
  HADAL_TRY(trainer->open(backend));
  return trainer;
}

Status Trainer::open(ops::Backend& backend) {
  const bool bf16 = config().numerics == "bf16";
  HADAL_ASSIGN(parameters_, Parameters::create(setup_.model, {.working = bf16 ? DType::kBf16 : DType::kF32}, backend));
  adam_ = std::make_unique<AdamW>(*parameters_, config().adam);
  Muon::Options muon = config().muon;
  muon.product = bf16 ? DType::kBf16 : DType::kF32;
  HADAL_ASSIGN(muon_, Muon::create(*parameters_, muon, backend));
  HADAL_TRY(open_data());
  HADAL_ASSIGN(folder_, CheckpointFolder::open(setup_.folder));

  state_.model_config = formats::model_config_json(setup_.model, false);
  state_.settings = config().settings;
  state_.environment = setup_.environment;
  state_.tokenizer_sha256 = loader_->sets().front().meta().tokenizer_sha256;
  HADAL_TRY(setup_.resume ? resume() : start());
  HADAL_ASSIGN(log_, RunLog::open(setup_.folder / "steps.csv", setup_.folder / "evaluations.csv", state_.step));
  HADAL_TRY(enter_stage());
  refresh();
  HADAL_ASSIGN(functions_, setup_.make_step(*parameters_));
  // What a run goes back to when its first steps fail.
  if (!setup_.resume) return save(false);
  saved_step_ = state_.step;
  return {};
}

Status Trainer::open_data() {
  DataConfig data{.sources = {},
                  .seq_len = config().stages.front().sequence,
                  .longest_piece = config().longest_piece,
                  .seed = config().seed};
  for (std::size_t i = 0; i < config().sources.size(); ++i) {
    data.sources.push_back(config().sources[i].source);
    data.sources.back().weight = config().stages.front().mixture[i];
  }
  HADAL_ASSIGN(loader_, DataLoader::open(data));
  if (loader_->vocab_size() > setup_.model.vocab_size) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: the text was prepared with a vocabulary of {}, but the model has {} tokens; set "
                            "vocab_size in {}",
                            loader_->sets().front().folder().string(), loader_->vocab_size(), setup_.model.vocab_size,
                            config().model.string()));
  }
  HADAL_ASSIGN(validation_,
               ValidationText::open(config().validation, config().validation_tokens, config().longest_sequence(),
                                    loader_->sets().front().meta().tokenizer_sha256));
  return {};
}

Status Trainer::start() {
  if (const auto steps = folder_->steps(); !steps.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: holds a run at step {} already; go on with --resume, or name another folder with "
                            "--checkpoints",
                            setup_.folder.string(), steps.front()));
  }
  // The table of hash routing has as many tokens as the model; those beyond the tokenizer's never occur.
  HADAL_ASSIGN(std::vector<std::int64_t> counts, token_counts(*loader_));
  counts.resize(static_cast<std::size_t>(setup_.model.vocab_size));
  initialize(*parameters_, config().seed, counts, pool_);
  if (config().initial.empty()) return {};
  HADAL_ASSIGN(const auto initial, formats::Checkpoint::open(config().initial));
  return parameters_->load_master(*initial);
}

Status Trainer::resume() {
  HADAL_ASSIGN(const std::optional<CheckpointFile> file, folder_->latest());
  if (!file) {
    return fail(ErrorCode::kNotFound, fmt::format("{}: there is no checkpoint to resume from; begin without --resume",
                                                  setup_.folder.string()));
  }
  HADAL_ASSIGN(RunState saved, parse_run_state(file->state_json(), file->path().string()));
  HADAL_TRY(compare_with(saved));
  HADAL_TRY(load_tensors(*file, {*parameters_, *adam_, *muon_}));
  adam_->set_steps(saved.adam_steps);
  HADAL_TRY(loader_->restore(saved.data));
  guard_.restore(saved.spikes);
  const bool changed = saved.settings != state_.settings;
  saved.settings = state_.settings;
  saved.environment = state_.environment;
  state_ = std::move(saved);
  if (changed) state_.stage = -1;  // its lengths and mixture are set anew
  return {};
}

Status Trainer::compare_with(const RunState& saved) {
  if (saved.model_config != state_.model_config) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: the checkpoint is of another model than {}; give that model's configuration back, or "
                            "begin anew in another folder",
                            setup_.folder.string(), config().model.string()));
  }
  if (saved.tokenizer_sha256 != state_.tokenizer_sha256) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: the run read text of another tokenizer; prepare the text with the old one again",
                            setup_.folder.string()));
  }
  const auto compare = [](const auto& before, const auto& now, std::string_view consequence) {
    auto all = before;
    all.insert(now.begin(), now.end());
    for (const auto& [key, value] : all) {
      const auto old_value = before.find(key);
      const auto new_value = now.find(key);
      const std::string was = old_value == before.end() ? "not set" : old_value->second;
      const std::string is = new_value == now.end() ? "not set" : new_value->second;
      if (was != is)
        log::warning("{} was {} when the checkpoint was written and is {} now; {}", key, was, is, consequence);
    }
  };
  compare(saved.settings, state_.settings, "from here on the run is another one");
  compare(saved.environment, state_.environment, "the run goes on, but not with the same bits");
  return {};
}

Status Trainer::enter_stage() {
  const auto now = static_cast<std::int64_t>(config().stage_at(state_.tokens));
  if (now == state_.stage) return {};
  state_.stage = now;
  HADAL_TRY(loader_->set_seq_len(stage().sequence));
  return loader_->set_weights(stage().mixture);
}

void Trainer::refresh() {
  parameters_->refresh_working(pool_, stage().quantized ? WorkingValues::kQuantized : WorkingValues::kRounded);
}

Objective Trainer::objective() const {
  const bool decaying = config().schedule.decaying(state_.tokens);
  return {.mtp_weight = decaying ? config().mtp_weight_decaying : config().mtp_weight,
          .indexer_weight = config().indexer_weight,
          .balance_alpha = config().balance_alpha,
          .attend_all_entries = stage().dense_attention};
}

Result<Trainer::End> Trainer::run(const std::stop_token& stop) {
  const Clock::time_point begin = Clock::now();
  const std::int64_t first_step = state_.step;
  End end = End::kFinished;
  while (!finished()) {
    if (stop.stop_requested()) {
      end = End::kStopped;
      break;
    }
    if (setup_.max_steps > 0 && state_.step - first_step >= setup_.max_steps) {
      end = End::kMaxSteps;
      break;
    }
    if (setup_.max_minutes > 0 && seconds_since(begin) >= 60 * setup_.max_minutes) {
      end = End::kMaxMinutes;
      break;
    }
    HADAL_TRY(step());
    HADAL_TRY(after_step());
  }
  bool best = false;
  const bool evaluated = !log_->evaluations().empty() && log_->evaluations().back().step == state_.step;
  if (end == End::kFinished && !evaluated) {
    HADAL_ASSIGN(best, evaluate());
  }
  if (best || saved_step_ != state_.step) HADAL_TRY(save(best));
  HADAL_TRY(write_plot());
  return end;
}

Status Trainer::step() {
  const Clock::time_point begin = Clock::now();
  HADAL_ASSIGN(const Batch batch, next_batch(*loader_, stage().batch));
  HADAL_ASSIGN(const StepLosses losses, gradients(batch, objective()));
  const GradientNorms norms = gradient_norms(*parameters_, pool_);

  StepRecord record{.step = state_.step + 1, .tokens = state_.tokens + batch.tokens, .stage = state_.stage};
  describe(losses, record);
  record.learning_rate = config().schedule.learning_rate(state_.step, state_.tokens);
  record.gradient_norm = norms.total;
  record.part_norms = norms.parts;
  const SpikeGuard::Verdict verdict = guard_.judge(record.step, record.loss, norms.finite());
  record.skipped = verdict != SpikeGuard::Verdict::kApply;
  const Clock::time_point computed = Clock::now();
  if (record.skipped) {
    log::warning("step {}: loss {:.4g}, gradient norm {:.4g}: the step is left out", record.step, record.loss,
                 norms.total);
  } else {
    HADAL_TRY(update(losses, norms, record));
  }
  state_.step = record.step;
  state_.tokens = record.tokens;
  HADAL_TRY(enter_stage());
  if (verdict == SpikeGuard::Verdict::kGoBack) HADAL_TRY(go_back());
  refresh();

  record.optimizer_seconds = seconds_since(computed);
  record.seconds = seconds_since(begin);
  state_.seconds += record.seconds;
  const double speed = static_cast<double>(batch.tokens) / std::max(record.seconds, 1e-9);
  speed_ = speed_ == 0 ? speed : 0.9 * speed_ + 0.1 * speed;
  HADAL_TRY(log_->add(record));
  if (setup_.on_step) setup_.on_step({record, config().schedule.total_tokens, speed_});
  return {};
}

Result<StepLosses> Trainer::gradients(const Batch& batch, const Objective& objective) {
  parameters_->zero_gradients(pool_);
  StepLosses losses;
  for (const auto& sequences : micro_batches(batch.sequences, config().micro_batch, most_sequences(config()))) {
    HADAL_ASSIGN(const StepLosses part, functions_.run(sequences, batch.counts, objective));
    losses += part;
  }
  return losses;
}

void Trainer::describe(const StepLosses& losses, StepRecord& record) const {
  const formats::ModelConfig& model = setup_.model;
  const auto main = static_cast<std::size_t>(model.num_hidden_layers);
  const auto selecting =
      std::count(model.compress_ratios.begin(), model.compress_ratios.begin() + static_cast<std::ptrdiff_t>(main), 4);
  record.loss = ratio(losses.next_token, losses.counts.loss_tokens);
  record.mtp_loss = ratio(losses.mtp, losses.counts.mtp_tokens);
  record.indexer_loss = ratio(losses.indexer, losses.counts.indexer_rows);
  record.captured = ratio(losses.captured, losses.counts.indexer_rows * selecting);
  double sum = 0;
  std::int64_t layers = 0;
  for (std::size_t layer = 0; layer < losses.expert_load.size(); ++layer) {
    if (losses.expert_load[layer].empty() || biases_of(*parameters_, layer) == nullptr) continue;
    const double imbalance = load_imbalance(losses.expert_load[layer]);
    record.load_worst = std::max(record.load_worst, imbalance);
    sum += imbalance;
    ++layers;
  }
  record.balance = ratio(losses.balance, losses.counts.sequences * layers);
  if (layers > 0) record.load_mean = ratio(sum, layers);
}

Status Trainer::update(const StepLosses& losses, const GradientNorms& norms, StepRecord& record) {
  const double clip = config().clip > 0 ? norms.clip_factor(config().clip) : 1;
  adam_->step(record.learning_rate, clip, pool_);
  HADAL_TRY(muon_->step(record.learning_rate, clip, pool_));
  record.unmoved = muon_->skipped();
  balance(losses);
  return {};
}

void Trainer::balance(const StepLosses& losses) {
  for (std::size_t layer = 0; layer < losses.expert_load.size(); ++layer) {
    const Parameter* const biases = biases_of(*parameters_, layer);
    if (biases == nullptr || losses.expert_load[layer].empty()) continue;
    balance_biases(parameters_->master(*biases), losses.expert_load[layer], config().bias_speed);
  }
}

/// Model and optimisers of the last checkpoint; the data go on from here, so that the batches of the spike are not met
/// again.
Status Trainer::go_back() {
  HADAL_ASSIGN(const std::optional<CheckpointFile> file, folder_->latest());
  if (!file) return fail(ErrorCode::kInternal, "the loss spikes and there is no checkpoint to go back to");
  HADAL_ASSIGN(const RunState saved, parse_run_state(file->state_json(), file->path().string()));
  if (saved.step == state_.returned_to) {
    return fail(ErrorCode::kInternal,
                fmt::format("step {}: the loss spikes again after a return to {}; nothing was saved since then. Lower "
                            "schedule.peak and go on with --resume",
                            state_.step, file->path().string()));
  }
  HADAL_TRY(load_tensors(*file, {*parameters_, *adam_, *muon_}));
  adam_->set_steps(saved.adam_steps);
  SpikeGuard::State spikes = guard_.state();
  spikes.losses = saved.spikes.losses;
  guard_.restore(std::move(spikes));
  state_.returned_to = saved.step;
  log::warning("step {}: too many spikes; model and optimisers are those of step {} again, the data go on", state_.step,
               saved.step);
  return {};
}

Status Trainer::after_step() {
  const OutputConfig& output = config().output;
  const auto due = [this](std::int64_t every) { return every > 0 && state_.step % every == 0; };
  if (due(output.sample_every)) HADAL_TRY(write_sample());
  bool best = false;
  if (due(output.evaluate_every)) {
    HADAL_ASSIGN(best, evaluate());
  }
  const bool time = output.checkpoint_minutes > 0 && seconds_since(saved_at_) >= 60 * output.checkpoint_minutes;
  return best || time ? save(best) : Status();
}

Result<bool> Trainer::evaluate() {
  if (validation_->empty()) return false;
  StepLosses losses;
  const std::vector<TrainingSequence> sequences = validation_->sequences();
  Objective plain = objective();
  plain.mtp_weight = 0;
  for (const auto& group : micro_batches(sequences, config().micro_batch, most_sequences(config()))) {
    HADAL_ASSIGN(const StepLosses part, functions_.evaluate(group, plain));
    losses += part;
  }
  Evaluation evaluation{.step = state_.step, .tokens = state_.tokens};
  evaluation.loss = ratio(losses.next_token, losses.counts.loss_tokens);
  evaluation.bits_per_byte = evaluation.loss / std::numbers::ln2 / validation_->bytes_per_token();
  HADAL_TRY(log_->add(evaluation));
  const bool best = !state_.best_loss || evaluation.loss < *state_.best_loss;
  if (best) state_.best_loss = evaluation.loss;
  return best;
}

Status Trainer::write_sample() {
  if (!setup_.sample) return {};
  const Result<std::string> text = setup_.sample();
  if (!text) {
    // An untrained model may well write tokens that the tokenizer does not know.
    log::warning("step {}: no sample: {}", state_.step, text.error().message);
    return {};
  }
  const fs::path path = setup_.folder / fmt::format("sample-{:09}.txt", state_.step);
  return write_file_atomically(path, *text);
}

Status Trainer::save(bool best) {
  state_.data = loader_->state();
  state_.spikes = guard_.state();
  state_.adam_steps = adam_->steps();
  HADAL_TRY(folder_->save(state_.step, best, [this](const fs::path& path) {
    return save_run(path, state_, {*parameters_, *adam_, *muon_});
  }));
  saved_step_ = state_.step;
  saved_at_ = Clock::now();
  return write_plot();
}

Status Trainer::write_plot() const {
  const std::string title = fmt::format("{}: {} steps, {} tokens", config().name, with_separators(state_.step),
                                        with_separators(state_.tokens));
  return write_file_atomically(setup_.folder / "plot.svg", plot_svg(*log_, title));
}

}  // namespace hadal::train
