#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hadal::apps {

/// Token ids from a text of numbers, separated by white space, commas or brackets (so that a JSON list is read too).
/// Errors: kInvalidArgument; without a tokenizer it says why ids are needed.
[[nodiscard]] Result<std::vector<std::int64_t>> parse_ids(std::string_view text, bool have_tokenizer);

}  // namespace hadal::apps
