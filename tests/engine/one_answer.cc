#include "engine/one_answer.h"

#include <fmt/core.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "base/philox.h"
#include "model/executor.h"

namespace hadal::testing {
namespace {

/// Random numbers of one cell.
class Random {
 public:
  explicit Random(std::uint32_t seed) : seed_(seed) {}
  /// Uniform in [0, count).
  std::int64_t below(std::int64_t count) {
    const auto bits = philox({next_++, 0, 0, 0}, {seed_, 0x5eed});
    return static_cast<std::int64_t>(((std::uint64_t{bits[1]} << 32) | bits[0]) % static_cast<std::uint64_t>(count));
  }

 private:
  std::uint32_t seed_;
  std::uint32_t next_ = 0;
};

constexpr std::int64_t kMaxChunk = 320;
constexpr std::int64_t kMtpDrafts = 3;

class Runner {
 public:
  Runner(const model::Model& model, std::span<const std::int64_t> tokens, const Cell& cell)
      : model_(model), tokens_(tokens), cell_(cell), random_(cell.seed) {}

  Result<std::vector<float>> run();

 private:
  [[nodiscard]] std::int64_t length() const { return static_cast<std::int64_t>(tokens_.size()); }
  [[nodiscard]] std::int64_t vocabulary() const { return model_.config().vocab_size; }
  [[nodiscard]] bool drafts() const { return cell_.drafts && model_.drafter().kind != formats::DrafterKind::kNone; }
  Status treat_state();
  Status step(std::int64_t count, std::span<const std::int64_t> wrong_tail);
  Status round();
  void choose_companions(std::int64_t rows);

