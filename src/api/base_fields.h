#pragma once

#include "api/fields.h"
#include "api/request.h"

namespace hadal::api {

/// The model's choice, noting the error; null members after one.
[[nodiscard]] ModelChoice read_model(Family family, Fields& fields, const RequestSettings& settings);

/// Fields that chats and completions share, except max_tokens and logprobs.
void read_base(Fields& fields, const RequestSettings& settings, RequestBase& request);

/// max_tokens or `fallback`; above the model's most an error in DeepSeek's family, clamped in OpenAI's.
void read_max_tokens(Fields& fields, std::string_view key, std::int64_t least, std::int64_t most, RequestBase& request);

/// Drops what the official service ignores, and lists it.
void apply_policy(Fields& fields, const RequestSettings& settings, bool thinking, RequestBase& request);

/// Lists ignored fields; with strict_fields an unknown one is an error.
void finish_fields(Fields& fields, const RequestSettings& settings, RequestBase& request);

}  // namespace hadal::api
