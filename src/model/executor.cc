#include "model/executor.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/trace.h"
#include "model/block.h"
#include "ops/commit_rows.h"
#include "ops/embedding.h"
#include "ops/gather_rows.h"
#include "ops/mean_streams.h"
#include "ops/previous_rows.h"

namespace hadal::model {
namespace {

std::int64_t pages_of(std::int64_t tokens) { return (tokens + ops::kPageTokens - 1) / ops::kPageTokens; }

}  // namespace

Executor::Executor(const Model& model, StatePool& pool, const Limits& limits)
    : model_(model), pool_(pool), limits_(limits), layout_(pool.layout()), stream_(model.backend().create_stream()) {}

Result<std::unique_ptr<Executor>> Executor::create(const Model& model, StatePool& pool, const Limits& limits) {
  if (limits.max_rows < 1 || limits.max_sequences < 1 || limits.max_logits_rows < 0 || limits.max_tokens < 1) {
    return fail(ErrorCode::kInvalidArgument, "an executor needs room for at least one row, one sequence and one token");
  }
  std::unique_ptr<Executor> executor(new Executor(model, pool, limits));
  if (model.drafter().kind == formats::DrafterKind::kDSpark && limits.max_drafts > 0) {
    executor->limits_.max_drafts = model.config().dspark.block_size;  // the block has one width (spec/dspark.md 3.5)
  }
  if (executor->limits_.max_drafts > executor->layout_.roll_back_tokens) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("rounds of {} drafts were asked for, but a state can take back {} tokens; ask for no more",
                            limits.max_drafts, executor->layout_.roll_back_tokens));
  }
  HADAL_TRY(executor->plan_and_allocate());
  return executor;
}

Status Executor::plan_and_allocate() {
  const trace::Span span("plan", "rows", limits_.max_rows);
  const std::int64_t S = limits_.max_sequences;
  const ops::StepTableBuilder::Limits main{.rows = limits_.max_rows,
                                           .sequences = S,
                                           .logits_rows = limits_.max_logits_rows,
                                           .pages = layout_.page_bytes == 0 ? 0 : pages_of(limits_.max_tokens)};
  const std::int64_t table_bytes = ops::StepTableBuilder::bytes(main);
  HADAL_ASSIGN(tables_memory_, model_.backend().allocate(2 * table_bytes + aligned(4 * S)));
  std::byte* const address = tables_memory_.data();
  main_builder_.emplace(main, address);
  shifted_builder_.emplace(main, address + table_bytes);
  counts_view_ = TensorView(address + 2 * table_bytes, DType::kI32, {S});
  if (drafting()) {
    HADAL_ASSIGN(drafts_, DraftRound::create(model_, pool_, *stream_, arena_,
                                             {.sequences = S, .drafts = limits_.max_drafts, .pages = main.pages}));
  }
  rows_.resize(layout_.layers.size());
  drafter_rows_.resize(layout_.drafter_layers.size());
  counts_.resize(static_cast<std::size_t>(S));
  sequences_.reserve(static_cast<std::size_t>(S));
  ranges_.reserve(static_cast<std::size_t>(S));
  tokens_.reserve(static_cast<std::size_t>(main.rows));

  // Run the largest step and the largest round of drafts without executing anything.
  ops::StepPlan plan;
  stream_->set_plan(&plan);
  tables_ = main_builder_->plan(main);
  shifted_tables_ = shifted_builder_->plan(main);
  HADAL_TRY(enqueue_forward(limits_.drafter_logits, nullptr));
  if (drafts_) HADAL_TRY(drafts_->plan());
  stream_->set_plan(nullptr);
  if (!plan.unsupported.empty()) {
    std::string message = fmt::format("backend {} cannot run this model with numerics {}:", model_.backend().name(),
                                      model_.profile().name);
    for (const std::string& line : plan.unsupported) message += "\n  " + line;
    return fail(ErrorCode::kUnimplemented, std::move(message));
  }
  HADAL_ASSIGN(arena_memory_, model_.backend().allocate(arena_.peak()));
  HADAL_ASSIGN(scratch_memory_, model_.backend().allocate(plan.scratch_bytes));
  arena_ = Arena(arena_memory_.data(), arena_memory_.bytes());
  stream_->set_scratch(scratch_memory_.data(), scratch_memory_.bytes());
  return {};
}

Status Executor::check(const StepRequest& request) const {
  HADAL_TRY(check_sequences(request, model_.config().vocab_size, limits_.max_tokens));
  std::int64_t rows = 0;
  for (const StepSequence& sequence : request.sequences) rows += static_cast<std::int64_t>(sequence.tokens.size());
  if (rows == 0 || rows > limits_.max_rows ||
      static_cast<std::int64_t>(request.sequences.size()) > limits_.max_sequences ||
      static_cast<std::int64_t>(request.logits_rows.size()) > limits_.max_logits_rows) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("a step of {} rows, {} sequences and {} rows of logits was asked for; planned were at most "
                            "{}, {} and {}",
                            rows, request.sequences.size(), request.logits_rows.size(), limits_.max_rows,
                            limits_.max_sequences, limits_.max_logits_rows));
  }
  for (const std::int32_t row : request.logits_rows) {
    if (row < 0 || row >= rows)
      return fail(ErrorCode::kInvalidArgument, "logits were asked for a row outside the step");
  }
  if (request.drafter_logits && (kind() != formats::DrafterKind::kMtp || !limits_.drafter_logits)) {
    return fail(ErrorCode::kInvalidArgument, "logits of the drafter were asked for, but none were planned");
  }
  return {};
}

