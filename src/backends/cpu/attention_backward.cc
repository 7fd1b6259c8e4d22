#include <algorithm>

#include "backends/cpu/key_group.h"
#include "backends/cpu/query_chunks.h"
#include "backends/cpu/register.h"
#include "backends/cpu/rows.h"
#include "backends/cpu/sequence_state.h"
#include "backends/cpu/work.h"
#include "ops/attention.h"

namespace hadal::cpu {
namespace {

using Args = ops::AttentionBackward::Args;

/// What the tasks share: the chunks and the sums that they leave for later.
struct Shared {
  const CpuBackend& backend;
  const Args& args;
  RowShape shape;
  std::int64_t heads;
  std::int64_t queries;    // of a block
  std::int64_t halo_rows;  // most keys below a chunk that its rows see

  QueryChunk* chunks;
  float* halos;            // [later chunks, halo_rows, C]: gradients of the keys just below a chunk
  float* partial_entries;  // [rows, C]
  float* d_sinks;          // [chunks, H]
  float* sinks;            // [H]
  std::byte* workers;
  std::int64_t bytes;  // of all this

  Shared(std::byte* memory, const CpuBackend& owner, const Args& arguments)
      : backend(owner),
        args(arguments),
        shape{is_bf16(args.query) ? owner.block_kernels().bf16 : owner.block_kernels().f32, args.query.extent(2)},
        heads(args.query.extent(1)),
        queries(block_queries(heads)),
        halo_rows(std::min(args.max_keys, args.query.extent(0))) {
    Carver carver(memory);
    const std::int64_t rows = args.query.extent(0);
    const std::int64_t most = max_chunks(rows, args.layout.first_row.extent(0));
    chunks = carver.take<QueryChunk>(most);
    halos = carver.take<float>(max_later_chunks(rows) * halo_rows * shape.channels);
    partial_entries = carver.take<float>(max_partial_entries(rows, args.ratio, most_entries(args)) * shape.channels);
    d_sinks = carver.take<float>(most * heads);
    sinks = carver.take<float>(heads);
    workers = carver.rest();
    bytes = carver.used();
  }

  static std::int64_t most_entries(const Args& args) {
    if (args.ratio == 0) return 0;
    return std::min(args.d_entries.extent(0), args.layout.page_table.extent(1) * args.pages.extent(1));
  }
};

/// Keys below the chunk that its rows see.
std::int64_t rows_below(const Args& args, const QueryChunk& chunk) {
  const auto* begins = args.window_begin.as<std::int64_t>() + chunk.first_row;
  return chunk.position - std::min(chunk.position, *std::min_element(begins, begins + chunk.rows));
}

/// One worker: takes the blocks of a chunk in order.
class Worker {
 public:
  Worker(const Shared& shared, std::byte* memory)
      : shared_(shared),
        carver_(memory),
        rows_(shared.queries * shared.heads),
        queries_(carver_, shared.shape.products, rows_, shared.shape.channels),
        d_outs_(carver_, shared.shape.products, rows_, shared.shape.channels),
        probabilities_(carver_, shared.shape.products, rows_, kGroupKeys),
        d_scores_(carver_, shared.shape.products, rows_, kGroupKeys),
        keys_(carver_, shared.shape, shared.backend.kernels().lanes),
        products_(carver_.take<float>(rows_)),
        strip_(carver_.take<float>(2 * kStripRows * kGroupKeys)),
        d_keys_(carver_.take<float>(kGroupKeys * shared.shape.channels)) {
    queries_.set_width(shared.shape.channels);
    d_outs_.set_width(shared.shape.channels);
  }
  [[nodiscard]] std::int64_t bytes() const { return carver_.used(); }

