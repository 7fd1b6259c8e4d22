#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "text/chat_message.h"
#include "text/tokenizer.h"

namespace hadal::train {

/// A document as it is stored.
struct TokenDocument {
  std::vector<std::int32_t> tokens;
  std::vector<std::uint8_t> mask;  // chats: 1 for the tokens to be learned
  std::int64_t bytes = 0;          // of the texts
};

/// Ids that a document's form rests on. Error: kInvalidArgument (a tokenizer without one of them).
struct DocumentMarkers {
  std::int32_t bos = 0;
  std::int32_t eos = 0;
  std::int32_t pad = 0;
  std::int32_t assistant = -1;  // only chats need these
  std::int32_t think_end = -1;

  [[nodiscard]] static Result<DocumentMarkers> of(const text::Tokenizer& tokenizer);
};

/// `bos text eos`. Markers in the text are ordinary text. Error: that of Tokenizer::encode.
[[nodiscard]] Result<TokenDocument> text_tokens(const text::Tokenizer& tokenizer, const DocumentMarkers& markers,
                                                std::string_view text);

/// A chat in V4's encoding, without thinking, up to the last answer; to be learned are the answers and the eos behind
/// each. Markers in the contents are ordinary text. Errors: kInvalidArgument (a chat that cannot be rendered, a
/// tokenizer without the chat markers).
[[nodiscard]] Result<TokenDocument> chat_tokens(const text::Tokenizer& tokenizer, const DocumentMarkers& markers,
                                                std::span<const text::Message> messages);

}  // namespace hadal::train
