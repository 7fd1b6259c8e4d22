#pragma once

#include <CLI/App.hpp>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/generation.h"

namespace hadal::apps {

/// Flags of the commands that generate.
struct GenerationFlags {
  engine::GenerationOptions options;
  std::string drafts = "auto";
  std::int64_t max_drafts = 3;  // of MTP; DSpark has its own
};

/// Declares the flags; `flags` holds the defaults.
void add_generation_flags(CLI::App& command, GenerationFlags& flags);

/// The options with everything parsed. Errors: kInvalidArgument.
[[nodiscard]] Result<engine::GenerationOptions> generation_options(const GenerationFlags& flags);

/// "prefill 512 tokens, 120.1 tokens/s | decode 64 tokens, 8.2 tokens/s | ...", for people.
[[nodiscard]] std::string summary(const engine::GenerationStatistics& statistics);
/// The same for machines.
[[nodiscard]] nlohmann::ordered_json to_json(const engine::GenerationStatistics& statistics);

}  // namespace hadal::apps
