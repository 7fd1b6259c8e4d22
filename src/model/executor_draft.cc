// The rounds of drafts of an executor: on committed state, in the step's arena, without a trace.

#include <fmt/core.h>

#include "model/block.h"
#include "model/executor.h"
#include "ops/gather_rows.h"

namespace hadal::model {

std::int64_t Executor::draft_length() const { return drafting() ? limits_.max_drafts : 0; }

Status Executor::begin_draft(std::span<const SequenceState* const> sequences, std::span<const std::int64_t> anchors,
                             const ActivationTap* tap) {
  if (!drafting()) return fail(ErrorCode::kInvalidArgument, "drafts were asked for, but no drafter was planned");
  if (sequences.empty() || sequences.size() != anchors.size() ||
      static_cast<std::int64_t>(sequences.size()) > limits_.max_sequences) {
    return fail(ErrorCode::kInvalidArgument, "a round of drafts needs one anchor for each of its sequences");
  }
  pending_ = false;
  drafted_ = 0;
  draft_sequences_.assign(sequences.begin(), sequences.end());
  ranges_.clear();
  tokens_.clear();
  const std::int64_t B = draft_length();
  for (std::size_t s = 0; s < sequences.size(); ++s) {
    if (sequences[s]->length() == 0) {
      return fail(ErrorCode::kInvalidArgument, "a sequence without committed tokens cannot be drafted for");
    }
    ranges_.push_back({.state = sequences[s], .start = sequences[s]->length(), .count = B});
    tokens_.push_back(anchors[s]);
    tokens_.insert(tokens_.end(), static_cast<std::size_t>(B - 1), model_.config().dspark.noise_token_id);
  }
  if (kind() == formats::DrafterKind::kDSpark) {
    draft_tables_ = draft_builder_->build(*stream_, ranges_, tokens_, {}, WindowRule::kWholeBlock,
                                          model_.config().sliding_window, 0);
  } else {
    draft_tables_ = {};
    draft_tables_.sequences = static_cast<std::int64_t>(sequences.size());
  }
  arena_.rewind(0);
  return enqueue_begin_draft(tap);
}

Status Executor::enqueue_begin_draft(const ActivationTap* tap) {
  const auto& config = model_.config();
  const std::int64_t S = draft_tables_.sequences;
  Step step = make_step(draft_tables_, tap);
  draft_confidence_ = {};
  if (kind() == formats::DrafterKind::kDSpark) {
    for (LayerRows& rows : drafter_rows_) rows = allocate_rows(step, 0);
    HADAL_ASSIGN(block_, dspark_block(step, model_.weights().drafter, layout_, drafter_rows_));
    return {};
  }
  mtp_keys_ = step.cache({S, limits_.max_drafts, config.head_dim});
  mtp_streams_ = step.real({S, config.hc_mult, config.hidden_size});
  return {};
}

Status Executor::next_draft(std::span<const std::int64_t> previous) {
  if (drafted_ >= draft_length() || previous.size() != draft_sequences_.size()) {
    return fail(ErrorCode::kInvalidArgument, "a round of drafts has no such position");
  }
  for (const std::int64_t token : previous) {
    if (token < 0 || token >= model_.config().vocab_size) {
      return fail(ErrorCode::kInvalidArgument, fmt::format("token id {} is outside the vocabulary", token));
    }
  }
  if (kind() == formats::DrafterKind::kDSpark) {
    stream_->upload(previous_.bytes(), previous.data(), static_cast<std::int64_t>(8 * previous.size()));
    HADAL_TRY(enqueue_dspark_draft());
  } else {
    ranges_.clear();
    for (std::size_t s = 0; s < draft_sequences_.size(); ++s) {
      const std::int64_t last = draft_sequences_[s]->length() - 1;
      ranges_.push_back({.state = draft_sequences_[s],
                         .start = last + drafted_,
                         .count = 1,
                         .keys_start = last,
                         .keys_row = static_cast<std::int64_t>(s) * limits_.max_drafts});
    }
    draft_tables_ =
        draft_builder_->build(*stream_, ranges_, previous, {}, WindowRule::kCausal, model_.config().sliding_window, 0);
    HADAL_TRY(enqueue_mtp_draft(mtp_streams_));
  }
  ++drafted_;
  return {};
}

Status Executor::enqueue_mtp_draft(const TensorView& previous_streams) {
  const auto& config = model_.config();
  const DrafterWeights& drafter = model_.weights().drafter;
  const std::int64_t S = draft_tables_.sequences;
  const std::int64_t width = config.hc_mult * config.hidden_size;
  Step step = make_step(draft_tables_, nullptr);
  if (drafted_ == 0) {
    const TensorView ring = pool_.ring(layout_.last_streams);  // [slots, 1, width]
    const TensorView rows(ring.bytes(), ring.type(), {ring.extent(0), width}, {ring.stride(0), 1, 0, 0});
    HADAL_TRY(ops::gather_rows(
        *stream_,
        {.input = rows, .index = draft_tables_.layout.state_slot, .out = previous_streams.reshaped({S, width})}));
  }
  HADAL_ASSIGN(const MtpInput input, mtp_input(step, drafter, previous_streams));
  mtp_streams_ = input.streams;
  LayerRows rows;
  rows.step_keys = mtp_keys_.reshaped({S * limits_.max_drafts, config.head_dim});
  rows.keys = TensorView(mtp_keys_.bytes() + drafted_ * config.head_dim * size_of(mtp_keys_.type()), mtp_keys_.type(),
                         {S, config.head_dim}, {limits_.max_drafts * config.head_dim, 1, 0, 0});
  HADAL_TRY(block(step, drafter.layers.front(), layout_.drafter_layers.front(), config.num_hidden_layers, rows,
                  mtp_streams_));
  draft_logits_ = step.real({S, drafter.head.rows()});
  const ArenaScope scope(arena_);
  HADAL_TRY(head(step, drafter.hc_head, drafter.norm, drafter.head, mtp_streams_, step.real({S, config.hidden_size}),
                 draft_logits_));
  return {};
}

Status Executor::enqueue_dspark_draft() {
  const std::int64_t S = draft_tables_.sequences;
  const std::int64_t B = limits_.max_drafts;
  const auto position = [&](const TensorView& rows) {  // this position's row of every sequence
    const std::int64_t columns = rows.extent(1);
    return TensorView(rows.bytes() + drafted_ * columns * size_of(rows.type()), rows.type(), {S, columns},
                      {B * columns, 1, 0, 0});
  };
  Step step = make_step(draft_tables_, nullptr);
  HADAL_ASSIGN(const DSparkChoice choice,
               dspark_choice(step, model_.weights().drafter, previous_.rows(0, S), position(block_.hidden),
                             position(block_.base_logits), identity_.rows(0, S)));
  draft_logits_ = choice.logits;
  draft_confidence_ = choice.confidence;
  return {};
}

}  // namespace hadal::model