  const model::Model& model_;
  std::span<const std::int64_t> tokens_;
  const Cell& cell_;
  Random random_;
  std::unique_ptr<model::StatePool> pool_;
  std::unique_ptr<model::Executor> executor_;
  std::optional<model::SequenceState> main_;
  std::vector<model::SequenceState> companions_;
  std::vector<std::vector<std::int64_t>> companion_tokens_;
  std::vector<float> logits_;
  bool treated_ = false;
};

void Runner::choose_companions(std::int64_t rows) {
  for (std::size_t i = 0; i < companions_.size(); ++i) {
    const std::int64_t count = 1 + random_.below(std::min<std::int64_t>(rows + 3, 40));
    if (companions_[i].length() + count > length()) {
      companions_[i] = model::SequenceState();
      companions_[i] = *pool_->new_sequence();  // in a slot that another sequence has used
    }
    companion_tokens_[i].resize(static_cast<std::size_t>(count));
    for (std::int64_t& token : companion_tokens_[i]) token = random_.below(vocabulary());
  }
}

/// Feeds the next `count` tokens and then `wrong_tail`, of which nothing is committed.
Status Runner::step(std::int64_t count, std::span<const std::int64_t> wrong_tail) {
  const std::int64_t begin = main_->length();
  std::vector<std::int64_t> fed(tokens_.begin() + begin, tokens_.begin() + begin + count);
  fed.insert(fed.end(), wrong_tail.begin(), wrong_tail.end());
  choose_companions(static_cast<std::int64_t>(fed.size()));
  // The sequence under test stands among the others, not always first.
  const auto place = static_cast<std::size_t>(random_.below(cell_.batch));
  std::vector<model::StepSequence> sequences;
  std::vector<std::int64_t> accepted;
  std::int64_t first_row = 0;
  for (std::size_t i = 0; i < companions_.size() + 1; ++i) {
    if (i == place) {
      for (const auto& sequence : sequences) first_row += static_cast<std::int64_t>(sequence.tokens.size());
      sequences.push_back({.state = &*main_, .tokens = fed});
      accepted.push_back(count);
    } else {
      const std::size_t other = i < place ? i : i - 1;
      sequences.push_back({.state = &companions_[other], .tokens = companion_tokens_[other]});
      accepted.push_back(random_.below(static_cast<std::int64_t>(companion_tokens_[other].size()) + 1));
    }
  }
  std::vector<std::int32_t> rows;
  for (std::int64_t i = 0; i < count; ++i) rows.push_back(static_cast<std::int32_t>(first_row + i));
  HADAL_TRY(executor_->forward({.sequences = sequences, .logits_rows = rows}));
  if (count > 0) {
    HADAL_TRY(executor_->read(executor_->logits(),
                              std::span(logits_).subspan(static_cast<std::size_t>(begin * vocabulary()),
                                                         static_cast<std::size_t>(count * vocabulary()))));
  }
  return executor_->commit(accepted);
}

Status Runner::treat_state() {
  if (treated_ || main_->length() < cell_.position) return {};
  treated_ = true;
  ops::Stream& stream = executor_->stream();
  switch (cell_.state) {
    case StateUse::kStraight:
      return {};
    case StateUse::kSnapshot: {
      const model::Snapshot snapshot = pool_->snapshot(stream, *main_);
      // Go on for a while with other tokens, forget that, and restore.
      std::vector<std::int64_t> other(static_cast<std::size_t>(1 + random_.below(9)));
      for (std::int64_t& token : other) token = random_.below(vocabulary());
      const model::StepSequence sequence{.state = &*main_, .tokens = other};
      HADAL_TRY(executor_->forward({.sequences = {&sequence, 1}, .logits_rows = {}}));
      const auto all = static_cast<std::int64_t>(other.size());
      HADAL_TRY(executor_->commit({&all, 1}));
      main_.reset();
      HADAL_ASSIGN(main_, pool_->restore(stream, snapshot));
      return {};
    }
    case StateUse::kFork: {
      HADAL_ASSIGN(model::SequenceState fork, main_->fork(stream));
      // The original goes another way; the fork is the one that is followed.
      std::vector<std::int64_t> other(static_cast<std::size_t>(1 + random_.below(140)));
      for (std::int64_t& token : other) token = random_.below(vocabulary());
      const model::StepSequence sequence{.state = &*main_, .tokens = other};
      HADAL_TRY(executor_->forward({.sequences = {&sequence, 1}, .logits_rows = {}}));
      const auto all = static_cast<std::int64_t>(other.size());
      HADAL_TRY(executor_->commit({&all, 1}));
      main_ = std::move(fork);
      return {};
    }
    case StateUse::kRollBack: {
      // Tokens that turn out wrong are given up, some before they were committed and some after.
      std::vector<std::int64_t> wrong(static_cast<std::size_t>(1 + random_.below(model::kRollBackTokens)));
      for (std::int64_t& token : wrong) token = random_.below(vocabulary());
      HADAL_TRY(step(0, wrong));
      const model::StepSequence sequence{.state = &*main_, .tokens = wrong};
      HADAL_TRY(executor_->forward({.sequences = {&sequence, 1}, .logits_rows = {}}));
      const auto all = static_cast<std::int64_t>(wrong.size());
      HADAL_TRY(executor_->commit({&all, 1}));
      std::optional<model::SequenceState> fork;  // shares the full pages, so that they may not be written again
      if (random_.below(2) == 0) {
        HADAL_ASSIGN(fork, main_->fork(stream));
      }
      return main_->roll_back(stream, all);
    }
  }
  return {};
}

/// One round of drafts of which the first few are replaced by the true continuation and the rest by wrong tokens.
Status Runner::round() {
  const std::int64_t begin = main_->length();
  const std::int64_t anchor = tokens_[static_cast<std::size_t>(begin)];
  const model::SequenceState* const sequence = &*main_;
  HADAL_TRY(executor_->begin_draft({&sequence, 1}, {&anchor, 1}));
  std::int64_t previous = anchor;
  std::vector<float> row(static_cast<std::size_t>(vocabulary()));
  for (std::int64_t i = 0; i < executor_->draft_length(); ++i) {
    HADAL_TRY(executor_->next_draft({&previous, 1}));
    HADAL_TRY(executor_->read(executor_->draft_logits(), row));
    previous = std::max_element(row.begin(), row.end()) - row.begin();
  }
  const std::int64_t left = length() - begin - 1;
  const std::int64_t right = std::min(left, random_.below(executor_->draft_length() + 1));
  std::vector<std::int64_t> wrong(static_cast<std::size_t>(executor_->draft_length() - right));
  for (std::int64_t& token : wrong) token = random_.below(vocabulary());
  return step(1 + right, wrong);
}

Result<std::vector<float>> Runner::run() {
  const std::int64_t pages = (length() + kMaxChunk) / ops::kPageTokens + 2;
  const std::int64_t slots = cell_.batch + 1;
  HADAL_ASSIGN(pool_, model::StatePool::create(model_.backend(), model_.state_layout(), slots, pages * (slots + 1)));
  HADAL_ASSIGN(executor_, model::Executor::create(model_, *pool_,
                                                  {.max_rows = kMaxChunk + 40 * cell_.batch + 16,
                                                   .max_sequences = cell_.batch,
                                                   .max_logits_rows = kMaxChunk,
                                                   .max_tokens = length() + kMaxChunk,
                                                   .max_drafts = drafts() ? kMtpDrafts : 0}));
  HADAL_ASSIGN(main_, pool_->new_sequence());
  companion_tokens_.resize(static_cast<std::size_t>(cell_.batch - 1));
  for (std::int64_t i = 1; i < cell_.batch; ++i) {
    HADAL_ASSIGN(model::SequenceState companion, pool_->new_sequence());
    companions_.push_back(std::move(companion));
  }
  logits_.resize(static_cast<std::size_t>(length() * vocabulary()));
  while (main_->length() < length()) {
    HADAL_TRY(treat_state());
    const std::int64_t left = length() - main_->length();
    if (drafts() && main_->length() > 0 && main_->length() >= length() / 2) {
      HADAL_TRY(round());
      continue;
    }
    const std::int64_t chunk = cell_.chunk > 0 ? cell_.chunk : 1 + random_.below(kMaxChunk);
    // A chunk ends where the state is to be treated.
    const std::int64_t until = !treated_ && cell_.position > main_->length() ? cell_.position - main_->length() : left;
    HADAL_TRY(step(std::min({chunk, left, until, kMaxChunk}), {}));
  }
  return std::move(logits_);
}

}  // namespace

std::string to_string(const Cell& cell) {
  constexpr const char* kNames[] = {"straight", "snapshot", "fork", "roll-back"};
  return fmt::format("batch {}, chunk {}, {} at {}, drafts {}, seed {}", cell.batch, cell.chunk,
                     kNames[static_cast<int>(cell.state)], cell.position, cell.drafts, cell.seed);
}

Cell random_cell(std::uint32_t index, std::int64_t length) {
  Random random(index * 2 + 1);
  constexpr std::int64_t kChunks[] = {1, 7, 64, 129, kMaxChunk, 0};
  Cell cell;
  cell.batch = 1 + random.below(8);
  cell.chunk = kChunks[random.below(6)];
  cell.state = static_cast<StateUse>(random.below(4));
  cell.position = random.below(length);
  cell.drafts = random.below(2) == 1;
  cell.seed = index;
  return cell;
}

Result<std::vector<float>> run_cell(const model::Model& model, std::span<const std::int64_t> tokens, const Cell& cell) {
  return Runner(model, tokens, cell).run();
}

}  // namespace hadal::testing
