#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace hadal {

/// Collects everything that is wrong with one thing, so that it is reported in one error. Keeps the first `kKept`
/// sentences and counts the rest.
class Problems {
 public:
  static constexpr std::size_t kKept = 20;

  void add(std::string sentence) {
    ++count_;
    if (kept_.size() < kKept) kept_.push_back(std::move(sentence));
  }
  [[nodiscard]] bool empty() const { return count_ == 0; }
  [[nodiscard]] std::int64_t count() const { return count_; }
  [[nodiscard]] const std::string& first() const { return kept_.front(); }

  /// "subject: sentence", or "subject: 3 things are wrong:" and one indented line a sentence.
  [[nodiscard]] std::string text(std::string_view subject) const {
    std::string message(subject);
    if (count_ == 1) return message + ": " + kept_.front();
    message += ": " + std::to_string(count_) + " things are wrong:";
    for (const std::string& sentence : kept_) message += "\n  - " + sentence;
    const std::int64_t rest = count_ - static_cast<std::int64_t>(kept_.size());
    if (rest > 0) message += "\n  and " + std::to_string(rest) + " more";
    return message;
  }

  /// Ok when nothing was added.
  [[nodiscard]] Status status(ErrorCode code, std::string_view subject) const {
    if (empty()) return {};
    return fail(code, text(subject));
  }

 private:
  std::int64_t count_ = 0;
  std::vector<std::string> kept_;
};

}  // namespace hadal
