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

/// Working memory of one worker.
struct Scratch {
  float* scores;
  std::uint32_t* candidates;
  float* weights;  // [heads]
  float* packed;   // one key tile

  Scratch(std::byte* memory, const CpuBackend& backend, const ops::IndexerSelect::Args& args) {
    const std::int64_t count = score_count(backend, args.max_entries);
    Carver carver(memory);
    scores = carver.take<float>(count);
    candidates = carver.take<std::uint32_t>(count);
    weights = carver.take<float>(args.query.extent(1));
    packed = carver.take<float>(key_tile(backend) * args.query.extent(2));
  }
};

std::int64_t worker_bytes(const CpuBackend& backend, const ops::IndexerSelect::Args& args) {
  constexpr std::int64_t kFloat = sizeof(float);
  return 2 * padded(score_count(backend, args.max_entries) * kFloat) + padded(args.query.extent(1) * kFloat) +
         padded(key_tile(backend) * args.query.extent(2) * kFloat);
}

std::int64_t visible_entries(const ops::IndexerSelect::Args& args, std::int64_t token) {
  return (args.layout.positions.as<std::int64_t>()[token] + 1) / args.ratio;
}

/// Scores of the key tiles [begin, end) of one query row.
void score_tiles(const CpuBackend& backend, const ops::IndexerSelect::Args& args, std::int64_t token,
                 std::int64_t begin, std::int64_t end, const Scratch& scratch, float* scores) {
  const OperatorKernels& kernels = backend.kernels();
  const bool bf16_keys = is_bf16(args.query);
  const auto pack = bf16_keys ? kernels.pack_keys_bf16 : kernels.pack_keys;
  const auto score = bf16_keys ? kernels.index_scores_bf16 : kernels.index_scores;
  const SequenceState state = SequenceState::of_row(args.layout, token);
  const std::int64_t visible = visible_entries(args, token);
  const std::int64_t heads = args.query.extent(1);
  const std::int64_t channels = args.query.extent(2);
  const std::int64_t tile = key_tile(backend);
  constexpr std::int64_t kLargestTile = 64;
  const std::byte* keys[kLargestTile];
  kernels.scale(args.head_weights.row<float>(token), static_cast<float>(args.weight_scale), scratch.weights, heads);
  for (std::int64_t i = begin; i < end; ++i) {
    const std::int64_t count = std::min(tile, visible - i * tile);
    for (std::int64_t key = 0; key < count; ++key) keys[key] = state.entry(args.pages, i * tile + key);
    pack(keys, count, channels, scratch.packed);
    score(element(args.query, token, 0), heads, scratch.weights, scratch.packed, channels, scores + i * tile);
  }
}

/// Writes a row's choice; its scores are made by `score` if any are needed.
template <class Score>
void choose(const CpuBackend& backend, const ops::IndexerSelect::Args& args, std::int64_t token, const Scratch& scratch,
            Score&& score) {
  const std::int64_t topk = args.selected.extent(1);
  const std::int64_t visible = visible_entries(args, token);
  std::int32_t* selected = args.selected.row<std::int32_t>(token);
  if (visible > topk) {
    score();
    backend.kernels().select_top(scratch.scores, visible, topk, selected, scratch.candidates);
    return;
  }
  for (std::int64_t i = 0; i < topk; ++i) selected[i] = i < visible ? static_cast<std::int32_t>(i) : -1;
}

void enqueue(ops::Stream& stream, const ops::IndexerSelect::Args& args) {
  CpuBackend& backend = backend_of(stream);
  ThreadPool& pool = backend.pool();
  const std::int64_t tokens = args.query.extent(0);
  const std::int64_t tile = key_tile(backend);
  const auto scratch_of = [&](int worker) {
    return Scratch(stream.scratch() + worker * worker_bytes(backend, args), backend, args);
  };
  const auto tiles_of = [&](std::int64_t token) { return (visible_entries(args, token) + tile - 1) / tile; };
  if (tokens >= 4 * backend.workers()) {
    pool.parallel_for(tokens, 1, [&](std::int64_t begin, std::int64_t end, int worker) {
      const Scratch scratch = scratch_of(worker);
      for (std::int64_t token = begin; token < end; ++token) {
        choose(backend, args, token, scratch,
               [&] { score_tiles(backend, args, token, 0, tiles_of(token), scratch, scratch.scores); });
      }
    });
    return;
  }
  // Few tokens: the entries of each are split, and one thread chooses.
  const Scratch shared = scratch_of(0);
  for (std::int64_t token = 0; token < tokens; ++token) {
    choose(backend, args, token, shared, [&] {
      pool.parallel_for(tiles_of(token), 4, [&](std::int64_t begin, std::int64_t end, int worker) {
        score_tiles(backend, args, token, begin, end, scratch_of(worker), shared.scores);
      });
    });
  }
}

bool supports(const ops::IndexerSelect::Args& args) { return is_f32_or_bf16(args.query) && is_f32(args.head_weights); }

}  // namespace

void add_indexer_select(ops::OpTable& table) {
  table.add<ops::IndexerSelect>({.implementation = "cpu",
                                 .supports = supports,
                                 .scratch_bytes =
                                     [](const ops::Backend& backend, const ops::IndexerSelect::Args& args) {
                                       return worker_bytes(static_cast<const CpuBackend&>(backend), args) *
                                              backend.workers();
                                     },
                                 .enqueue = enqueue});
}

}  // namespace hadal::cpu