Status Executor::forward(const StepRequest& request) {
  HADAL_TRY(check(request));
  const trace::Span span("forward", "sequences", static_cast<std::int64_t>(request.sequences.size()));
  pending_ = false;
  for (const StepSequence& sequence : request.sequences) {
    HADAL_TRY(sequence.state->reserve(sequence.state->length() + static_cast<std::int64_t>(sequence.tokens.size())));
  }
  sequences_.assign(request.sequences.begin(), request.sequences.end());
  ranges_.clear();
  tokens_.clear();
  for (const StepSequence& sequence : sequences_) {
    ranges_.push_back(
        sequence.state->range(sequence.state->length(), static_cast<std::int64_t>(sequence.tokens.size())));
    tokens_.insert(tokens_.end(), sequence.tokens.begin(), sequence.tokens.end());
  }
  const std::int64_t window = model_.config().sliding_window;
  tables_ = main_builder_->build(*stream_, ranges_, tokens_, request.logits_rows, ops::WindowRule::kCausal, window, 0);
  if (kind() == formats::DrafterKind::kMtp) {
    shifted_tables_ =
        shifted_builder_->build(*stream_, ranges_, tokens_, request.logits_rows, ops::WindowRule::kCausal, window, -1);
  }
  HADAL_TRY(enqueue_forward(request.drafter_logits, request.tap));
  pending_ = true;
  return {};
}

Status Executor::enqueue_head(Step& step, const HyperConnectionWeights& hc_head, const ops::Weight& norm,
                              const ops::Weight& head_weight, const TensorView& streams, TensorView& logits) {
  const auto& config = model_.config();
  const std::int64_t R = step.tables.logits_rows.extent(0);
  const std::int64_t width = config.hc_mult * config.hidden_size;
  logits = step.real({R, head_weight.rows()});
  if (R == 0) return {};
  const ArenaScope scope(arena_);
  const TensorView chosen = step.real({R, width});
  HADAL_TRY(ops::gather_rows(
      *stream_, {.input = streams.reshaped({step.rows(), width}), .index = step.tables.logits_rows, .out = chosen}));
  HADAL_TRY(head(step, hc_head, norm, head_weight, chosen.reshaped({R, config.hc_mult, config.hidden_size}),
                 step.real({R, config.hidden_size}), logits));
  return {};
}

Status Executor::enqueue_forward(bool drafter_logits, const ActivationTap* tap) {
  const auto& config = model_.config();
  const ModelWeights& weights = model_.weights();
  arena_.rewind(0);
  Step step = make_step(tables_, tap);
  const std::int64_t T = step.rows();
  for (std::size_t layer = 0; layer < rows_.size(); ++layer) {
    rows_[layer] = allocate_rows(step, weights.layers[layer].attention.compress_ratio);
  }
  streams_ = step.real({T, config.hc_mult, config.hidden_size});
  const auto targets = static_cast<std::int64_t>(config.dspark.target_layer_ids.size());
  TensorView target_hidden;
  if (kind() == formats::DrafterKind::kDSpark) target_hidden = step.real({T, targets * config.hidden_size});

  HADAL_TRY(ops::embedding(*stream_, {.tokens = tables_.tokens, .table = weights.embed, .out = streams_}));
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    const trace::Span span("layer", "index", layer);
    const auto index = static_cast<std::size_t>(layer);
    HADAL_TRY(block(step, weights.layers[index], layout_.layers[index], layer, rows_[index], streams_));
    for (std::int64_t target = 0; target < targets && !target_hidden.absent(); ++target) {
      if (config.dspark.target_layer_ids[static_cast<std::size_t>(target)] != layer) continue;
      HADAL_TRY(ops::mean_streams(
          *stream_,
          {.streams = streams_, .out = target_hidden.columns(target * config.hidden_size, config.hidden_size)}));
    }
  }
  HADAL_TRY(enqueue_head(step, weights.hc_head, weights.norm, weights.head, streams_, logits_));
  return enqueue_drafter_context(drafter_logits, target_hidden, tap);
}

