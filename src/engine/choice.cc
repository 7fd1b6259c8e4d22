#include "engine/choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "engine/feed.h"
#include "engine/sampler.h"
#include "text/json_text.h"

namespace hadal::engine {
namespace {

using text::JsonKind;
using text::JsonValue;

Result<std::string> text_of(const JsonValue* value, std::string_view what) {
  if (value == nullptr || !value->is(JsonKind::kString)) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("{} is not a text", what));
  }
  return value->text;
}

Result<std::size_t> answer_of(const JsonValue* value, std::size_t choices) {
  std::size_t answer = 0;
  bool good = value != nullptr && value->is(JsonKind::kNumber);
  if (good) {
    const char* const last = value->text.data() + value->text.size();
    const auto [end, error] = std::from_chars(value->text.data(), last, answer);
    good = error == std::errc() && end == last && answer < choices;
  }
  if (!good) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("'answer' is not the index of one of the {} choices, counted from 0", choices));
  }
  return answer;
}

std::size_t common_prefix(std::span<const std::int32_t> a, std::span<const std::int32_t> b) {
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

/// Index of the largest value, the first of equal ones.
std::size_t largest(std::span<const double> values) {
  return static_cast<std::size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

}  // namespace

Result<ChoiceQuestion> parse_choice_question(std::string_view json) {
  HADAL_ASSIGN(const JsonValue object, text::parse_json(json));
  if (!object.is(JsonKind::kObject)) return fail(ErrorCode::kInvalidArgument, "is not a JSON object");
  ChoiceQuestion question;
  HADAL_ASSIGN(question.context, text_of(object.find("context"), "'context'"));
  const JsonValue* const choices = object.find("choices");
  if (choices == nullptr || !choices->is(JsonKind::kArray) || choices->items.size() < 2) {
    return fail(ErrorCode::kInvalidArgument, "'choices' is not a list of at least two texts");
  }
  for (const JsonValue& choice : choices->items) {
    HADAL_ASSIGN(std::string words, text_of(&choice, fmt::format("'choices'[{}]", question.choices.size())));
    if (words.empty()) {
      return fail(ErrorCode::kInvalidArgument, fmt::format("'choices'[{}] is empty", question.choices.size()));
    }
    question.choices.push_back(std::move(words));
  }
  HADAL_ASSIGN(question.answer, answer_of(object.find("answer"), question.choices.size()));
  return question;
}

std::int64_t ChoiceTokens::longest() const {
  std::size_t most = 0;
  for (const auto& choice : choices) most = std::max(most, choice.size());
  return static_cast<std::int64_t>(context.size() + most);
}

Result<ChoiceTokens> choice_tokens(const text::Tokenizer& tokenizer, std::span<const std::int64_t> first,
                                   const ChoiceQuestion& question) {
  constexpr text::EncodeOptions kPlainText{.added_tokens = text::AddedTokens::kOff};
  HADAL_ASSIGN(std::vector<std::int32_t> shared, tokenizer.encode(question.context, kPlainText));
  std::vector<std::vector<std::int32_t>> whole;
  for (const std::string& choice : question.choices) {
    HADAL_ASSIGN(whole.emplace_back(), tokenizer.encode(question.context + choice, kPlainText));
    shared.resize(common_prefix(shared, whole.back()));
  }
  ChoiceTokens tokens{.context = {first.begin(), first.end()}, .choices = {}};
  tokens.context.insert(tokens.context.end(), shared.begin(), shared.end());
  for (const auto& ids : whole) {
    tokens.choices.emplace_back(ids.begin() + static_cast<std::ptrdiff_t>(shared.size()), ids.end());
  }
  return tokens;
}

Result<std::vector<double>> choice_logprobs(model::Executor& executor, const ChoiceTokens& question, std::int64_t chunk,
                                            std::stop_token stop) {
  const auto vocab = executor.model().config().vocab_size;
  const auto context = static_cast<std::int64_t>(question.context.size());
  Sampler sampler(vocab);
  std::vector<double> logprobs(static_cast<std::size_t>(vocab));
  std::vector<double> sums(question.choices.size(), 0);
  const auto add = [&](std::size_t choice, std::int64_t position) {
    const std::int64_t token = question.choices[choice][static_cast<std::size_t>(position + 1 - context)];
    sums[choice] += logprobs[static_cast<std::size_t>(token)];
  };

  HADAL_ASSIGN(model::SequenceState state, executor.pool().new_sequence());
  const Feed shared{.state = &state, .tokens = question.context};
  const auto is_last = [&](std::size_t, std::int64_t position) { return position + 1 == context; };
  const auto visit_last = [&](std::size_t, std::int64_t position, std::span<const float> logits) -> Status {
    HADAL_TRY(sampler.log_softmax(logits, logprobs));
    for (std::size_t choice = 0; choice < sums.size(); ++choice) add(choice, position);
    return {};
  };
  HADAL_TRY(feed_all(executor, {&shared, 1}, {.chunk = chunk, .wanted = is_last}, visit_last, stop));

  const auto together = static_cast<std::size_t>(executor.limits().max_sequences - 1);
  if (together == 0) return fail(ErrorCode::kInvalidArgument, "choices need an executor for at least two sequences");
  for (std::size_t begin = 0; begin < sums.size(); begin += together) {
    const std::size_t count = std::min(together, sums.size() - begin);
    std::vector<model::SequenceState> forks(count);
    std::vector<Feed> feeds;
    for (std::size_t i = 0; i < count; ++i) {
      HADAL_ASSIGN(forks[i], state.fork(executor.stream()));
      const std::span<const std::int64_t> tokens = question.choices[begin + i];
      feeds.push_back({.state = &forks[i], .tokens = tokens.first(tokens.size() - 1)});
    }
    const auto visit = [&](std::size_t feed, std::int64_t position, std::span<const float> logits) -> Status {
      HADAL_TRY(sampler.log_softmax(logits, logprobs));
      add(begin + feed, position);
      return {};
    };
    HADAL_TRY(feed_all(executor, feeds, {.chunk = chunk}, visit, stop));
  }
  return sums;
}

void ChoiceTally::add(const ChoiceQuestion& question, std::span<const double> logprobs) {
  std::vector<double> per_byte(logprobs.begin(), logprobs.end());
  for (std::size_t i = 0; i < per_byte.size(); ++i) per_byte[i] /= static_cast<double>(question.choices[i].size());
  ++questions;
  correct += largest(logprobs) == question.answer ? 1 : 0;
  correct_per_byte += largest(per_byte) == question.answer ? 1 : 0;
  expected += 1.0 / static_cast<double>(question.choices.size());
}

double ChoiceTally::standard_error(double accuracy) const {
  return std::sqrt(accuracy * (1 - accuracy) / static_cast<double>(questions));
}

}  // namespace hadal::engine
