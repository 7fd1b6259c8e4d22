#include "ops/indexer_select.h"

#include <algorithm>

#include "backends/cpu/register.h"
#include "backends/cpu/rows.h"
#include "backends/cpu/sequence_state.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

std::int64_t key_tile(const CpuBackend& backend) { return 2 * backend.kernels().lanes; }

/// Numbers of a row of scores: whole key tiles.
std::int64_t score_count(const CpuBackend& backend, std::int64_t max_entries) {
  const std::int64_t tile = key_tile(backend);
  return (max_entries + tile - 1) / tile * tile;
}

constexpr std::int64_t kSharedScores = 65536;  // scores of the rows that share one packing of the entries: in L2
constexpr std::int64_t kMostQueries = 32;

/// Query rows that share one packing of the entries.
std::int64_t most_queries(const CpuBackend& backend, const ops::IndexerSelect::Args& args) {
  const std::int64_t count = std::max<std::int64_t>(1, score_count(backend, args.max_entries));
  return std::clamp<std::int64_t>(kSharedScores / count, 1, kMostQueries);
}

/// Working memory of one worker.
struct Scratch {
  float* scores;  // [queries, score_count]
  std::uint32_t* candidates;
  float* weights;      // [queries, heads]
  float* packed;       // one key tile
  std::int64_t bytes;  // of all this

  Scratch(std::byte* memory, const CpuBackend& backend, const ops::IndexerSelect::Args& args) {
    const std::int64_t count = score_count(backend, args.max_entries);
    Carver carver(memory);
    // Grows with max_entries: a step may see fewer entries than were planned for, and must not need more memory.
    scores = carver.take<float>(std::max(count, std::min(kMostQueries * count, kSharedScores)));
    candidates = carver.take<std::uint32_t>(count);
    weights = carver.take<float>(kMostQueries * args.query.extent(1));
    packed = carver.take<float>(key_tile(backend) * args.query.extent(2));
    bytes = carver.used();
  }
};

std::int64_t visible_entries(const ops::IndexerSelect::Args& args, std::int64_t token) {
  return (args.layout.positions.as<std::int64_t>()[token] + 1) / args.ratio;
}

/// Consecutive query rows of one sequence that need scores.
struct Rows {
  std::int64_t first;
  std::int64_t count;
  std::int64_t visible;  // most entries that any of them sees
};

/// Scores of the key tiles [begin, end) of some rows; those of a row lie score_count() apart. A row's score of an entry
/// is the same whichever rows share the tile.
void score_tiles(const CpuBackend& backend, const ops::IndexerSelect::Args& args, const Rows& rows, std::int64_t begin,
                 std::int64_t end, const Scratch& scratch, float* scores) {
  const OperatorKernels& kernels = backend.kernels();
  const bool bf16_keys = is_bf16(args.query);
  const auto pack = bf16_keys ? kernels.pack_keys_bf16 : kernels.pack_keys;
  const auto score = bf16_keys ? kernels.index_scores_bf16 : kernels.index_scores;
  const SequenceState state = SequenceState::of_row(args.layout, rows.first);
  const std::int64_t heads = args.query.extent(1);
  const std::int64_t channels = args.query.extent(2);
  const std::int64_t tile = key_tile(backend);
  const std::int64_t stride = score_count(backend, args.max_entries);
  constexpr std::int64_t kLargestTile = 64;
  const std::byte* keys[kLargestTile];
  for (std::int64_t row = 0; row < rows.count; ++row) {
    kernels.scale(args.head_weights.row<float>(rows.first + row), static_cast<float>(args.weight_scale),
                  scratch.weights + row * heads, heads);
  }
  for (std::int64_t i = begin; i < end; ++i) {
    const std::int64_t count = std::min(tile, rows.visible - i * tile);
    for (std::int64_t key = 0; key < count; ++key) keys[key] = state.entry(args.pages, i * tile + key);
    pack(keys, count, channels, scratch.packed);
    for (std::int64_t row = 0; row < rows.count; ++row) {
      if (visible_entries(args, rows.first + row) <= i * tile) continue;
      score(element(args.query, rows.first + row, 0), heads, scratch.weights + row * heads, scratch.packed, channels,
            scores + row * stride + i * tile);
    }
  }
}

