#include "ops/attention.h"

#include <algorithm>
#include <cstring>

#include "backends/cpu/register.h"
#include "backends/cpu/rows.h"
#include "backends/cpu/sequence_state.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

constexpr std::int64_t kHeads = 64;  // heads that share one packing of the keys

std::int64_t key_tile(const CpuBackend& backend) { return 2 * backend.kernels().lanes; }

std::int64_t whole_tiles(const CpuBackend& backend, std::int64_t keys) {
  const std::int64_t tile = key_tile(backend);
  return (keys + tile - 1) / tile * tile;
}

/// Queries that share one packing of the keys as well, where a query has few heads.
std::int64_t most_queries(const ops::Attention::Args& args) {
  const std::int64_t heads = args.query.extent(1);
  return heads >= kHeads ? 1 : 2 * kHeads / heads;
}

/// Keys of a block: the windows of its queries together, and entries; both rounded up to whole tiles.
std::int64_t most_keys(const CpuBackend& backend, const ops::Attention::Args& args) {
  return whole_tiles(backend, args.max_keys + most_queries(args)) + 2 * key_tile(backend);
}

/// Working memory of one worker.
struct Scratch {
  const std::byte** window;   // [most_keys]: rows by position
  const std::byte** entries;  // [most_keys]: rows in ascending order
  float* packed;              // one key tile
  float* scores;              // [queries * heads, stride]
  std::int64_t stride;        // not a power of two
  std::int64_t bytes;         // of all this

  Scratch(std::byte* memory, const CpuBackend& backend, const ops::Attention::Args& args) {
    Carver carver(memory);
    const std::int64_t keys = most_keys(backend, args);
    const std::int64_t queries = most_queries(args);
    stride = keys + 16;
    window = carver.take<const std::byte*>(keys);
    entries = carver.take<const std::byte*>(keys);
    packed = carver.take<float>(key_tile(backend) * args.query.extent(2));
    scores = carver.take<float>(
        (queries > 1 ? queries * args.query.extent(1) : std::min(kHeads, args.query.extent(1))) * stride);
    bytes = carver.used();
  }
};

/// The keys of consecutive query rows of one sequence.
struct Block {
  std::int64_t first;  // row of the step
  std::int64_t count = 0;
  std::int64_t begin = 0;  // window positions [begin, end) that any of the rows sees
  std::int64_t end = 0;
  std::int64_t entries = 0;  // most that any of the rows sees
};

/// Chosen entries of a row.
std::int64_t selected_count(const ops::Attention::Args& args, std::int64_t token) {
  const std::int32_t* selected = args.selected.row<std::int32_t>(token);
  return std::partition_point(selected, selected + args.selected.extent(1), [](std::int32_t id) { return id >= 0; }) -
         selected;
}

std::int64_t entry_count(const ops::Attention::Args& args, std::int64_t token) {
  if (args.ratio == 0) return 0;
  if (!args.selected.absent()) return selected_count(args, token);
  return (args.layout.positions.as<std::int64_t>()[token] + 1) / args.ratio;
}

/// The block of rows from `first` on, at most to `last`: as many as most_keys() has room for. How rows are gathered
/// shows in no bit: a row's own keys, their order and their arithmetic stay the same.
Block gather_block(const CpuBackend& backend, const ops::Attention::Args& args, std::int64_t first, std::int64_t last) {
  const auto* sequence = args.layout.sequence.as<std::int32_t>();
  const auto* begins = args.window_begin.as<std::int64_t>();
  const auto* ends = args.window_end.as<std::int64_t>();
  const std::int64_t room = most_keys(backend, args);
  Block block{.first = first};
  for (std::int64_t row = first; row < last && sequence[row] == sequence[first]; ++row) {
    Block next = block;
    next.begin = row == first ? begins[row] : std::min(block.begin, begins[row]);
    next.end = row == first ? ends[row] : std::max(block.end, ends[row]);
    next.entries = std::max(block.entries, entry_count(args, row));
    const std::int64_t keys = whole_tiles(backend, next.end - next.begin) + whole_tiles(backend, next.entries);
    if (row > first && keys > room) break;
    next.count = row - first + 1;
    block = next;
  }
  return block;
}

/// Attention of the rows of a block for the heads [first_head, first_head + heads): all heads if it has several rows.
class BlockAttention {
 public:
  BlockAttention(const CpuBackend& backend, const ops::Attention::Args& args, const Block& block,
                 std::int64_t first_head, std::int64_t heads, const Scratch& scratch)
      : backend_(backend),
        args_(args),
        block_(block),
        state_(SequenceState::of_row(args.layout, block.first)),
        first_head_(first_head),
        heads_(heads),
        scratch_(scratch),
        first_entry_(whole_tiles(backend, block.end - block.begin)) {}

  void run() {
    for (std::int64_t i = 0; i < block_.end - block_.begin; ++i) {
      scratch_.window[i] = state_.row(args_.step_keys, args_.window, block_.begin + i);
    }
    score(scratch_.window, block_.end - block_.begin, 0, block_.count, 0);
    const bool all_entries = args_.ratio > 0 && args_.selected.absent();
    if (all_entries) {
      for (std::int64_t j = 0; j < block_.entries; ++j) scratch_.entries[j] = state_.entry(args_.pages, j);
      score(scratch_.entries, block_.entries, 0, block_.count, first_entry_);
    }
    for (std::int64_t i = 0; i < block_.count; ++i) {
      const std::int64_t entries = entry_count(args_, block_.first + i);
      if (args_.ratio > 0 && !all_entries) {
        const std::int32_t* selected = args_.selected.row<std::int32_t>(block_.first + i);
        for (std::int64_t j = 0; j < entries; ++j) scratch_.entries[j] = state_.entry(args_.pages, selected[j]);
        score(scratch_.entries, entries, i, 1, first_entry_);
      }
      finish(i, entries);
    }
  }

