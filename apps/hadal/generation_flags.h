#pragma once

#include <CLI/App.hpp>
#include <filesystem>
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
  // Which of these were given; the others may come from the checkpoint.
  const CLI::Option* temperature = nullptr;
  const CLI::Option* top_p = nullptr;
  const CLI::Option* top_k = nullptr;
};

/// Declares the flags; `flags` holds the defaults.
void add_generation_flags(CLI::App& command, GenerationFlags& flags);

/// The options with everything parsed. Errors: kInvalidArgument.
[[nodiscard]] Result<engine::GenerationOptions> generation_options(const GenerationFlags& flags);

/// The same, but what was not given by flags is as generation_config.json of the checkpoint recommends.
[[nodiscard]] Result<engine::GenerationOptions> generation_options(const GenerationFlags& flags,
                                                                   const std::filesystem::path& checkpoint);

/// "prefill 512 tokens, 120.1 tokens/s | decode 64 tokens, 8.2 tokens/s | ...", for people.
[[nodiscard]] std::string summary(const engine::GenerationStatistics& statistics);
/// The same for machines.
[[nodiscard]] nlohmann::ordered_json to_json(const engine::GenerationStatistics& statistics);

}  // namespace hadal::apps