  void run(const QueryChunk& chunk) {
    const Args& args = shared_.args;
    const std::int64_t channels = shared_.shape.channels;
    d_sinks_ = shared_.d_sinks + (&chunk - shared_.chunks) * shared_.heads;
    std::fill_n(d_sinks_, shared_.heads, 0.0F);
    if (chunk.position > 0) {
      const std::int64_t rows = rows_below(args, chunk);
      halo_ = shared_.halos + ((chunk.later + 1) * shared_.halo_rows - rows) * channels;
      halo_begin_ = chunk.position - rows;
      std::fill_n(halo_, rows * channels, 0.0F);
    }
    if (args.ratio > 0) {
      entries_ = args.d_entries.row<float>(args.first_block.as<std::int32_t>()[chunk.sequence]);
      if (chunk.position > 0) {
        entries_ = shared_.partial_entries + chunk.entry_base * channels;
        std::fill_n(entries_, chunk.entries * channels, 0.0F);
      }
    }
    const std::int64_t end = chunk.first_row + chunk.rows;
    for (std::int64_t row = chunk.first_row; row < end; row += shared_.queries) {
      run_block(chunk, row, std::min(shared_.queries, end - row));
    }
  }

 private:
  /// The part of the keys in `keys_` that query `i` of the block sees.
  struct Range {
    std::int64_t begin;
    std::int64_t end;
  };

  void run_block(const QueryChunk& chunk, std::int64_t first, std::int64_t count) {
    const Args& args = shared_.args;
    first_ = first;
    load_rows(count);
    queries_.pack(0, count * shared_.heads);
    d_outs_.pack(0, count * shared_.heads);
    add_to_query_ = false;
    add_window(chunk, count);
    if (args.ratio == 0) return;
    if (args.selected.absent()) {
      add_visible_entries(chunk, count);
    } else {
      for (std::int64_t i = 0; i < count; ++i) add_selected_entries(chunk, i);
    }
  }

  /// The block's queries and output gradients, and <d_out, out> of each row; the sink's gradient.
  void load_rows(std::int64_t count) {
    const Args& args = shared_.args;
    const std::int64_t channels = shared_.shape.channels;
    const bool bf16_rows = is_bf16(args.query);
    for (std::int64_t row = 0; row < count * shared_.heads; ++row) {
      const std::int64_t place = (first_ * shared_.heads + row) * channels;
      queries_.copy(row, args.query.bytes() + place * size_of(args.query.type()));
      const float* d_out = args.d_out.as<float>() + place;
      d_outs_.narrow(row, d_out);
      if (bf16_rows) {
        shared_.backend.kernels().widen_bf16(d_outs_.row(row), d_keys_, channels);
        d_out = d_keys_;
      }
      products_[row] = shared_.backend.block_kernels().dot(d_out, args.out.as<float>() + place, channels);
    }
    for (std::int64_t i = 0; i < count; ++i) {
      shared_.backend.block_kernels().sink_gradient(shared_.sinks, log_sums(i), products_ + i * shared_.heads, d_sinks_,
                                                    shared_.heads);
    }
  }
  [[nodiscard]] const float* log_sums(std::int64_t query) const {
    return shared_.args.log_sum.as<float>() + (first_ + query) * shared_.heads;
  }

  void add_window(const QueryChunk& chunk, std::int64_t count) {
    const Args& args = shared_.args;
    const auto* begins = args.window_begin.as<std::int64_t>() + first_;
    const auto* ends = args.window_end.as<std::int64_t>() + first_;
    const std::int64_t end = *std::max_element(ends, ends + count);
    std::int64_t position = *std::min_element(begins, begins + count);
    const std::int64_t first_row = chunk.first_row - chunk.position;  // of the sequence
    while (position < end) {
      // Keys below the chunk belong to another task: their gradients wait in the halo.
      const bool below = position < chunk.position;
      const std::int64_t stop = std::min({end, position + kGroupKeys, below ? chunk.position : end});
      keys_.clear();
      for (std::int64_t p = position; p < stop; ++p) keys_.add(element(args.step_keys, first_row + p, 0));
      float* d_keys = below ? halo_ + (position - halo_begin_) * shared_.shape.channels
                            : args.d_step_keys.row<float>(first_row + position);
      add_group(0, count, d_keys, true, [&](std::int64_t i) {
        return Range{std::clamp(begins[i], position, stop) - position, std::clamp(ends[i], position, stop) - position};
      });
      position = stop;
    }
  }