Status Executor::enqueue_drafter_context(bool drafter_logits, const TensorView& target_hidden,
                                         const ActivationTap* tap) {
  if (!drafting()) return {};
  const auto& config = model_.config();
  const DrafterWeights& drafter = model_.weights().drafter;
  if (kind() == formats::DrafterKind::kDSpark) {
    Step step = make_step(tables_, tap);
    for (LayerRows& rows : drafter_rows_) rows = allocate_rows(step, 0);
    step.note("target_hidden", config.num_hidden_layers, target_hidden);
    return dspark_context(step, drafter, target_hidden, drafter_rows_);
  }
  Step step = make_step(shifted_tables_, tap);
  const std::int64_t T = step.rows();
  drafter_rows_.front() = allocate_rows(step, 0);
  if (drafter_logits) drafter_logits_ = {};
  const ArenaScope scope(arena_);  // nothing below outlives the step but the rows and, if wanted, the logits
  const TensorView before = step.real({T, config.hc_mult * config.hidden_size});
  HADAL_TRY(ops::previous_rows(*stream_, {.rows = streams_.reshaped({T, config.hc_mult * config.hidden_size}),
                                          .ring = pool_.ring(layout_.last_streams),
                                          .layout = tables_.layout,
                                          .out = before}));
  HADAL_ASSIGN(const MtpInput made, mtp_input(step, drafter, before));
  const TensorView& input = made.streams;
  if (!drafter_logits) return mtp_context(step, drafter, input, drafter_rows_.front());
  HADAL_TRY(block(step, drafter.layers.front(), layout_.drafter_layers.front(), config.num_hidden_layers,
                  drafter_rows_.front(), input));
  return enqueue_head(step, drafter.hc_head, drafter.norm, drafter.head, input, drafter_logits_);
}

Status Executor::commit(std::span<const std::int64_t> accepted) {
  if (!pending_ || accepted.size() != sequences_.size()) {
    return fail(ErrorCode::kInvalidArgument, "commit needs one count for each sequence of the forward before it");
  }
  for (std::size_t s = 0; s < accepted.size(); ++s) {
    if (accepted[s] < 0 || accepted[s] > static_cast<std::int64_t>(sequences_[s].tokens.size())) {
      return fail(ErrorCode::kInvalidArgument, fmt::format("commit of {} rows of a sequence that has {} in this step",
                                                           accepted[s], sequences_[s].tokens.size()));
    }
    if (sequences_[s].state->length() != ranges_[s].start) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("commit of rows at position {} of a sequence that was moved to "
                              "{} since their forward; run the step again",
                              ranges_[s].start, sequences_[s].state->length()));
    }
    counts_[s] = static_cast<std::int32_t>(accepted[s]);
  }
  const auto S = static_cast<std::int64_t>(accepted.size());
  const trace::Span span("commit", "sequences", S);
  pending_ = false;
  stream_->upload(counts_view_.bytes(), counts_.data(), 4 * S);
  const TensorView count = counts_view_.rows(0, S);
  Step step = make_step(tables_, nullptr);
  for (std::size_t layer = 0; layer < rows_.size(); ++layer) {
    HADAL_TRY(commit_layer(step, layout_.layers[layer], rows_[layer], count, 0));
  }
  if (drafting()) {
    const std::int64_t offset = kind() == formats::DrafterKind::kMtp ? -1 : 0;  // MTP's rows are one position behind
    for (std::size_t stage = 0; stage < drafter_rows_.size(); ++stage) {
      HADAL_TRY(commit_layer(step, layout_.drafter_layers[stage], drafter_rows_[stage], count, offset));
    }
  }
  if (kind() == formats::DrafterKind::kMtp) {
    HADAL_TRY(ops::commit_rows(*stream_, {.rows = streams_.reshaped({tables_.rows, layout_.last_streams.columns}),
                                          .ring = pool_.ring(layout_.last_streams),
                                          .count = count,
                                          .position_offset = 0,
                                          .layout = tables_.layout}));
  }
  for (std::size_t s = 0; s < accepted.size(); ++s) sequences_[s].state->advance(accepted[s]);
  return {};
}

Status Executor::begin_draft(std::span<const SequenceState* const> sequences, std::span<const std::int64_t> anchors,
                             const ActivationTap* tap) {
  if (!drafts_) return fail(ErrorCode::kInvalidArgument, "drafts were asked for, but no drafter was planned");
  const trace::Span span("begin_draft", "sequences", static_cast<std::int64_t>(sequences.size()));
  pending_ = false;
  return drafts_->begin(sequences, anchors, tap);
}

Status Executor::next_draft(std::span<const std::int64_t> previous) {
  if (!drafts_) return fail(ErrorCode::kInvalidArgument, "drafts were asked for, but no drafter was planned");
  const trace::Span span("next_draft", "sequences", static_cast<std::int64_t>(previous.size()));
  return drafts_->next(previous);
}

Status Executor::read(const TensorView& view, std::span<float> out) {
  if (view.elements() != static_cast<std::int64_t>(out.size())) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{} values were asked for of a tensor of {}", out.size(), view.elements()));
  }
  const trace::Span span("read", "values", view.elements());
  if (view.type() == DType::kF32) {
    stream_->download(out.data(), view.bytes(), view.byte_size());
    stream_->wait();
    return {};
  }
  if (view.type() != DType::kF64) return fail(ErrorCode::kInvalidArgument, "only real tensors can be read");
  wide_.resize(out.size());
  stream_->download(wide_.data(), view.bytes(), view.byte_size());
  stream_->wait();
  std::transform(wide_.begin(), wide_.end(), out.begin(), [](double value) { return static_cast<float>(value); });
  return {};
}

}  // namespace hadal::model
