#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <vector>

#include "base/result.h"
#include "engine/generator.h"
#include "engine/sequence.h"

namespace hadal::engine {

/// One conversation with the model: prompts that mostly continue what went before, and answers. Feeds only what is new:
/// the live state serves when the new prompt begins with all of its tokens, else the latest state kept on the way whose
/// tokens it begins with.
class Session {
 public:
  static constexpr std::size_t kMostMarks = 8;  // the oldest is dropped beyond that

  /// Takes one sequence of the executor's pool. Errors: kResourceExhausted.
  [[nodiscard]] static Result<std::unique_ptr<Session>> create(model::Executor& executor,
                                                               const text::Tokenizer* tokenizer,
                                                               GeneratorOptions options);

  /// Makes `tokens` the prompt; the last of them is always fed again. Returns how many need not be fed. Errors:
  /// kInvalidArgument (no tokens, an id outside the vocabulary, a prompt beyond the context), kResourceExhausted.
  [[nodiscard]] Result<std::int64_t> set_prompt(std::span<const std::int64_t> tokens);

  /// Answers the prompt, or goes on with an answer that ended. The state at position `mark` is kept when the feeding
  /// passes it (-1: none). Cancelling is no error: see sequence().reason(). Errors: as Sequence::begin,
  /// Generator::step.
  [[nodiscard]] Status generate(const GenerationOptions& options, TokenSink& sink, std::stop_token stop = {},
                                std::int64_t mark = -1);

  [[nodiscard]] const Sequence& sequence() const { return sequence_; }
  [[nodiscard]] std::size_t marks() const { return marks_.size(); }

 private:
  Session(model::Executor& executor, Sequence sequence, GeneratorOptions options);

  model::Executor& executor_;
  Generator generator_;
  Sequence sequence_;
  std::vector<model::Snapshot> marks_;  // ascending lengths, all prefixes of the sequence
  bool warned_ = false;                 // of a prompt beyond the trained positions
};

}  // namespace hadal::engine
