#pragma once

#include <chrono>
#include <string>

#include "server/key_file.h"

namespace hadal::server {

/// The keys of a file for people: a line each, with how they begin, whether they are valid at `now`, and their limits.
[[nodiscard]] std::string keys_table(const KeyFile& file, std::chrono::sys_seconds now);

/// The same as a JSON array, without hashes.
[[nodiscard]] std::string keys_json(const KeyFile& file, std::chrono::sys_seconds now);

}  // namespace hadal::server
