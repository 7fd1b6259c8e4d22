#include "engine/generator.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

namespace hadal::engine {
namespace {

using Clock = std::chrono::steady_clock;

double seconds(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

}  // namespace

Generator::Generator(model::Executor& executor, GeneratorOptions options)
    : executor_(executor),
      options_(std::move(options)),
      sampler_(executor.model().config().vocab_size),
      vocab_(static_cast<std::size_t>(executor.model().config().vocab_size)) {}

Status Generator::read_logits(const TensorView& view, std::int64_t rows) {
  logits_.resize(static_cast<std::size_t>(rows) * vocab_);
  return executor_.read(view, logits_);
}

Status Generator::draft(std::span<Sequence* const> sequences) {
  drafting_.clear();
  draft_states_.clear();
  previous_.clear();
  std::int64_t longest = 0;
  for (Sequence* const sequence : sequences) {
    const std::int64_t wanted = sequence->drafts().empty() ? sequence->drafts_wanted() : 0;
    if (wanted <= 0) continue;
    if (static_cast<std::int64_t>(drafting_.size()) == executor_.limits().max_sequences) break;
    longest = std::max(longest, wanted);
    drafting_.push_back(sequence);
    draft_states_.push_back(&sequence->state());
    previous_.push_back(sequence->tokens().back());
  }
  if (drafting_.empty()) return {};
  const std::size_t count = drafting_.size();
  kept_.assign(count, -1);
  HADAL_TRY(executor_.begin_draft(draft_states_, previous_));
  for (std::int64_t position = 0; position < longest; ++position) {
    HADAL_TRY(executor_.next_draft(previous_));
    HADAL_TRY(read_logits(executor_.draft_logits(), static_cast<std::int64_t>(count)));
    const bool confident = !executor_.draft_confidence().absent();
    if (confident) {
      confidence_.resize(count);
      HADAL_TRY(executor_.read(executor_.draft_confidence(), confidence_));
    }
    for (std::size_t s = 0; s < count; ++s) {
      Sequence& sequence = *drafting_[s];
      if (kept_[s] < 0 && position == sequence.drafts_wanted()) kept_[s] = position;
      if (kept_[s] < 0 && confident) {
        const double probability = 1 / (1 + std::exp(-static_cast<double>(confidence_[s])));
        if (probability < sequence.least_confidence()) kept_[s] = position;
      }
      if (kept_[s] >= 0) continue;  // its row goes on with the draft before, unread
      HADAL_ASSIGN(previous_[s], sequence.add_draft(sampler_, std::span(logits_).subspan(s * vocab_, vocab_)));
    }
    if (std::none_of(kept_.begin(), kept_.end(), [](std::int64_t kept) { return kept < 0; })) break;
  }
  for (Sequence* const sequence : drafting_) {
    sequence->end_drafts();
    if (options_.edit_drafts) options_.edit_drafts(*sequence, sequence->drafts());
  }
  return {};
}

void Generator::add_to_step(Sequence& sequence, std::int64_t most) {
  const auto needed = static_cast<std::int64_t>(sequence.drafts().size()) + 1;
  if (static_cast<std::int64_t>(members_.size()) == executor_.limits().max_sequences || needed > free_rows_ ||
      needed > free_logits_rows_) {
    return;
  }
  const std::int64_t rows = sequence.reads_prompt() ? std::min(free_rows_, free_logits_rows_) : free_rows_;
  const auto tokens = sequence.plan(std::min(most, rows));
  const auto count = static_cast<std::int32_t>(tokens.size());
  const auto begin = static_cast<std::int32_t>(executor_.limits().max_rows - free_rows_);
  for (auto row = static_cast<std::int32_t>(count - sequence.logits_rows()); row < count; ++row) {
    logits_rows_.push_back(begin + row);
  }
  free_rows_ -= count;
  free_logits_rows_ -= sequence.logits_rows();
  members_.push_back(&sequence);
  rows_.push_back({.state = &sequence.state(), .tokens = tokens});
}

void Generator::plan(std::span<Sequence* const> sequences) {
  members_.clear();
  rows_.clear();
  logits_rows_.clear();
  free_rows_ = executor_.limits().max_rows;
  free_logits_rows_ = executor_.limits().max_logits_rows;
  for (Sequence* const sequence : sequences) {
    if (!sequence->finished() && sequence->pending() == 1) add_to_step(*sequence, 1);
  }
  for (Sequence* const sequence : sequences) {
    if (!sequence->finished() && sequence->pending() > 1) add_to_step(*sequence, options_.chunk);
  }
}

Status Generator::step(std::span<Sequence* const> sequences) {
  const auto begin = Clock::now();
  HADAL_TRY(draft(sequences));
  const auto drafted = Clock::now();
  plan(sequences);
  if (members_.empty()) return {};
  HADAL_TRY(executor_.forward({.sequences = rows_, .logits_rows = logits_rows_}));
  if (!logits_rows_.empty()) {
    HADAL_TRY(read_logits(executor_.logits(), static_cast<std::int64_t>(logits_rows_.size())));
  }
  accepted_.clear();
  std::size_t row = 0;
  for (Sequence* const sequence : members_) {
    const auto count = static_cast<std::size_t>(sequence->logits_rows());
    accepted_.push_back(sequence->absorb(sampler_, std::span(logits_).subspan(row * vocab_, count * vocab_)));
    row += count;
  }
  HADAL_TRY(executor_.commit(accepted_));
  const auto end = Clock::now();
  for (Sequence* const sequence : members_) sequence->note(seconds(begin, drafted), seconds(drafted, end));
  return {};
}

Status Generator::run(std::span<Sequence* const> sequences, std::stop_token stop) {
  const auto unfinished = [](const Sequence* sequence) { return !sequence->finished(); };
  while (std::any_of(sequences.begin(), sequences.end(), unfinished)) {
    if (stop.stop_requested()) {
      for (Sequence* const sequence : sequences) {
        if (!sequence->finished()) HADAL_TRY(sequence->finish(FinishReason::kCancelled));
      }
      return {};
    }
    HADAL_TRY(step(sequences));
  }
  for (const Sequence* const sequence : sequences) HADAL_TRY(sequence->status());
  return {};
}

}  // namespace hadal::engine
