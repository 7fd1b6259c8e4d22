#include "engine/sorted_tokens.h"

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

}  // namespace hadal::engine
