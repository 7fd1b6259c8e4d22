#include "train/batch.h"

#include <utility>

namespace hadal::train {

Result<Batch> next_batch(DataLoader& loader, std::int64_t tokens) {
  Batch batch;
  for (std::int64_t row = 0; row < tokens / loader.seq_len(); ++row) {
    HADAL_ASSIGN(Row next, loader.next());
    batch.rows.push_back(std::move(next));
  }
  for (const Row& row : batch.rows) {
    for (const Part& part : row.parts) {
      if (part.source < 0) continue;
      const auto start = static_cast<std::size_t>(part.start);
      const auto length = static_cast<std::size_t>(part.length);
      batch.sequences.push_back({.tokens = std::span(row.tokens).subspan(start, length),
                                 .loss_mask = std::span(row.loss_mask).subspan(start, length)});
      batch.tokens += part.length;
    }
  }
  batch.counts = count(batch.sequences);
  return batch;
}

std::vector<std::span<const TrainingSequence>> micro_batches(std::span<const TrainingSequence> sequences,
                                                             std::int64_t tokens, std::int64_t count) {
  std::vector<std::span<const TrainingSequence>> groups;
  std::size_t begin = 0;
  std::int64_t filled = 0;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const auto length = static_cast<std::int64_t>(sequences[i].tokens.size());
    if (i > begin && (filled + length > tokens || static_cast<std::int64_t>(i - begin) == count)) {
      groups.push_back(sequences.subspan(begin, i - begin));
      begin = i;
      filled = 0;
    }
    filled += length;
  }
  if (begin < sequences.size()) groups.push_back(sequences.subspan(begin));
  return groups;
}

}  // namespace hadal::train
