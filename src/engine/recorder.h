#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "engine/vector_set.h"
#include "model/model.h"

namespace hadal::engine {

struct RecordOptions {
  std::int64_t chunk = 512;  // rows of the recorded sequence in one step
  std::int64_t batch = 1;    // sequences in the same steps; all but the first have other tokens and lengths
  std::vector<std::int64_t> logits_positions;      // ascending
  std::vector<std::int64_t> mtp_logits_positions;  // likewise, of the MTP layer; empty: logits_positions
  std::vector<std::int64_t> trace_positions;       // ascending; not empty: record activations of every layer
  bool drafter = false;                            // record the drafter too
  std::vector<std::int64_t> context_positions;     // DSpark: last context position of each draft, ascending
  std::vector<std::int64_t> anchors;               // DSpark: the token after each; -1: the main model's argmax
  std::vector<std::int64_t> full_positions;        // DSpark: contexts whose draft layers are recorded; a subset
  /// Replaces the input of every layer by `layers.L.input` and `mtp.0.input` of this set (steps must hold the whole
  /// sequence).
  const formats::WeightSource* forced_inputs = nullptr;
};

/// Runs the model over `tokens` and records what it computes, under the names and shapes that docs/vectors.md gives:
/// `logits_positions`, `logits`; with traces `layers.L.*`; with the drafter `mtp.0.*` or `dspark.*`.
/// Errors: kInvalidArgument, and those of the model.
[[nodiscard]] Result<std::unique_ptr<VectorSet>> record(const model::Model& model, std::span<const std::int64_t> tokens,
                                                        const RecordOptions& options);

}  // namespace hadal::engine
