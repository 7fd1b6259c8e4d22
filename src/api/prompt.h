#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "api/request.h"
#include "text/chat_render.h"
#include "text/tokenizer.h"

namespace hadal::api {

/// The prompt of a chat as text with the ranges that the client wrote. Error: kInvalidValue for a chat that the
/// encoding has no form for.
[[nodiscard]] ApiResult<text::RenderedPrompt> render_prompt(const ChatRequest& request);

/// The prompt of a completion: BOS and the text, or the FIM form when the request has a suffix. For a prompt of text.
[[nodiscard]] text::RenderedPrompt render_prompt(const CompletionRequest& request, const CompletionPrompt& prompt);

/// Ids of a rendered prompt; markers in the client's own text stay text. Errors: kInvalidValue, kInternal.
[[nodiscard]] ApiResult<std::vector<std::int32_t>> encode(const text::Tokenizer& tokenizer,
                                                          const text::RenderedPrompt& prompt);

/// Ids of a completion's prompt; ids given by the client stay as they are. Error: kInvalidValue for an added token
/// among them without `raw`.
[[nodiscard]] ApiResult<std::vector<std::int32_t>> encode(const text::Tokenizer& tokenizer,
                                                          const CompletionRequest& request,
                                                          const CompletionPrompt& prompt, bool raw);

}  // namespace hadal::api
