#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/model.h"

namespace hadal::testing {

/// How a state is treated on the way.
enum class StateUse : std::uint8_t { kStraight, kSnapshot, kFork, kRollBack };

/// One way to compute the logits of a sequence: none of it may show in the result.
struct Cell {
  std::int64_t batch = 1;  // sequences in each step; the others have other tokens and lengths
  std::int64_t chunk = 0;  // rows of the sequence a step; 0: random
  StateUse state = StateUse::kStraight;
  std::int64_t position = 0;  // where the state is snapshotted, forked or rolled back
  bool drafts = false;        // the second half in rounds of drafts, right for some positions and wrong from there on
  std::uint32_t seed = 0;     // of everything random above
};

[[nodiscard]] std::string to_string(const Cell& cell);

/// The cell number `index` of the stream of random cells for sequences of `length` tokens.
[[nodiscard]] Cell random_cell(std::uint32_t index, std::int64_t length);

/// Logits [length, vocab_size] of every position, computed the cell's way.
[[nodiscard]] Result<std::vector<float>> run_cell(const model::Model& model, std::span<const std::int64_t> tokens,
                                                  const Cell& cell);

}  // namespace hadal::testing
