#pragma once

#include <CLI/App.hpp>
#include <functional>
#include <string>

#include "base/result.h"

namespace hadal::apps {

/// Declares --trace FILE.
void add_trace_flag(CLI::App& command, std::string& path);

/// Runs `work` and, unless the path is empty, writes what it traced; after an error too, whose message is the one that
/// is returned. A path that cannot be written is an error before any work.
[[nodiscard]] Status traced(const std::string& path, const std::function<Status()>& work);

}  // namespace hadal::apps
