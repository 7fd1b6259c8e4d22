#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/check.h"

namespace hadal::engine {

/// Which tokens a sequence holds so far, for the penalties: counts in the answer, presence in the prompt. No allocation
/// after construction.
class TokenHistory {
 public:
  /// Token ids lie in [0, vocab_size).
  explicit TokenHistory(std::int64_t vocab_size)
      : answer_(static_cast<std::size_t>(vocab_size)), known_(static_cast<std::size_t>(vocab_size)) {
    touched_.reserve(static_cast<std::size_t>(vocab_size));
  }

  /// Forgets everything; `prompt` is what the answer will follow.
  void start(std::span<const std::int64_t> prompt) {
    for (const std::int64_t token : touched_) {
      answer_[at(token)] = 0;
      known_[at(token)] = kUnknown;
    }
    touched_.clear();
    for (const std::int64_t token : prompt) {
      touch(token);
      known_[at(token)] = kInPrompt;
    }
  }
  void add(std::int64_t token) {
    touch(token);
    ++answer_[at(token)];
  }
  /// Takes back one add().
  void remove(std::int64_t token) {
    HADAL_DCHECK(answer_[at(token)] > 0, "the token was not added");
    --answer_[at(token)];
  }

  /// Every token that was ever added since start(), once each.
  [[nodiscard]] std::span<const std::int64_t> touched() const { return touched_; }
  [[nodiscard]] std::int32_t answer_count(std::int64_t token) const { return answer_[at(token)]; }
  [[nodiscard]] bool contains(std::int64_t token) const {
    return answer_[at(token)] > 0 || known_[at(token)] == kInPrompt;
  }

 private:
  enum Known : std::uint8_t { kUnknown, kTouched, kInPrompt };

  static std::size_t at(std::int64_t token) { return static_cast<std::size_t>(token); }
  void touch(std::int64_t token) {
    if (known_[at(token)] != kUnknown) return;
    known_[at(token)] = kTouched;
    touched_.push_back(token);
  }

  std::vector<std::int32_t> answer_;   // [vocab_size] occurrences in the answer
  std::vector<std::uint8_t> known_;    // [vocab_size]
  std::vector<std::int64_t> touched_;  // ids whose entries above may differ from the start
};

}  // namespace hadal::engine