  void add_visible_entries(const QueryChunk& chunk, std::int64_t count) {
    const Args& args = shared_.args;
    const SequenceState state(args.layout, chunk.sequence);
    const std::int64_t first_position = chunk.position + first_ - chunk.first_row;
    const std::int64_t visible = (first_position + count) / args.ratio;
    for (std::int64_t first = 0; first < visible; first += kGroupKeys) {
      const std::int64_t stop = std::min(visible, first + kGroupKeys);
      keys_.clear();
      for (std::int64_t j = first; j < stop; ++j) keys_.add(state.entry(args.pages, j));
      add_group(0, count, entries_ + first * shared_.shape.channels, true, [&](std::int64_t i) {
        return Range{0, std::clamp((first_position + i + 1) / args.ratio, first, stop) - first};
      });
    }
  }

  /// Every query has its own choice: its heads are a block of their own.
  void add_selected_entries(const QueryChunk& chunk, std::int64_t query) {
    const Args& args = shared_.args;
    const std::int64_t channels = shared_.shape.channels;
    const SequenceState state(args.layout, chunk.sequence);
    const std::int32_t* selected = args.selected.row<std::int32_t>(first_ + query);
    queries_.pack(query * shared_.heads, shared_.heads);
    d_outs_.pack(query * shared_.heads, shared_.heads);
    const std::int64_t topk = args.selected.extent(1);
    for (std::int64_t i = 0; i < topk && selected[i] >= 0;) {
      const std::int32_t* ids = selected + i;
      keys_.clear();
      for (; i < topk && selected[i] >= 0 && !keys_.full(); ++i) keys_.add(state.entry(args.pages, selected[i]));
      const std::int64_t keys = keys_.count();
      add_group(query, 1, d_keys_, false, [keys](std::int64_t) { return Range{0, keys}; });
      for (std::int64_t j = 0; j < keys; ++j) {
        shared_.backend.kernels().accumulate(d_keys_ + j * channels, entries_ + ids[j] * channels, channels);
      }
    }
  }

  /// The queries [query, query + count) of the block against the keys in `keys_`; their rows are packed.
  template <class RangeOf>
  void add_group(std::int64_t query, std::int64_t count, float* d_keys, bool add_to_keys, RangeOf&& range_of) {
    const std::int64_t heads = shared_.heads;
    const std::int64_t stride = keys_.stride();
    const auto scale = static_cast<float>(shared_.args.scale);
    keys_.pack_columns();
    keys_.pack_rows();
    probabilities_.set_width(stride);
    d_scores_.set_width(stride);
    const std::int64_t begin = query * heads;
    const std::int64_t end = begin + count * heads;
    for (std::int64_t strip = begin; strip < end; strip += kStripRows) {
      const std::int64_t m = std::min(kStripRows, end - strip);
      float* scores = strip_;
      float* d_probabilities = strip_ + kStripRows * stride;
      keys_.scores(queries_.row(strip), m, scores);
      keys_.scores(d_outs_.row(strip), m, d_probabilities);
      for (std::int64_t i = 0; i < m; ++i) {
        const std::int64_t row = strip + i;
        const Range range = range_of(row / heads);
        shared_.backend.block_kernels().softmax_gradient(scores + i * stride, d_probabilities + i * stride, range.begin,
                                                         range.end, stride, scale, log_sums(0)[row], products_[row]);
        probabilities_.narrow(row, scores + i * stride);
        d_scores_.narrow(row, d_probabilities + i * stride);
      }
      float* d_query = shared_.args.d_query.as<float>() + (first_ * heads + strip) * shared_.shape.channels;
      keys_.combine(d_scores_.row(strip), m, d_query, add_to_query_);
    }
    d_scores_.pack(begin, count * heads);
    probabilities_.pack(begin, count * heads);
    d_scores_.multiply(queries_, keys_.count(), d_keys, add_to_keys);
    probabilities_.multiply(d_outs_, keys_.count(), d_keys, true);
    add_to_query_ = true;
  }

