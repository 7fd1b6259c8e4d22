#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "api/replay_map.h"
#include "api/request.h"
#include "text/chat_render.h"
#include "text/tokenizer.h"

namespace hadal::api {

/// The prompt of a chat as text with the ranges that the client wrote; its answers count in `request.messages`. Error:
/// kInvalidValue for a chat that the encoding has no form for.
[[nodiscard]] ApiResult<text::RenderedPrompt> render_prompt(const ChatRequest& request);

/// The prompt of a completion: BOS and the text, or the FIM form when the request has a suffix. For a prompt of text.
[[nodiscard]] text::RenderedPrompt render_prompt(const CompletionRequest& request, const CompletionPrompt& prompt);

/// A chat's prompt in ids.
struct ChatPrompt {
  std::vector<std::int32_t> ids{};
  std::vector<std::int64_t> marks{};   // positions whose state other chats may share: the end of system text and tools
  Hash128 name{};                      // of the ids before the answer's turn: for ReplayMap::remember
  std::vector<std::int32_t> opened{};  // the last of `ids`: the answer's turn as far as the client wrote it
  std::int64_t replayed = 0;           // turns of the assistant whose sampled ids were known
  std::int64_t rendered = 0;           // and others
};

/// Ids of a chat's rendered prompt. A turn that `replays` (may be null) knows behind the ids before it becomes exactly
/// the sampled ids, all else is encoded as it stands; markers in the client's own text stay text. Errors: as encode.
[[nodiscard]] ApiResult<ChatPrompt> encode_chat(const text::Tokenizer& tokenizer, const ChatRequest& request,
                                                const text::RenderedPrompt& prompt, ReplayMap* replays,
                                                std::string_view domain);

/// Ids of a rendered prompt; markers in the client's own text stay text. Errors: kInvalidValue, kInternal.
[[nodiscard]] ApiResult<std::vector<std::int32_t>> encode(const text::Tokenizer& tokenizer,
                                                          const text::RenderedPrompt& prompt);

/// Ids of a completion's prompt; ids given by the client stay as they are. Error: kInvalidValue for an added token
/// among them without `raw`, and for a suffix where the tokenizer has no tokens for the FIM form.
[[nodiscard]] ApiResult<std::vector<std::int32_t>> encode(const text::Tokenizer& tokenizer,
                                                          const CompletionRequest& request,
                                                          const CompletionPrompt& prompt, bool raw);

}  // namespace hadal::api
