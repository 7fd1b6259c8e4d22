#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "text/tokenizer.h"

namespace hadal::engine {

/// The ordinary tokens of a vocabulary in the order of their bytes, to find those that may come next. Immutable, and
/// shared by all answers.
class SortedTokens {
 public:
  /// `tokenizer` must outlive it; `vocab_size` is the model's. Added tokens (markers, end of sentence) are left out.
  SortedTokens(const text::Tokenizer& tokenizer, std::int64_t vocab_size);

  [[nodiscard]] std::int64_t vocab_size() const { return vocab_size_; }
  [[nodiscard]] std::string_view bytes(std::int64_t token) const {
    return tokenizer_.token_bytes(static_cast<std::int32_t>(token));
  }
  [[nodiscard]] bool is_added(std::int64_t token) const {
    return tokenizer_.is_added(static_cast<std::int32_t>(token));
  }
  /// Sets the bit of every token all of whose bytes can follow, in `mask` [(vocab_size + 63) / 64], zero before.
  /// `advance(state, byte)`: takes a byte, or returns false. Each beginning that tokens share is looked at once.
  template <class State, class Advance>
  void allow(const State& state, const Advance& advance, std::span<std::uint64_t> mask) const;

 private:
  struct Token {
    std::int32_t id = 0;
    std::int32_t common = 0;  // bytes shared with the token before
  };

  const text::Tokenizer& tokenizer_;
  std::int64_t vocab_size_;
  std::size_t longest_ = 0;
  std::vector<Token> tokens_;
};

template <class State, class Advance>
void SortedTokens::allow(const State& state, const Advance& advance, std::span<std::uint64_t> mask) const {
  std::vector<State> states(longest_ + 1);  // behind so many bytes of the token
  states[0] = state;
  std::size_t good = 0;        // of the token before: bytes that can follow
  bool before_failed = false;  // at its byte number `good`
  for (const Token& token : tokens_) {
    const auto common = static_cast<std::size_t>(token.common);
    if (before_failed && common > good) continue;
    const std::string_view own = bytes(token.id);
    good = std::min(common, good);
    before_failed = false;
    while (good < own.size()) {
      states[good + 1] = states[good];
      before_failed = !advance(states[good + 1], static_cast<std::uint8_t>(own[good]));
      if (before_failed) break;
      ++good;
    }
    if (!before_failed) mask[static_cast<std::size_t>(token.id) / 64] |= std::uint64_t{1} << (token.id % 64);
  }
}

/// Masks of the last states that were asked for: most steps of an answer stand in one of a few.
template <class State>
class MaskCache {
 public:
  /// The mask of `state`; `make(mask)` fills one of zeros that is not known. Valid until the next call.
  template <class Make>
  [[nodiscard]] std::span<const std::uint64_t> get(const State& state, std::int64_t vocab_size, const Make& make) {
    const auto known =
        std::find_if(masks_.begin(), masks_.end(), [&](const auto& entry) { return entry.first == state; });
    if (known != masks_.end()) return known->second;
    if (masks_.size() < kMost) masks_.emplace_back();
    auto& [key, mask] = masks_[next_ % masks_.size()];
    ++next_;
    key = state;
    mask.assign(static_cast<std::size_t>((vocab_size + 63) / 64), 0);
    make(std::span(mask));
    return mask;
  }

 private:
  static constexpr std::size_t kMost = 8;

  std::vector<std::pair<State, std::vector<std::uint64_t>>> masks_;
  std::size_t next_ = 0;
};

}  // namespace hadal::engine
