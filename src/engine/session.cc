#include "engine/session.h"

#include <algorithm>

#include "base/log.h"
#include "base/units.h"

namespace hadal::engine {

Session::Session(model::Executor& executor, Sequence sequence, GeneratorOptions options)
    : executor_(executor), generator_(executor, std::move(options)), sequence_(std::move(sequence)) {}

Result<std::unique_ptr<Session>> Session::create(model::Executor& executor, const text::Tokenizer* tokenizer,
                                                 GeneratorOptions options) {
  HADAL_ASSIGN(model::SequenceState state, executor.pool().new_sequence());
  Sequence sequence(std::move(state), SequenceSetting::of(executor, tokenizer));
  return std::unique_ptr<Session>(new Session(executor, std::move(sequence), std::move(options)));
}

Result<std::int64_t> Session::set_prompt(std::span<const std::int64_t> tokens) {
  if (tokens.empty())
    return fail(ErrorCode::kInvalidArgument, "the prompt has no tokens; an answer needs at least one");
  const auto held = sequence_.tokens();
  const auto common = std::mismatch(tokens.begin(), tokens.end(), held.begin(), held.end()).first - tokens.begin();
  const std::int64_t usable = std::min<std::int64_t>(common, static_cast<std::int64_t>(tokens.size()) - 1);
  std::erase_if(marks_, [&](const model::Snapshot& mark) { return mark.length() > usable; });
  if (sequence_.state().length() > usable) {
    sequence_.reset({}, {});  // gives slot and pages back before others are taken
    if (marks_.empty()) {
      HADAL_ASSIGN(model::SequenceState fresh, executor_.pool().new_sequence());
      sequence_.reset(std::move(fresh), {});
    } else {
      HADAL_ASSIGN(model::SequenceState restored, executor_.pool().restore(executor_.stream(), marks_.back()));
      const auto length = static_cast<std::size_t>(restored.length());
      sequence_.reset(std::move(restored), tokens.first(length));
    }
  } else {
    sequence_.drop_pending();
  }
  const std::int64_t reused = sequence_.state().length();
  HADAL_TRY(sequence_.append(tokens.subspan(static_cast<std::size_t>(reused))));
  const std::int64_t trained = executor_.model().config().max_position_embeddings;
  if (!warned_ && trained > 0 && static_cast<std::int64_t>(tokens.size()) > trained) {
    warned_ = true;
    log::warning("the prompt has {} tokens, but the model was made for at most {} positions; answers may be poor",
                 with_separators(static_cast<std::int64_t>(tokens.size())), with_separators(trained));
  }
  return reused;
}

Status Session::generate(const GenerationOptions& options, TokenSink& sink, std::stop_token stop, std::int64_t mark) {
  HADAL_TRY(sequence_.begin(options, sink));
  sequence_.set_break(mark);
  Sequence* const all[] = {&sequence_};
  while (!sequence_.finished()) {
    if (stop.stop_requested()) return sequence_.finish(FinishReason::kCancelled);
    HADAL_TRY(generator_.step(all));
    HADAL_TRY(sequence_.status());
    const std::int64_t length = sequence_.state().length();
    if (length != mark || (!marks_.empty() && marks_.back().length() >= length)) continue;
    if (marks_.size() == kMostMarks) marks_.erase(marks_.begin());
    marks_.push_back(executor_.pool().snapshot(executor_.stream(), sequence_.state()));
  }
  return {};
}

}  // namespace hadal::engine
