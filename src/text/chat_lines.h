#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "text/chat_render.h"
#include "text/tokenizer.h"

// Chats and model outputs as lines of JSON, one a line, in the form of tests/golden/text/: for batch use of `render`
// and `parse` from scripts.
namespace hadal::text {

enum class TextMode : std::uint8_t {
  kOfficial,  // the whole prompt is encoded as one text: markers in a caller's text become tokens
  kGuarded,   // markers in a caller's text stay text
};

/// Ids of a prompt. Errors: those of Tokenizer::encode.
[[nodiscard]] Result<std::vector<std::int32_t>> encode_prompt(const Tokenizer& tokenizer, const RenderedPrompt& prompt,
                                                              TextMode mode);

struct RenderLineOptions {
  const Tokenizer* tokenizer = nullptr;  // none: no ids in the answer
  TextMode mode = TextMode::kOfficial;
  std::optional<ChatRevision> revision{};               // instead of the line's own
  ChatRevision default_revision = ChatRevision::k0731;  // when the line names none, or "any"
};

/// {"messages", "context"?, "options"?, "revision"?, "id"?} -> {"id"?, "prompt", "ids"?} or {"id"?, "error"} for a
/// chat that cannot be rendered. Errors: kCorrupt (no JSON), kInvalidArgument (not such a line).
[[nodiscard]] Result<std::string> render_line(std::string_view line, const RenderLineOptions& options);

/// {"text" or "feeds", "options"?, "finish"?, "id"?} -> {"id"?, "expected"} for a text, {"id"?, "emits", "at_finish"}
/// for feeds. Errors as render_line.
[[nodiscard]] Result<std::string> parse_line(std::string_view line);

/// "2604", "0731", or "any" (0731).
[[nodiscard]] Result<ChatRevision> chat_revision_from(std::string_view text);

}  // namespace hadal::text
