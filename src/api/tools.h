#pragma once

#include "api/fields.h"
#include "api/request.h"

namespace hadal::api {

/// tools, tool_choice and parallel_tool_calls of a chat.
[[nodiscard]] Tools read_tools(Family family, Fields& fields);

}  // namespace hadal::api
