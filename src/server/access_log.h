#pragma once

#include <string>

#include "server/http_server.h"

namespace hadal::server {

/// One line of JSON with a line feed: who asked for what and how it went. Neither prompts nor answers nor headers.
[[nodiscard]] std::string access_line(const RequestRecord& record);

}  // namespace hadal::server
