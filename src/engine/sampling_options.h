#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"

namespace hadal::engine {

/// Added to the logit of a token; minus infinity: the token is never chosen.
struct LogitBias {
  std::int64_t token = 0;
  double bias = 0;
};

/// How the next token is chosen from a row of logits. Steps, in this order: logit_bias, penalties, temperature, top_k,
/// top_p (over what top_k left), min_p; then one draw from the softmax of the tokens that remain.
/// docs/design/sampling.md.
struct SamplingOptions {
  double temperature = 0;         // 0: the best token (greedy); top_k, top_p and min_p change nothing then
  std::int64_t top_k = 0;         // the k best tokens; 0: all
  double top_p = 1;               // the fewest best tokens with at least this share of the probability
  double min_p = 0;               // tokens with at least this share of the best one's probability
  double repetition_penalty = 1;  // logits of tokens of the prompt and the answer: divided when > 0, else multiplied
  double presence_penalty = 0;    // subtracted once from the logits of tokens of the answer
  double frequency_penalty = 0;   // subtracted once for each time the token stands in the answer
  std::vector<LogitBias> logit_bias{};
  std::uint64_t seed = 0;
  std::uint32_t choice = 0;    // index among several answers to one prompt
  std::int64_t logprobs = -1;  // -1: none; N: of the chosen token and the N best

  [[nodiscard]] bool greedy() const { return temperature == 0; }
  [[nodiscard]] bool penalises() const {
    return repetition_penalty != 1 || presence_penalty != 0 || frequency_penalty != 0;
  }
};

/// Errors: kInvalidArgument, naming the option, its value and what is allowed.
[[nodiscard]] Status check(const SamplingOptions& options);

}  // namespace hadal::engine
