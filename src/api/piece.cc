#include "api/piece.h"

namespace hadal::api {

Piece PieceReader::read(std::int32_t id) {
  text_.clear();
  const std::string_view bytes = tokenizer_->token_bytes(id);
  if (!tokenizer_->is_added(id)) {
    characters_.push(bytes, text_);
    return {.text = text_};
  }
  characters_.finish(text_);
  return {.text = text_, .special = bytes};
}

std::string_view PieceReader::finish() {
  text_.clear();
  characters_.finish(text_);
  return text_;
}

}  // namespace hadal::api