  const Shared& shared_;
  Carver carver_;
  std::int64_t rows_;
  PackedRows queries_;
  PackedRows d_outs_;
  PackedRows probabilities_;
  PackedRows d_scores_;
  KeyGroup keys_;
  float* products_;  // [rows]: <d_out, out>
  float* strip_;     // scores and gradients of probabilities of a strip
  float* d_keys_;    // [kGroupKeys, C]

  std::int64_t first_ = 0;     // the block's first row of the step
  bool add_to_query_ = false;  // d_query of the block has been written
  float* halo_ = nullptr;      // gradients of the keys from position halo_begin_ to the chunk
  std::int64_t halo_begin_ = 0;
  float* entries_ = nullptr;  // where this chunk adds the gradients of its sequence's entries
  float* d_sinks_ = nullptr;
};

std::int64_t worker_bytes(const Shared& shared) { return Worker(shared, nullptr).bytes(); }

void zero(ThreadPool& pool, const TensorView& view) {
  for_rows(pool, view.extent(0), view.extent(1), [&](std::int64_t begin, std::int64_t end, int) {
    std::fill_n(view.row<float>(begin), (end - begin) * view.extent(1), 0.0F);
  });
}

/// Adds what the chunks left for the keys below them and for the sinks, in order.
void add_left_sums(const Shared& shared, std::int64_t count) {
  const Args& args = shared.args;
  const std::int64_t channels = shared.shape.channels;
  for (std::int64_t i = 0; i < count; ++i) {
    const QueryChunk& chunk = shared.chunks[i];
    if (!args.d_sink.absent()) {
      shared.backend.kernels().accumulate(shared.d_sinks + i * shared.heads, args.d_sink.as<float>(), shared.heads);
    }
    if (chunk.position == 0) continue;
    const std::int64_t rows = rows_below(args, chunk);
    const float* halo = shared.halos + ((chunk.later + 1) * shared.halo_rows - rows) * channels;
    shared.backend.kernels().accumulate(halo, args.d_step_keys.row<float>(chunk.first_row - rows), rows * channels);
  }
}

void enqueue(ops::Stream& stream, const Args& args) {
  CpuBackend& backend = backend_of(stream);
  ThreadPool& pool = backend.pool();
  const Shared shared(stream.scratch(), backend, args);
  const std::int64_t bytes = worker_bytes(shared);
  for (std::int64_t head = 0; head < shared.heads; ++head) shared.sinks[head] = load<float>(args.sink.codes, head);
  zero(pool, args.d_step_keys);
  if (args.ratio > 0) zero(pool, args.d_entries);
  const std::int64_t count = cut_chunks(args.layout, args.ratio, shared.chunks);
  for_chunks(pool, shared.chunks, count,
             [&](const QueryChunk& chunk, int worker) { Worker(shared, shared.workers + worker * bytes).run(chunk); });
  add_left_sums(shared, count);
  if (args.ratio > 0) {
    add_partial_entries(pool, shared.chunks, count, shared.partial_entries, args.first_block, args.d_entries);
  }
}

std::int64_t scratch_bytes(const ops::Backend& any, const Args& args) {
  const auto& backend = static_cast<const CpuBackend&>(any);
  const Shared shared(nullptr, backend, args);
  return shared.bytes + backend.workers() * worker_bytes(shared);
}

}  // namespace

void add_attention_backward(ops::OpTable& table) {
  table.add<ops::AttentionBackward>(
      {.implementation = "cpu",
       .supports = [](const Args& args) { return is_f32_or_bf16(args.query) && is_f32(args.out); },
       .scratch_bytes = scratch_bytes,
       .enqueue = enqueue});
}

}  // namespace hadal::cpu
