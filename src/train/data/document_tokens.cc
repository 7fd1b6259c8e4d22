#include "train/data/document_tokens.h"

#include <fmt/format.h>

#include <optional>

#include "text/chat_lines.h"
#include "text/chat_markers.h"
#include "text/chat_render.h"

namespace hadal::train {

Result<DocumentMarkers> DocumentMarkers::of(const text::Tokenizer& tokenizer) {
  const std::optional<std::int32_t> bos = tokenizer.bos_id();
  const std::optional<std::int32_t> eos = tokenizer.eos_id();
  if (!bos || !eos) {
    return fail(ErrorCode::kInvalidArgument,
                "the tokenizer has no token for the beginning or the end of a document; name them in its "
                "tokenizer_config.json (bos_token, eos_token)");
  }
  return DocumentMarkers{.bos = *bos,
                         .eos = *eos,
                         .pad = tokenizer.pad_id().value_or(*eos),
                         .assistant = tokenizer.added_token_id(text::marker::kAssistant).value_or(-1),
                         .think_end = tokenizer.added_token_id(text::marker::kThinkEnd).value_or(-1)};
}

Result<TokenDocument> text_tokens(const text::Tokenizer& tokenizer, const DocumentMarkers& markers,
                                  std::string_view text) {
  HADAL_ASSIGN(const std::vector<std::int32_t> ids, tokenizer.encode(text, {.added_tokens = text::AddedTokens::kOff}));
  TokenDocument document{.tokens = {}, .mask = {}, .bytes = static_cast<std::int64_t>(text.size())};
  document.tokens.reserve(ids.size() + 2);
  document.tokens.push_back(markers.bos);
  document.tokens.insert(document.tokens.end(), ids.begin(), ids.end());
  document.tokens.push_back(markers.eos);
  return document;
}

Result<TokenDocument> chat_tokens(const text::Tokenizer& tokenizer, const DocumentMarkers& markers,
                                  std::span<const text::Message> messages) {
  if (markers.assistant < 0 || markers.think_end < 0) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("the tokenizer lacks the chat markers '{}' and '{}': it cannot encode conversations",
                            text::marker::kAssistant, text::marker::kThinkEnd));
  }
  while (!messages.empty() && messages.back().role != "assistant") messages = messages.first(messages.size() - 1);
  const auto prompt = text::render_chat(messages, {.thinking_mode = "chat"});
  if (!prompt) return tl::unexpected(prompt.error().to_error());
  TokenDocument document;
  HADAL_ASSIGN(document.tokens, text::encode_prompt(tokenizer, *prompt, text::TextMode::kGuarded));
  for (const text::ByteRange& range : prompt->caller_ranges) document.bytes += range.end - range.begin;
  // An answer begins behind `assistant, think_end`, which no content can hold in this mode, and ends with its eos.
  bool answering = false;
  for (std::size_t at = 0; at < document.tokens.size(); ++at) {
    const std::int32_t id = document.tokens[at];
    document.mask.push_back(answering ? 1 : 0);
    if (answering && id == markers.eos) answering = false;
    if (id == markers.think_end && at > 0 && document.tokens[at - 1] == markers.assistant) answering = true;
  }
  return document;
}

}  // namespace hadal::train