/// The choice of a row that sees no more than it may choose.
void choose_all(const ops::IndexerSelect::Args& args, std::int64_t token) {
  const std::int64_t visible = visible_entries(args, token);
  std::int32_t* selected = args.selected.row<std::int32_t>(token);
  for (std::int64_t i = 0; i < args.selected.extent(1); ++i) {
    selected[i] = i < visible ? static_cast<std::int32_t>(i) : -1;
  }
}

void choose_best(const CpuBackend& backend, const ops::IndexerSelect::Args& args, const Rows& rows,
                 const Scratch& scratch) {
  for (std::int64_t row = 0; row < rows.count; ++row) {
    const std::int64_t token = rows.first + row;
    backend.kernels().select_top(scratch.scores + row * score_count(backend, args.max_entries),
                                 visible_entries(args, token), args.selected.extent(1),
                                 args.selected.row<std::int32_t>(token), scratch.candidates);
  }
}

/// The rows from `token` on, at most to `end`, that can share tiles; none if row `token` needs no scores.
Rows gather_rows(const ops::IndexerSelect::Args& args, std::int64_t token, std::int64_t end, std::int64_t most) {
  const auto* sequence = args.layout.sequence.as<std::int32_t>();
  Rows rows{.first = token, .count = 0, .visible = 0};
  for (std::int64_t row = token; row < std::min(end, token + most) && sequence[row] == sequence[token]; ++row) {
    const std::int64_t visible = visible_entries(args, row);
    if (visible <= args.selected.extent(1)) break;
    rows.visible = std::max(rows.visible, visible);
    ++rows.count;
  }
  return rows;
}

void enqueue(ops::Stream& stream, const ops::IndexerSelect::Args& args) {
  CpuBackend& backend = backend_of(stream);
  ThreadPool& pool = backend.pool();
  const std::int64_t tokens = args.query.extent(0);
  const std::int64_t tile = key_tile(backend);
  const std::int64_t bytes = Scratch(nullptr, backend, args).bytes;
  const auto scratch_of = [&](int worker) { return Scratch(stream.scratch() + worker * bytes, backend, args); };
  const auto tiles_of = [&](const Rows& rows) { return (rows.visible + tile - 1) / tile; };
  if (tokens >= 4 * backend.workers()) {
    pool.parallel_for(tokens, 1, [&](std::int64_t begin, std::int64_t end, int worker) {
      const Scratch scratch = scratch_of(worker);
      for (std::int64_t token = begin; token < end;) {
        const Rows rows = gather_rows(args, token, end, most_queries(backend, args));
        if (rows.count == 0) {
          choose_all(args, token++);
          continue;
        }
        score_tiles(backend, args, rows, 0, tiles_of(rows), scratch, scratch.scores);
        choose_best(backend, args, rows, scratch);
        token += rows.count;
      }
    });
    return;
  }
  // Few tokens: the entries of each are split, and one thread chooses.
  const Scratch shared = scratch_of(0);
  for (std::int64_t token = 0; token < tokens; ++token) {
    const Rows rows = gather_rows(args, token, token + 1, 1);
    if (rows.count == 0) {
      choose_all(args, token);
      continue;
    }
    pool.parallel_for(tiles_of(rows), 4, [&](std::int64_t begin, std::int64_t end, int worker) {
      score_tiles(backend, args, rows, begin, end, scratch_of(worker), shared.scores);
    });
    choose_best(backend, args, rows, shared);
  }
}

bool supports(const ops::IndexerSelect::Args& args) { return is_f32_or_bf16(args.query) && is_f32(args.head_weights); }

}  // namespace

void add_indexer_select(ops::OpTable& table) {
  table.add<ops::IndexerSelect>({.implementation = "cpu",
                                 .supports = supports,
                                 .scratch_bytes =
                                     [](const ops::Backend& any, const ops::IndexerSelect::Args& args) {
                                       const auto& backend = static_cast<const CpuBackend&>(any);
                                       return Scratch(nullptr, backend, args).bytes * backend.workers();
                                     },
                                 .enqueue = enqueue});
}

}  // namespace hadal::cpu