 private:
  [[nodiscard]] float* scores(std::int64_t query, std::int64_t head) const {
    return scratch_.scores + (query * heads_ + head) * scratch_.stride;
  }

  /// Scores of the queries [query, query + count) with `keys` from column `first` on.
  void score(const std::byte** keys, std::int64_t key_count, std::int64_t query, std::int64_t count,
             std::int64_t first) const {
    const OperatorKernels& kernels = backend_.kernels();
    const bool bf16_keys = is_bf16(args_.query);
    const auto pack = bf16_keys ? kernels.pack_keys_bf16 : kernels.pack_keys;
    const auto score_rows = bf16_keys ? kernels.scores_bf16 : kernels.scores;
    const std::int64_t channels = args_.query.extent(2);
    const std::int64_t tile = key_tile(backend_);
    const std::byte* rows = element(args_.query, block_.first + query, first_head_ * args_.query.stride(1));
    for (std::int64_t key = 0; key < key_count; key += tile) {
      pack(keys + key, std::min(tile, key_count - key), channels, scratch_.packed);
      score_rows(rows, args_.query.stride(1), count * heads_, scratch_.packed, channels, scores(query, 0) + first + key,
                 scratch_.stride);
    }
  }

  /// From the scores of query `i` to its output.
  void finish(std::int64_t i, std::int64_t entries) const {
    const OperatorKernels& kernels = backend_.kernels();
    const auto add_values = is_bf16(args_.query) ? kernels.add_values_bf16 : kernels.add_values;
    const std::int64_t token = block_.first + i;
    const std::int64_t channels = args_.query.extent(2);
    const std::int64_t skipped = args_.window_begin.as<std::int64_t>()[token] - block_.begin;
    const std::int64_t window = args_.window_end.as<std::int64_t>()[token] - block_.begin - skipped;
    const std::int64_t begin = first_entry_ - window;
    const std::int64_t out_stride = args_.out.stride(1);
    float* out = args_.out.row<float>(token) + first_head_ * out_stride;
    float sums[kHeads];
    float maxima[kHeads];
    for (std::int64_t head = 0; head < heads_; ++head) {
      float* row = scores(i, head);
      // The row's own window scores, right before those of its entries: one list of keys in canonical order.
      std::memmove(row + begin, row + skipped, static_cast<std::size_t>(window) * sizeof(float));
      sums[head] = kernels.softmax(row + begin, window + entries, static_cast<float>(args_.scale),
                                   load<float>(args_.sink.codes, first_head_ + head), &maxima[head]);
      std::fill_n(out + head * out_stride, channels, 0.0F);
    }
    if (!args_.log_sum.absent()) {
      kernels.log_sums(maxima, sums, args_.log_sum.row<float>(token) + first_head_, heads_);
    }
    add_values(scratch_.window + skipped, window, channels, scores(i, 0) + begin, scratch_.stride, heads_, out,
               out_stride);
    add_values(scratch_.entries, entries, channels, scores(i, 0) + first_entry_, scratch_.stride, heads_, out,
               out_stride);
    for (std::int64_t head = 0; head < heads_; ++head) {
      float* row = out + head * out_stride;
      kernels.divide(row, sums[head], row, channels);
    }
  }

  const CpuBackend& backend_;
  const ops::Attention::Args& args_;
  const Block& block_;
  SequenceState state_;
  std::int64_t first_head_;
  std::int64_t heads_;
  const Scratch& scratch_;
  std::int64_t first_entry_;  // column of the scores of entry 0
};

void enqueue(ops::Stream& stream, const ops::Attention::Args& args) {
  CpuBackend& backend = backend_of(stream);
  const std::int64_t tokens = args.query.extent(0);
  const std::int64_t heads = args.query.extent(1);
  // Heads of one token are split only where there are fewer tokens than workers keep busy: every part packs the keys.
  constexpr std::int64_t kGroup = 8;
  const bool many = tokens >= 4 * backend.workers();
  const std::int64_t group = many ? heads : kGroup;
  const std::int64_t groups = (heads + group - 1) / group;
  const std::int64_t work = group * args.query.extent(2) * args.max_keys / 4;
  const std::int64_t bytes = Scratch(nullptr, backend, args).bytes;
  backend.pool().parallel_for(tokens * groups, grain_of(work), [&](std::int64_t begin, std::int64_t end, int worker) {
    const Scratch scratch(stream.scratch() + worker * bytes, backend, args);
    while (begin < end) {
      const std::int64_t token = begin / groups;
      const std::int64_t last = many ? std::min(end, token + most_queries(args)) : token + 1;
      const Block block = gather_block(backend, args, token, last);
      const std::int64_t stop = std::min(end, (token + block.count) * groups);
      const std::int64_t last_head = many ? heads : std::min(heads, (stop - token * groups) * group);
      for (std::int64_t head = begin % groups * group; head < last_head; head += kHeads) {
        BlockAttention(backend, args, block, head, std::min(kHeads, last_head - head), scratch).run();
      }
      begin = stop;
    }
  });
}

bool supports(const ops::Attention::Args& args) { return is_f32_or_bf16(args.query) && is_f32(args.out); }

}  // namespace

void add_attention(ops::OpTable& table) {
  table.add<ops::Attention>({.implementation = "cpu",
                             .supports = supports,
                             .scratch_bytes =
                                 [](const ops::Backend& any, const ops::Attention::Args& args) {
                                   const auto& backend = static_cast<const CpuBackend&>(any);
                                   return Scratch(nullptr, backend, args).bytes * backend.workers();
                                 },
                             .enqueue = enqueue});
}

}  // namespace hadal::cpu
