#include "api/visible_tokens.h"

#include <algorithm>
#include <utility>

#include "text/utf8.h"

namespace hadal::api {

void VisibleTokens::push(const Piece& piece, bool shown, const TokenLogprob& token) {
  if (piece.special.empty()) return add(piece.text, token);
  extend(piece.text);
  if (shown) add(piece.special, token);
}

void VisibleTokens::add(std::string_view text, const TokenLogprob& token) {
  generated_ += text;
  tokens_.push_back({.size = text.size(), .token = token});
}

void VisibleTokens::extend(std::string_view piece) {
  if (tokens_.empty()) return;
  generated_ += piece;
  tokens_.back().size += piece.size();
}

VisibleTokens::Run VisibleTokens::show(std::string_view text) {
  const std::string_view generated = generated_;
  std::size_t at = offset_;
  std::size_t index = 0;  // of the token that holds `at`
  std::size_t end = tokens_.empty() ? 0 : tokens_[0].size;
  for (const char c : text) {
    while (at < generated.size() && generated[at] != c) ++at;
    if (at == generated.size()) break;
    while (at >= end) end += tokens_[++index].size;
    tokens_[index].visible += c;
    tokens_[index].used = true;
    ++at;
  }
  offset_ = at;
  Run run;
  while (true) {
    // Tokens without text are parts of the character that a later one completes.
    std::size_t whole = 0;
    while (whole < tokens_.size() && tokens_[whole].size == 0) ++whole;
    if (whole == tokens_.size() || offset_ < tokens_[whole].size) return run;
    for (std::size_t i = 0; i < whole; ++i) tokens_[i].used = tokens_[whole].used;
    for (std::size_t i = 0; i <= whole; ++i) take_front(run);
  }
}

VisibleTokens::Run VisibleTokens::settle() {
  Run run;
  std::size_t partial = tokens_.size();
  while (partial > 0 && tokens_[partial - 1].visible.empty()) --partial;
  if (partial == 0) return run;
  for (std::size_t i = 1; i < partial; ++i) take_front(run);
  Pending& token = tokens_.front();  // its other bytes may become visible as another kind
  if (!token.told) {
    run.offsets.push_back(run.characters);
    run.tokens.push_back(token.token);
    token.told = true;
  }
  run.text += std::exchange(token.visible, {});
  run.characters = text::count_characters(run.text);
  return run;
}

VisibleTokens::Run VisibleTokens::flush() {
  for (std::size_t i = tokens_.size(); i-- > 1;) {
    if (tokens_[i - 1].size == 0) tokens_[i - 1].used = tokens_[i].used;
  }
  Run run;
  while (!tokens_.empty()) take_front(run);
  generated_.clear();
  offset_ = 0;
  return run;
}

void VisibleTokens::take_front(Run& run) {
  Pending& front = tokens_.front();
  if (front.used && !front.told) {
    run.offsets.push_back(run.characters);
    run.tokens.push_back(std::move(front.token));
  }
  run.text += front.visible;
  run.characters += text::count_characters(front.visible);
  generated_.erase(0, front.size);
  offset_ -= std::min(offset_, front.size);
  tokens_.pop_front();
}

}  // namespace hadal::api
