#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "engine/answer_constraint.h"
#include "engine/json_object_state.h"
#include "engine/sorted_tokens.h"

namespace hadal::engine {

/// Holds an answer to one JSON object, after which a stop token follows. Cut off by a limit, the text is the beginning
/// of one.
class JsonConstraint final : public AnswerConstraint {
 public:
  explicit JsonConstraint(std::shared_ptr<const SortedTokens> tokens) : tokens_(std::move(tokens)) {}

  /// Takes text that stands before the answer and is part of the object. False: no object begins so.
  [[nodiscard]] bool begin_with(std::string_view text);

  [[nodiscard]] std::unique_ptr<AnswerConstraint> clone() const override {
    return std::make_unique<JsonConstraint>(*this);
  }
  [[nodiscard]] std::int64_t vocab_size() const override { return tokens_->vocab_size(); }
  [[nodiscard]] bool complete() const override { return state_.complete(); }
  void limit(ChoiceLimits& limits) override;
  [[nodiscard]] bool push(std::int64_t token) override;

 private:
  std::shared_ptr<const SortedTokens> tokens_;
  JsonObjectState state_;
  MaskCache<JsonObjectState> masks_;
};

}  // namespace hadal::engine
