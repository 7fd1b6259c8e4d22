#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "formats/drafter_kind.h"
#include "formats/model_config.h"
#include "formats/tensor_table.h"
#include "model/numerics.h"
#include "model/state.h"

namespace hadal::plan {

/// What is asked about a checkpoint.
struct InspectionRequest {
  std::filesystem::path path;          // a checkpoint directory, or a config.json alone
  std::int64_t context = 0;            // tokens of one sequence; 0: the model's context length
  std::int64_t memory_bytes = 0;       // of the machine
  std::string_view numerics = "bf16";  // profile whose rows the state holds
};

/// What a machine's memory can hold: weights and state; activations come on top.
struct MemoryFit {
  std::int64_t memory_bytes = 0;
  bool resident = false;             // all weights and one sequence of the asked context
  std::int64_t largest_context = 0;  // tokens of one sequence beside all weights; 0: not even an empty one
  std::int64_t sequences = 0;        // of the asked context beside all weights
  bool streamed = false;             // all but the routed experts, the experts of one token, and one sequence
  double resident_experts = 0;       // share of the routed experts that stays in memory then, 0..1
};

struct Inspection {
  std::filesystem::path path;
  bool has_weights = false;  // false: everything is derived from the configuration
  std::string release;
  formats::ModelConfig config;
  formats::DrafterShape drafter;
  formats::WeightFormats formats;
  formats::Totals totals{};
  std::int64_t shards = 0;
  std::int64_t tensors = 0;
  std::int64_t file_bytes = 0;  // of all shards, headers included
  model::NumericsProfile profile;
  std::int64_t context = 0;
  std::int64_t state_fixed_bytes = 0;  // of a sequence, whatever its length
  std::int64_t state_page_bytes = 0;   // more for each ops::kPageTokens tokens
  std::int64_t state_bytes = 0;        // of a sequence of `context` tokens
  MemoryFit fit;
  std::vector<std::string> warnings;
};

/// Looks at a checkpoint without reading its weights (but for the tables of hash routing).
/// Errors: as Checkpoint::open, read_model_config, check_tensors and numerics_profile.
[[nodiscard]] Result<Inspection> inspect(const InspectionRequest& request);

/// The report for people: aligned tables, ends with a newline.
[[nodiscard]] std::string report_text(const Inspection& inspection);
/// The same as one JSON object, ends with a newline.
[[nodiscard]] std::string report_json(const Inspection& inspection);

}  // namespace hadal::plan
