#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "text/tokenizer.h"
#include "text/utf8.h"

namespace hadal::api {

/// What one generated token adds to an answer. The difference between a special token and the same characters in
/// ordinary tokens decides what is markup, so that it must not be lost on the way to text.
struct Piece {
  std::string_view text{};     // whole characters that became showable; empty while one is unfinished
  std::string_view special{};  // the token itself when it is a special one; it stands behind `text`
};

/// Token ids of one choice -> pieces. The tokenizer must outlive it.
class PieceReader {
 public:
  explicit PieceReader(const text::Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}

  /// Valid until the next call. An unknown id adds nothing.
  [[nodiscard]] Piece read(std::int32_t id);
  /// What the end of the output makes showable: U+FFFD for bytes that never became a character.
  [[nodiscard]] std::string_view finish();

 private:
  const text::Tokenizer* tokenizer_;
  text::Utf8Stream characters_;
  std::string text_;
};

}  // namespace hadal::api
