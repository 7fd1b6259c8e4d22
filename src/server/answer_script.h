#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenizer.h"

namespace hadal::server {

/// Answers that are played in place of what the model chooses, one after the other and again from the first: to try
/// clients with what a model says only sometimes. The model still computes every step.
class AnswerScript {
 public:
  /// One JSON value a line: a string (its markers are recognised; the end of sentence follows) or an array of ids (as
  /// they are). Errors: kInvalidArgument with `where` and the line.
  [[nodiscard]] static Result<std::shared_ptr<AnswerScript>> parse(std::string_view lines, std::string_view where,
                                                                   const text::Tokenizer& tokenizer);
  /// Any thread.
  [[nodiscard]] const std::vector<std::int64_t>& next() {
    return answers_[next_.fetch_add(1, std::memory_order_relaxed) % answers_.size()];
  }

 private:
  std::vector<std::vector<std::int64_t>> answers_;
  std::atomic<std::size_t> next_{0};
};

}  // namespace hadal::server
