#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/executor.h"
#include "text/tokenizer.h"

namespace hadal::engine {

/// A beginning with several ways to go on, one of which is right.
struct ChoiceQuestion {
  std::string context;
  std::vector<std::string> choices;  // at least two, none empty
  std::size_t answer = 0;            // index into choices
};

/// From `{"context": text, "choices": [text, ...], "answer": index}`; other members are ignored. Errors: those of
/// text::parse_json, kInvalidArgument (a member that is missing or of another kind, fewer than two choices, an empty
/// choice, an answer that is not the index of a choice).
[[nodiscard]] Result<ChoiceQuestion> parse_choice_question(std::string_view json);

/// The same in tokens.
struct ChoiceTokens {
  std::vector<std::int64_t> context;               // what all choices begin with
  std::vector<std::vector<std::int64_t>> choices;  // none empty

  /// Of the longest choice with its context.
  [[nodiscard]] std::int64_t longest() const;
};

/// `first` (such as bos), then the tokens of context + choice, encoded together as a text is. The context ends where
/// the first choice's tokens differ from those of the context alone: where a token reaches over the border, the end of
/// the context is scored with every choice, which changes no order. Error: that of Tokenizer::encode.
[[nodiscard]] Result<ChoiceTokens> choice_tokens(const text::Tokenizer& tokenizer, std::span<const std::int64_t> first,
                                                 const ChoiceQuestion& question);

/// For each choice c: sum_i ln p(c_i | context, c_1 .. c_(i-1)), in double. The context is fed once and forked for each
/// choice; as many choices as the executor has sequences besides the context's are fed together. The context must not
/// be empty. Errors: kInvalidArgument (an executor for one sequence only), kCancelled, those of the executor.
[[nodiscard]] Result<std::vector<double>> choice_logprobs(model::Executor& executor, const ChoiceTokens& question,
                                                          std::int64_t chunk, std::stop_token stop = {});

/// How often the likeliest choice is the answer.
struct ChoiceTally {
  std::int64_t questions = 0;
  std::int64_t correct = 0;           // largest sum of logarithms; of equal ones the first
  std::int64_t correct_per_byte = 0;  // largest sum / bytes of the choice's text
  double expected = 0;                // questions that guessing answers: sum of 1 / number of choices

  void add(const ChoiceQuestion& question, std::span<const double> logprobs);
  [[nodiscard]] double accuracy() const { return share(static_cast<double>(correct)); }
  [[nodiscard]] double accuracy_per_byte() const { return share(static_cast<double>(correct_per_byte)); }
  [[nodiscard]] double chance() const { return share(expected); }
  /// Binomial standard error of `accuracy`: sqrt(accuracy (1 - accuracy) / questions).
  [[nodiscard]] double standard_error(double accuracy) const;

 private:
  [[nodiscard]] double share(double part) const { return part / static_cast<double>(questions); }
};

}  // namespace hadal::engine
