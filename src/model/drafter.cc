#include "model/drafter.h"

#include <fmt/core.h>

#include <numeric>

#include "model/block.h"
#include "ops/add.h"
#include "ops/embedding.h"
#include "ops/gather_rows.h"
#include "ops/linear.h"
#include "ops/previous_rows.h"
#include "ops/rms_norm.h"

namespace hadal::model {

Result<MtpInput> mtp_input(Step& step, const DrafterWeights& weights, const TensorView& before) {
  const auto& config = step.config;
  const std::int64_t T = step.rows();
  const std::int64_t n = config.hc_mult;
  const std::int64_t D = config.hidden_size;
  MtpInput kept;
  kept.streams = step.real({T, n, D});
  const TensorView streams = kept.streams.reshaped({T * n, D});
  const ArenaScope scope = step.scope();

  kept.embedded = step.real({T, D});
  HADAL_TRY(ops::embedding(
      step.stream, {.tokens = step.tables.tokens, .table = weights.embed, .out = kept.embedded.reshaped({T, 1, D})}));
  kept.token = step.product({T, D});
  HADAL_TRY(ops::rms_norm(
      step.stream, {.input = kept.embedded, .weight = weights.enorm, .out = kept.token, .eps = config.rms_norm_eps}));
  const TensorView projected = step.real({T, D});
  HADAL_TRY(step.linear(kept.token, weights.e_proj, projected));
  kept.hidden = step.product({T * n, D});
  HADAL_TRY(ops::rms_norm(
      step.stream,
      {.input = before.reshaped({T * n, D}), .weight = weights.hnorm, .out = kept.hidden, .eps = config.rms_norm_eps}));
  HADAL_TRY(step.linear(kept.hidden, weights.h_proj, streams));
  HADAL_TRY(ops::add(step.stream, {.a = streams, .b = projected, .repeat = n, .out = streams}));
  return kept;
}

Status mtp_context(Step& step, const DrafterWeights& weights, const TensorView& input, const LayerRows& rows) {
  const ArenaScope scope(step.arena);
  const LayerWeights& layer = weights.layers.front();
  HADAL_ASSIGN(const TensorView x, attention_input(step, layer, input));
  HADAL_TRY(make_keys(step, layer.attention, x, rows.keys));
  return {};
}

Status dspark_context(Step& step, const DrafterWeights& weights, const TensorView& target_hidden,
                      const std::vector<LayerRows>& stages) {
  const ArenaScope scope(step.arena);
  const auto& config = step.config;
  const TensorView projected = step.real({step.rows(), config.hidden_size});
  HADAL_TRY(step.linear(target_hidden, weights.main_proj, projected));
  const TensorView main_x = step.product({step.rows(), config.hidden_size});
  HADAL_TRY(ops::rms_norm(
      step.stream, {.input = projected, .weight = weights.main_norm, .out = main_x, .eps = config.rms_norm_eps}));
  step.note("main_x", config.num_hidden_layers, main_x);
  for (std::size_t stage = 0; stage < stages.size(); ++stage) {
    HADAL_TRY(make_keys(step, weights.layers[stage].attention, main_x, stages[stage].keys));
    step.note("context_kv", config.num_hidden_layers + static_cast<std::int64_t>(stage), stages[stage].keys);
  }
  return {};
}

Result<DSparkBlock> dspark_block(Step& step, const DrafterWeights& weights, const StateLayout& layout,
                                 const std::vector<LayerRows>& stages) {
  const auto& config = step.config;
  const std::int64_t rows = step.rows();
  const DSparkBlock result{.hidden = step.real({rows, config.hidden_size}),
                           .base_logits = step.real({rows, weights.head.rows()})};
  const ArenaScope scope(step.arena);
  const TensorView streams = step.real({rows, config.hc_mult, config.hidden_size});
  HADAL_TRY(ops::embedding(step.stream, {.tokens = step.tables.tokens, .table = weights.embed, .out = streams}));
  for (std::size_t stage = 0; stage < weights.layers.size(); ++stage) {
    HADAL_TRY(block(step, weights.layers[stage], layout.drafter_layers[stage],
                    config.num_hidden_layers + static_cast<std::int64_t>(stage), stages[stage], streams));
  }
  HADAL_TRY(head(step, weights.hc_head, weights.norm, weights.head, streams, result.hidden, result.base_logits));
  step.note("hidden", config.num_hidden_layers, result.hidden);
  step.note("base_logits", config.num_hidden_layers, result.base_logits);
  return result;
}

Result<DSparkChoice> dspark_choice(Step& step, const DrafterWeights& weights, const TensorView& previous,
                                   const TensorView& hidden, const TensorView& base_logits,
                                   const TensorView& identity) {
  const std::int64_t S = previous.extent(0);
  const std::int64_t D = step.config.hidden_size;
  const std::int64_t rank = weights.markov_w1.columns();
  const DSparkChoice choice{.logits = step.real({S, weights.markov_w2.rows()}), .confidence = step.real({S, 1})};
  const ArenaScope scope(step.arena);

  const TensorView e = step.real({S, rank});
  HADAL_TRY(
      ops::embedding(step.stream, {.tokens = previous, .table = weights.markov_w1, .out = e.reshaped({S, 1, rank})}));
  // Markov factors and confidence take unrounded inputs in every profile (spec/dspark.md 3.4).
  HADAL_TRY(ops::linear(step.stream, {.input = e, .weight = weights.markov_w2, .out = choice.logits}));
  HADAL_TRY(ops::add(step.stream, {.a = choice.logits, .b = base_logits, .repeat = 1, .out = choice.logits}));

  const TensorView both = step.real({S, D + rank});  // [h_i ; e_i]
  HADAL_TRY(ops::gather_rows(step.stream, {.input = hidden, .index = identity, .out = both.columns(0, D)}));
  HADAL_TRY(ops::gather_rows(step.stream, {.input = e, .index = identity, .out = both.columns(D, rank)}));
  HADAL_TRY(ops::linear(step.stream, {.input = both, .weight = weights.confidence_proj, .out = choice.confidence}));
  return choice;
}

Result<std::unique_ptr<DraftRound>> DraftRound::create(const Model& model, StatePool& pool, ops::Stream& stream,
                                                       Arena& arena, const Limits& limits) {
  std::unique_ptr<DraftRound> round(new DraftRound(model, pool, stream, arena, limits));
  const std::int64_t S = limits.sequences;
  const ops::StepTableBuilder::Limits tables{
      .rows = S * limits.drafts, .sequences = S, .logits_rows = 0, .pages = limits.pages};
  const std::int64_t table_bytes = ops::StepTableBuilder::bytes(tables);
  HADAL_ASSIGN(round->memory_, model.backend().allocate(table_bytes + aligned(8 * S) + aligned(4 * S)));
  std::byte* const address = round->memory_.data();
  round->builder_.emplace(tables, address);
  round->previous_ = TensorView(address + table_bytes, DType::kI64, {S});
  round->identity_ = TensorView(address + table_bytes + aligned(8 * S), DType::kI32, {S});
  std::vector<std::int32_t> identity(static_cast<std::size_t>(S));
  std::iota(identity.begin(), identity.end(), 0);
  stream.upload(round->identity_.bytes(), identity.data(), 4 * S);
  round->rows_.resize(round->layout_.drafter_layers.size());
  round->sequences_.reserve(static_cast<std::size_t>(S));
  round->ranges_.reserve(static_cast<std::size_t>(S));
  round->tokens_.reserve(static_cast<std::size_t>(tables.rows));
  return round;
}

Status DraftRound::plan() {
  arena_.rewind(0);
  const std::int64_t rows = limits_.sequences * (dspark() ? limits_.drafts : 1);
  tables_ = builder_->plan({.rows = rows, .sequences = limits_.sequences, .logits_rows = 0, .pages = limits_.pages});
  HADAL_TRY(dspark() ? begin_dspark(nullptr) : begin_mtp());
  for (drafted_ = 0; drafted_ < limits_.drafts; ++drafted_) HADAL_TRY(dspark() ? next_dspark() : next_mtp());
  drafted_ = limits_.drafts;
  return {};
}

Status DraftRound::begin(std::span<const SequenceState* const> sequences, std::span<const std::int64_t> anchors,
                         const ActivationTap* tap) {
  if (sequences.empty() || sequences.size() != anchors.size() ||
      static_cast<std::int64_t>(sequences.size()) > limits_.sequences) {
    return fail(ErrorCode::kInvalidArgument, "a round of drafts needs one anchor for each of its sequences");
  }
  const std::int64_t rows = dspark() ? limits_.drafts : 1;
  drafted_ = 0;
  sequences_.assign(sequences.begin(), sequences.end());
  ranges_.clear();
  tokens_.clear();
  for (std::size_t s = 0; s < sequences.size(); ++s) {
    if (sequences[s]->length() == 0) {
      return fail(ErrorCode::kInvalidArgument, "a sequence without committed tokens cannot be drafted for");
    }
    ranges_.push_back(sequences[s]->range(sequences[s]->length(), rows));
    tokens_.push_back(anchors[s]);
    tokens_.insert(tokens_.end(), static_cast<std::size_t>(rows - 1), model_.config().dspark.noise_token_id);
  }
  const auto rule = dspark() ? ops::WindowRule::kWholeBlock : ops::WindowRule::kCausal;
  tables_ = builder_->build(stream_, ranges_, tokens_, {}, rule, model_.config().sliding_window, 0);
  arena_.rewind(0);
  return dspark() ? begin_dspark(tap) : begin_mtp();
}

Status DraftRound::begin_dspark(const ActivationTap* tap) {
  Step round = step(tap);
  for (LayerRows& rows : rows_) rows = allocate_rows(round, 0);
  HADAL_ASSIGN(block_, dspark_block(round, model_.weights().drafter, layout_, rows_));
  return {};
}

/// The tables are those of the position after the last committed one, whose streams are fetched.
Status DraftRound::begin_mtp() {
  const auto& config = model_.config();
  Step round = step(nullptr);
  const std::int64_t S = tables_.sequences;
  const std::int64_t width = config.hc_mult * config.hidden_size;
  mtp_keys_ = round.cache({S, limits_.drafts, config.head_dim});
  mtp_streams_ = round.real({S, config.hc_mult, config.hidden_size});
  confidence_ = {};
  const ArenaScope scope(arena_);
  return ops::previous_rows(stream_, {.rows = round.real({S, width}),  // not read: all that precedes is committed
                                      .ring = pool_.ring(layout_.last_streams),
                                      .layout = tables_.layout,
                                      .out = mtp_streams_.reshaped({S, width})});
}

Status DraftRound::next(std::span<const std::int64_t> previous) {
  if (drafted_ >= limits_.drafts || previous.size() != sequences_.size()) {
    return fail(ErrorCode::kInvalidArgument, "a round of drafts has no such position");
  }
  for (const std::int64_t token : previous) {
    if (token < 0 || token >= model_.config().vocab_size) {
      return fail(ErrorCode::kInvalidArgument, fmt::format("token id {} is outside the vocabulary", token));
    }
  }
  if (dspark()) {
    stream_.upload(previous_.bytes(), previous.data(), static_cast<std::int64_t>(8 * previous.size()));
    HADAL_TRY(next_dspark());
  } else {
    ranges_.clear();
    for (std::size_t s = 0; s < sequences_.size(); ++s) {
      const std::int64_t last = sequences_[s]->length() - 1;
      ranges_.push_back(sequences_[s]->range(last + drafted_, 1));
      ranges_.back().keys_start = last;
      ranges_.back().keys_row = static_cast<std::int64_t>(s) * limits_.drafts;
    }
    tables_ =
        builder_->build(stream_, ranges_, previous, {}, ops::WindowRule::kCausal, model_.config().sliding_window, 0);
    HADAL_TRY(next_mtp());
  }
  ++drafted_;
  return {};
}

Status DraftRound::next_mtp() {
  const auto& config = model_.config();
  const DrafterWeights& drafter = model_.weights().drafter;
  const std::int64_t S = tables_.sequences;
  Step round = step(nullptr);
  HADAL_ASSIGN(const MtpInput input, mtp_input(round, drafter, mtp_streams_));
  mtp_streams_ = input.streams;
  LayerRows rows;
  rows.step_keys = mtp_keys_.reshaped({S * limits_.drafts, config.head_dim});
  rows.keys = TensorView(mtp_keys_.bytes() + drafted_ * config.head_dim * size_of(mtp_keys_.type()), mtp_keys_.type(),
                         {S, config.head_dim}, {limits_.drafts * config.head_dim, 1, 0, 0});
  HADAL_TRY(block(round, drafter.layers.front(), layout_.drafter_layers.front(), config.num_hidden_layers, rows,
                  mtp_streams_));
  logits_ = round.real({S, drafter.head.rows()});
  const ArenaScope scope(arena_);
  HADAL_TRY(head(round, drafter.hc_head, drafter.norm, drafter.head, mtp_streams_, round.real({S, config.hidden_size}),
                 logits_));
  return {};
}

Status DraftRound::next_dspark() {
  const std::int64_t S = tables_.sequences;
  const std::int64_t B = limits_.drafts;
  const auto position = [&](const TensorView& rows) {  // this position's row of every sequence
    const std::int64_t columns = rows.extent(1);
    return TensorView(rows.bytes() + drafted_ * columns * size_of(rows.type()), rows.type(), {S, columns},
                      {B * columns, 1, 0, 0});
  };
  Step round = step(nullptr);
  HADAL_ASSIGN(const DSparkChoice choice,
               dspark_choice(round, model_.weights().drafter, previous_.rows(0, S), position(block_.hidden),
                             position(block_.base_logits), identity_.rows(0, S)));
  logits_ = choice.logits;
  confidence_ = choice.confidence;
  return {};
}

}  // namespace hadal::model
