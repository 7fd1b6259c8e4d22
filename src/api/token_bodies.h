#pragma once

#include <string>

#include "api/request.h"
#include "text/json_text.h"
#include "text/tokenizer.h"

// Answers that need the tokenizer only. Their errors are those of OpenAI's family.
namespace hadal::api {

/// `POST /tokenize`: of a text ("content", or "prompt", which gets a BOS) or of a chat ("messages" and the other
/// fields of a chat). Special tokens in a text are text unless "parse_special" says otherwise.
[[nodiscard]] ApiResult<std::string> tokenize_body(const text::JsonValue& body, const text::Tokenizer& tokenizer,
                                                   const RequestSettings& settings);

/// `POST /detokenize`: the text of "tokens", with special tokens.
[[nodiscard]] ApiResult<std::string> detokenize_body(const text::JsonValue& body, const text::Tokenizer& tokenizer);

/// `POST /apply-template`: the prompt of a chat as text, for reading: markers that the client typed look like real
/// ones.
[[nodiscard]] ApiResult<std::string> template_body(const text::JsonValue& body, const RequestSettings& settings);

}  // namespace hadal::api
