#pragma once

#include <atomic>
#include <cstdint>

#include "base/thread_pool.h"
#include "ops/step_layout.h"
#include "tensor/tensor.h"

namespace hadal::cpu {

/// Consecutive query rows of one sequence of a training step. One task owns a chunk and takes its rows in order; what
/// several chunks of a sequence give to one key is added in the order of the chunks. So the order of every sum depends
/// on the lengths of the sequences alone, and a long sequence still keeps all threads busy.
struct QueryChunk {
  std::int64_t sequence;
  std::int64_t first_row;   // of the step
  std::int64_t rows;        // at most kChunkRows
  std::int64_t position;    // of first_row in the sequence; chunks other than a sequence's first have partial sums
  std::int64_t later;       // how many such chunks come before this one
  std::int64_t entries;     // visible to its last row
  std::int64_t entry_base;  // first of `entries` rows for its partial sums
};

inline constexpr std::int64_t kChunkRows = 512;

/// Upper bounds for a step of `rows` rows, from shapes alone.
[[nodiscard]] constexpr std::int64_t max_chunks(std::int64_t rows, std::int64_t sequences) {
  return rows / kChunkRows + sequences;
}
[[nodiscard]] constexpr std::int64_t max_later_chunks(std::int64_t rows) { return rows / kChunkRows; }
/// Rows of partial sums of entries, where no sequence has more than `most_entries` entries.
[[nodiscard]] std::int64_t max_partial_entries(std::int64_t rows, std::int64_t ratio, std::int64_t most_entries);

/// Cuts the rows of a step (each sequence's lie one after the other) into chunks; returns their number. `ratio` 0: no
/// entries.
std::int64_t cut_chunks(const ops::StepLayout& layout, std::int64_t ratio, QueryChunk* chunks);

/// d_entries[first_block + j] += partial[entry_base + j] for the chunks that have partial sums, in order.
void add_partial_entries(ThreadPool& pool, const QueryChunk* chunks, std::int64_t count, const float* partial,
                         const TensorView& first_block, const TensorView& d_entries);

/// body(chunk, worker) for each chunk, the last ones first: they see the most entries.
template <class Body>
void for_chunks(ThreadPool& pool, const QueryChunk* chunks, std::int64_t count, Body&& body) {
  std::atomic<std::int64_t> left{count};  // shares out work only: no sum depends on who takes which chunk
  pool.parallel_for(pool.threads(), 1, [&](std::int64_t, std::int64_t, int worker) {
    for (std::int64_t i = left.fetch_sub(1); i > 0; i = left.fetch_sub(1)) body(chunks[i - 1], worker);
  });
}

}  // namespace hadal::cpu
