#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/answer_constraint.h"
#include "engine/draft_policy.h"
#include "engine/sampling_options.h"

namespace hadal::engine {

/// Reasoning at the beginning of an answer.
struct ReasoningOptions {
  bool inside = false;          // the prompt ends inside the reasoning
  std::int64_t end_token = -1;  // ends it
  std::int64_t budget = -1;     // after so many tokens of reasoning end_token follows; -1: no limit
};

/// What an answer is to be.
struct GenerationOptions {
  SamplingOptions sampling{};
  std::int64_t max_tokens = 1024;           // of the answer; 0: the prompt is fed and nothing chosen
  std::vector<std::int64_t> stop_tokens{};  // the first of these ends the answer and belongs to it
  std::vector<std::string> stop_strings{};  // end the answer's text before them; need a tokenizer
  DraftMode drafts = DraftMode::kAuto;
  bool prompt_logprobs = false;  // TokenSink::prompt_token() for the prompt, as sampling.logprobs says; costs time
  std::int64_t min_tokens = 0;   // no stop token is chosen before so many tokens
  std::vector<std::int64_t> forced{};  // the answer begins with these instead of chosen tokens
  ReasoningOptions reasoning{};
  /// Form of the answer behind the reasoning: each answer holds to a clone of it. Null: none.
  std::shared_ptr<const AnswerConstraint> constraint{};
  /// DSpark: a round ends before the first draft whose confidence (a probability) is below this; 0: never.
  double draft_confidence = 0;
};

enum class FinishReason : std::uint8_t { kNone, kStopToken, kStopString, kMaxTokens, kContextFull, kCancelled, kError };

/// The reason's name in replies: "stop", "stop_string", "length", "context", "cancelled", "error".
[[nodiscard]] std::string_view name(FinishReason reason);

/// What a generation did and how long it took. Speeds are those of one sequence, also inside a batch.
struct GenerationStatistics {
  std::int64_t prompt_tokens = 0;  // fed by this generation, without what was reused
  double prefill_seconds = 0;      // until the first token of the answer was chosen
  std::int64_t answer_tokens = 0;
  std::int64_t reasoning_tokens = 0;  // of them, the end of the reasoning included
  double decode_seconds = 0;          // from then on
  std::int64_t plain_steps = 0;
  std::int64_t rounds = 0;                         // steps with drafts
  std::int64_t drafted = 0;                        // verified drafts
  std::int64_t accepted = 0;                       // of them
  std::vector<std::int64_t> rounds_by_accepted{};  // [most drafts + 1]
  std::vector<std::int64_t> rounds_by_drafted{};   // [most drafts + 1]

  [[nodiscard]] double prefill_speed() const;  // tokens a second; 0 when nothing was measured
  [[nodiscard]] double decode_speed() const;   // of the tokens after the first
};

}  // namespace hadal::engine
