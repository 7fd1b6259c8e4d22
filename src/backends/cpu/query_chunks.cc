#include "backends/cpu/query_chunks.h"

#include <algorithm>

namespace hadal::cpu {

std::int64_t max_partial_entries(std::int64_t rows, std::int64_t ratio, std::int64_t most_entries) {
  if (ratio == 0) return 0;
  // One sequence of all rows has the most: entries grow with the position.
  std::int64_t total = 0;
  for (std::int64_t end = 2 * kChunkRows; end < rows + kChunkRows; end += kChunkRows) {
    total += std::min(most_entries, std::min(end, rows) / ratio);
  }
  return total;
}

std::int64_t cut_chunks(const ops::StepLayout& layout, std::int64_t ratio, QueryChunk* chunks) {
  const auto* sequence = layout.sequence.as<std::int32_t>();
  const auto* positions = layout.positions.as<std::int64_t>();
  const std::int64_t rows = layout.sequence.extent(0);
  std::int64_t count = 0;
  std::int64_t later = 0;
  std::int64_t entry_base = 0;
  for (std::int64_t row = 0; row < rows;) {
    std::int64_t end = row + 1;
    while (end < rows && end - row < kChunkRows && sequence[end] == sequence[row]) ++end;
    QueryChunk& chunk = chunks[count++];
    chunk = {.sequence = sequence[row],
             .first_row = row,
             .rows = end - row,
             .position = positions[row],
             .later = later,
             .entries = ratio == 0 ? 0 : (positions[end - 1] + 1) / ratio,
             .entry_base = entry_base};
    if (chunk.position > 0) {
      ++later;
      entry_base += chunk.entries;
    }
    row = end;
  }
  return count;
}

void add_partial_entries(ThreadPool& pool, const QueryChunk* chunks, std::int64_t count, const float* partial,
                         const TensorView& first_block, const TensorView& d_entries) {
  const std::int64_t channels = d_entries.extent(1);
  constexpr std::int64_t kPart = 64;  // channels a task
  pool.parallel_for((channels + kPart - 1) / kPart, 1, [&](std::int64_t begin, std::int64_t end, int) {
    const std::int64_t last = std::min(channels, end * kPart);
    for (std::int64_t i = 0; i < count; ++i) {
      const QueryChunk& chunk = chunks[i];
      if (chunk.position == 0) continue;
      for (std::int64_t j = 0; j < chunk.entries; ++j) {
        const float* from = partial + (chunk.entry_base + j) * channels;
        float* to = d_entries.row<float>(first_block.as<std::int32_t>()[chunk.sequence] + j);
        for (std::int64_t c = begin * kPart; c < last; ++c) to[c] += from[c];
      }
    }
  });
}

}  // namespace hadal::cpu
