#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/answer.h"
#include "api/piece.h"

namespace hadal::api {

/// Finds out which tokens a visible text came from. The parser and the stop strings hold text back and drop markup;
/// what becomes visible is the generated text with parts left out, in order.
class VisibleTokens {
 public:
  /// A run of whole tokens and their visible text.
  struct Run {
    std::string text{};
    std::vector<TokenLogprob> tokens{};
    std::vector<std::int64_t> offsets{};  // characters of `text` before each token
    std::int64_t characters = 0;          // of `text`
  };

  /// The next token and what it made showable; a special token only when it is `shown`, others have no text.
  void push(const Piece& piece, bool shown, const TokenLogprob& token);
  /// Text that the end of the output made showable; it belongs to the last token.
  void extend(std::string_view piece);
  /// `text` became visible. Returns what is visible of the tokens that are complete.
  [[nodiscard]] Run show(std::string_view text);
  /// What is visible so far of tokens that are not complete: text of another kind follows.
  [[nodiscard]] Run settle();
  /// The same at the end; forgets all tokens.
  [[nodiscard]] Run flush();

 private:
  void add(std::string_view text, const TokenLogprob& token);
  struct Pending {
    std::size_t size = 0;  // bytes of generated text
    TokenLogprob token{};
    std::string visible{};
    bool used = false;
    bool told = false;  // was part of a run already
  };
  void take_front(Run& run);

  std::deque<Pending> tokens_;
  std::string generated_;   // by tokens_
  std::size_t offset_ = 0;  // bytes of generated_ that are decided
};

}  // namespace hadal::api
