#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "train/data/data_loader.h"
#include "train/training_step.h"

namespace hadal::train {

/// Rows of one step, as the document parts in them. Padding is left out.
struct Batch {
  std::vector<Row> rows;                    // own what `sequences` point to
  std::vector<TrainingSequence> sequences;  // in order
  BatchCounts counts;                       // of all sequences
  std::int64_t tokens = 0;
};

/// The next `tokens` / seq_len rows of the loader. Errors: those of the loader.
[[nodiscard]] Result<Batch> next_batch(DataLoader& loader, std::int64_t tokens);

/// Cuts sequences, in order, into groups of at most `tokens` tokens and `count` sequences; where the borders lie
/// depends on the lengths alone. Every sequence has at most `tokens` tokens.
[[nodiscard]] std::vector<std::span<const TrainingSequence>> micro_batches(std::span<const TrainingSequence> sequences,
                                                                           std::int64_t tokens, std::int64_t count);

}  // namespace hadal::train
