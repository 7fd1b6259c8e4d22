#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "text/tokenizer.h"

namespace hadal::text {

/// One line of tokenize.jsonl or tokenize_bytes.jsonl (tests/golden/text) without its results -> a JSON object with its
/// `id`, if it has one, and the results: `ids` for `text` or `repeat` (= [unit, count]), and `ids_plain` (added tokens
/// off) where different; `first_invalid`, `replaced` and `ids` for `hex`. With AddedTokens::kOff `ids` are the plain
/// ones. Error: kInvalidArgument (not such an object).
[[nodiscard]] Result<std::string> tokenize_line(const Tokenizer& tokenizer, std::string_view line,
                                                AddedTokens added_tokens = AddedTokens::kRecognised);

/// One line of detokenize.jsonl (`ids`, optionally `skip_special`) -> `id`, `pieces`, `tail` and `text`.
[[nodiscard]] Result<std::string> detokenize_line(const Tokenizer& tokenizer, std::string_view line);

}  // namespace hadal::text
