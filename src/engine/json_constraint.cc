#include "engine/json_constraint.h"

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace hadal::engine {

SortedTokens::SortedTokens(const text::Tokenizer& tokenizer, std::int64_t vocab_size)
    : tokenizer_(tokenizer), vocab_size_(vocab_size) {
  const auto end = static_cast<std::int32_t>(std::min(vocab_size, tokenizer.vocab_size()));
  for (std::int32_t id = 0; id < end; ++id) {
    if (tokenizer.has(id) && !tokenizer.is_added(id) && !tokenizer.token_bytes(id).empty())
      tokens_.push_back({.id = id});
  }
  std::sort(tokens_.begin(), tokens_.end(), [&](const Token& a, const Token& b) {
    return std::pair(tokenizer.token_bytes(a.id), a.id) < std::pair(tokenizer.token_bytes(b.id), b.id);
  });
  std::string_view before;
  for (Token& token : tokens_) {
    const std::string_view own = tokenizer.token_bytes(token.id);
    token.common = static_cast<std::int32_t>(std::mismatch(own.begin(), own.end(), before.begin(), before.end()).first -
                                             own.begin());
    longest_ = std::max(longest_, own.size());
    before = own;
  }
}

void SortedTokens::allow(const JsonObjectState& state, std::span<std::uint64_t> mask) const {
  std::vector<JsonObjectState> states(longest_ + 1);  // behind so many bytes of the token
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
      before_failed = !states[good + 1].advance(static_cast<std::uint8_t>(own[good]));
      if (before_failed) break;
      ++good;
    }
    if (!before_failed) mask[static_cast<std::size_t>(token.id) / 64] |= std::uint64_t{1} << (token.id % 64);
  }
}

std::span<const std::uint64_t> JsonConstraint::allowed() {
  const auto known =
      std::find_if(masks_.begin(), masks_.end(), [this](const auto& entry) { return entry.first == state_; });
  if (known != masks_.end()) return known->second;
  if (masks_.size() < kMostMasks) masks_.emplace_back();
  auto& [state, mask] = masks_[next_ % masks_.size()];
  ++next_;
  state = state_;
  mask.assign(static_cast<std::size_t>((tokens_->vocab_size() + 63) / 64), 0);
  tokens_->allow(state_, mask);
  return mask;
}

bool JsonConstraint::push(std::int64_t token) {
  const std::string_view bytes = tokens_->bytes(token);
  return !bytes.empty() && std::all_of(bytes.begin(), bytes.end(),
                                       [this](char byte) { return state_.advance(static_cast<std::uint8_t>(byte)); });
}

}  // namespace hadal::engine
