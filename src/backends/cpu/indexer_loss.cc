#include "ops/indexer_loss.h"

#include <algorithm>

#include "backends/cpu/key_group.h"
#include "backends/cpu/query_chunks.h"
#include "backends/cpu/register.h"
#include "backends/cpu/sequence_state.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

using Args = ops::IndexerLoss::Args;

/// What the tasks share.
struct Shared {
  const CpuBackend& backend;
  const Args& args;
  RowShape attention;
  RowShape index;
  std::int64_t attention_heads;
  std::int64_t heads;
  std::int64_t queries;  // of a block
  std::int64_t groups;   // most groups of a row's set

  QueryChunk* chunks;
  float* partial_entries;  // [rows, c]
  std::byte* workers;
  std::int64_t bytes;  // of all this

  Shared(std::byte* memory, const CpuBackend& owner, const Args& arguments)
      : backend(owner),
        args(arguments),
        attention{products_of(owner, args), args.attention_query.extent(2)},
        index{products_of(owner, args), args.query.extent(2)},
        attention_heads(args.attention_query.extent(1)),
        heads(args.query.extent(1)),
        // Half a block's rows: the products of all groups are kept.
        queries(std::max<std::int64_t>(1, block_queries(std::max(heads, attention_heads)) / 2)),
        groups(((args.selected.absent() ? args.max_entries : args.selected.extent(1)) + kGroupKeys - 1) / kGroupKeys) {
    Carver carver(memory);
    const std::int64_t rows = args.query.extent(0);
    const std::int64_t most_entries =
        std::min(args.d_entries.extent(0), args.layout.page_table.extent(1) * args.pages.extent(1));
    chunks = carver.take<QueryChunk>(max_chunks(rows, args.layout.first_row.extent(0)));
    partial_entries = carver.take<float>(max_partial_entries(rows, args.ratio, most_entries) * index.channels);
    workers = carver.rest();
    bytes = carver.used();
  }

 private:
  static const BlockProducts& products_of(const CpuBackend& owner, const Args& args) {
    return is_bf16(args.query) ? owner.block_kernels().bf16 : owner.block_kernels().f32;
  }
};

/// The entries of a block's rows: `count` of them, entry(j) ascending; query i sees the first visible(i).
template <class Entry, class Visible>
struct EntrySet {
  std::int64_t count;
  Entry entry;
  Visible visible;
};

/// One worker: takes the blocks of a chunk in order.
class Worker {
 public:
  Worker(const Shared& shared, std::byte* memory)
      : shared_(shared),
        kernels_(shared.backend.block_kernels()),
        carver_(memory),
        rows_(shared.queries * shared.heads),
        attention_queries_(carver_, shared.attention.products, shared.queries * shared.attention_heads,
                           shared.attention.channels),
        queries_(carver_, shared.index.products, rows_, shared.index.channels),
        d_products_(carver_, shared.index.products, rows_, kGroupKeys),
        attention_keys_(carver_, shared.attention, shared.backend.kernels().lanes),
        keys_(carver_, shared.index, shared.backend.kernels().lanes),
        strip_(carver_.take<float>(kStripRows * kGroupKeys)),
        products_(carver_.take<float>(shared.groups * rows_ * kGroupKeys)),
        targets_(carver_.take<float>(shared.queries * shared.groups * kGroupKeys)),
        scores_(carver_.take<float>(shared.queries * shared.groups * kGroupKeys)),
        d_entries_(carver_.take<float>(kGroupKeys * shared.index.channels)) {
    attention_queries_.set_width(shared.attention.channels);
    queries_.set_width(shared.index.channels);
  }
  [[nodiscard]] std::int64_t bytes() const { return carver_.used(); }

  void run(const QueryChunk& chunk) {
    const Args& args = shared_.args;
    const std::int64_t channels = shared_.index.channels;
    entries_ = args.d_entries.row<float>(args.first_block.as<std::int32_t>()[chunk.sequence]);
    if (chunk.position > 0) {
      entries_ = shared_.partial_entries + chunk.entry_base * channels;
      std::fill_n(entries_, chunk.entries * channels, 0.0F);
    }
    const std::int64_t end = chunk.first_row + chunk.rows;
    for (std::int64_t row = chunk.first_row; row < end; row += shared_.queries) {
      run_block(chunk, row, std::min(shared_.queries, end - row));
    }
  }

 private:
  void run_block(const QueryChunk& chunk, std::int64_t first, std::int64_t count) {
    const Args& args = shared_.args;
    const SequenceState state(args.layout, chunk.sequence);
    first_ = first;
    load_rows(count);
    if (args.selected.absent()) {
      const std::int64_t position = chunk.position + first - chunk.first_row;
      const auto visible = [&](std::int64_t i) { return (position + i + 1) / args.ratio; };
      run_set(state, 0, count, EntrySet{visible(count - 1), [](std::int64_t j) { return j; }, visible});
      return;
    }
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int32_t* selected = args.selected.row<std::int32_t>(first + i);
      const std::int32_t* end = selected + args.selected.extent(1);
      const std::int64_t chosen = std::find_if(selected, end, [](std::int32_t id) { return id < 0; }) - selected;
      run_set(state, i, 1,
              EntrySet{chosen, [selected](std::int64_t j) { return std::int64_t{selected[j]}; },
                       [chosen](std::int64_t) { return chosen; }});
    }
  }

  void load_rows(std::int64_t count) {
    const auto copy = [&](const TensorView& from, std::int64_t heads, const PackedRows& to) {
      const std::int64_t bytes = from.extent(2) * size_of(from.type());
      for (std::int64_t row = 0; row < count * heads; ++row) {
        to.copy(row, from.bytes() + (first_ * heads + row) * bytes);
      }
    };
    copy(shared_.args.attention_query, shared_.attention_heads, attention_queries_);
    copy(shared_.args.query, shared_.heads, queries_);
  }

  /// The queries [query, query + count) of the block over one set of entries.
  void run_set(const SequenceState& state, std::int64_t query, std::int64_t count, const auto& set) {
    const Args& args = shared_.args;
    const std::int64_t begin = query * shared_.heads;
    float* d_query = args.d_query.as<float>() + (first_ * shared_.heads + begin) * shared_.index.channels;
    std::fill_n(d_weights(begin), count * shared_.heads, 0.0F);
    if (set.count == 0) std::fill_n(d_query, count * shared_.heads * shared_.index.channels, 0.0F);
    for (std::int64_t i = query; i < query + count; ++i) {
      std::fill_n(targets(i), set.count, 0.0F);
      std::fill_n(scores(i), set.count, 0.0F);
    }
    for (std::int64_t first = 0; first < set.count; first += kGroupKeys) {
      add_targets(state, query, count, first, set);
      add_scores(state, query, count, first, set);
    }
    for (std::int64_t i = query; i < query + count; ++i) finish_row(i, set);
    queries_.pack(begin, count * shared_.heads);
    for (std::int64_t first = 0; first < set.count; first += kGroupKeys) {
      add_gradients(state, query, count, first, set, d_query);
    }
    for (std::int64_t row = begin; row < begin + count * shared_.heads; ++row) {
      *d_weights(row) *= static_cast<float>(args.weight_scale);
    }
  }

  void load_keys(const SequenceState& state, const TensorView& pages, std::int64_t first, const auto& set,
                 KeyGroup& keys) {
    keys.clear();
    const std::int64_t end = std::min(set.count, first + kGroupKeys);
    for (std::int64_t j = first; j < end; ++j) keys.add(state.entry(pages, set.entry(j)));
  }
  /// How many of the group's entries query `i` sees.
  static std::int64_t seen(const auto& set, std::int64_t i, std::int64_t first, const KeyGroup& keys) {
    return std::clamp(set.visible(i) - first, std::int64_t{0}, keys.count());
  }

  void add_targets(const SequenceState& state, std::int64_t query, std::int64_t count, std::int64_t first,
                   const auto& set) {
    const Args& args = shared_.args;
    const std::int64_t heads = shared_.attention_heads;
    load_keys(state, args.attention_pages, first, set, attention_keys_);
    attention_keys_.pack_columns();
    const std::int64_t end = (query + count) * heads;
    for (std::int64_t strip = query * heads; strip < end; strip += kStripRows) {
      const std::int64_t m = std::min(kStripRows, end - strip);
      attention_keys_.scores(attention_queries_.row(strip), m, strip_);
      for (std::int64_t i = 0; i < m; ++i) {
        const std::int64_t row = strip + i;
        const std::int64_t own = row / heads;
        kernels_.add_exponentials(strip_ + i * attention_keys_.stride(), static_cast<float>(args.attention_scale),
                                  args.log_sum.as<float>()[first_ * heads + row], targets(own) + first,
                                  seen(set, own, first, attention_keys_));
      }
    }
  }

  void add_scores(const SequenceState& state, std::int64_t query, std::int64_t count, std::int64_t first,
                  const auto& set) {
    load_keys(state, shared_.args.pages, first, set, keys_);
    keys_.pack_columns();
    const std::int64_t begin = query * shared_.heads;
    keys_.scores(queries_.row(begin), count * shared_.heads, products(first, begin));
    for (std::int64_t row = begin; row < begin + count * shared_.heads; ++row) {
      const std::int64_t own = row / shared_.heads;
      kernels_.add_positive(products(first, row), weight(row), scores(own) + first, seen(set, own, first, keys_));
    }
  }

  void finish_row(std::int64_t query, const auto& set) {
    const Args& args = shared_.args;
    const std::int64_t token = first_ + query;
    const std::int64_t visible = set.visible(query);
    args.loss.as<float>()[token] =
        kernels_.divergence(targets(query), scores(query), static_cast<float>(args.row_weight), visible);
    if (args.chosen.absent()) return;
    const std::int32_t* chosen = args.chosen.row<std::int32_t>(token);
    float mass = 0;
    std::int64_t j = 0;
    for (std::int64_t i = 0; i < args.chosen.extent(1) && chosen[i] >= 0; ++i) {
      while (j < visible && set.entry(j) < chosen[i]) ++j;
      if (j < visible && set.entry(j) == chosen[i]) mass += targets(query)[j];
    }
    args.captured.as<float>()[token] = mass;
  }

  void add_gradients(const SequenceState& state, std::int64_t query, std::int64_t count, std::int64_t first,
                     const auto& set, float* d_query) {
    const std::int64_t channels = shared_.index.channels;
    const std::int64_t begin = query * shared_.heads;
    const std::int64_t m = count * shared_.heads;
    load_keys(state, shared_.args.pages, first, set, keys_);
    keys_.pack_rows();
    d_products_.set_width(keys_.stride());
    for (std::int64_t row = begin; row < begin + m; ++row) {
      const std::int64_t own = row / shared_.heads;
      const std::int64_t visible = seen(set, own, first, keys_);
      float* d_product = products(first, row);
      *d_weights(row) += kernels_.positive_gradient(d_product, scores(own) + first, weight(row), visible);
      std::fill_n(d_product + visible, keys_.stride() - visible, 0.0F);
      d_products_.narrow(row, d_product);
    }
    keys_.combine(d_products_.row(begin), m, d_query, first > 0);
    d_products_.pack(begin, m);
    if (shared_.args.selected.absent()) {
      d_products_.multiply(queries_, keys_.count(), entries_ + first * channels, true);
      return;
    }
    d_products_.multiply(queries_, keys_.count(), d_entries_, false);
    for (std::int64_t j = 0; j < keys_.count(); ++j) {
      shared_.backend.kernels().accumulate(d_entries_ + j * channels, entries_ + set.entry(first + j) * channels,
                                           channels);
    }
  }

  [[nodiscard]] float* targets(std::int64_t query) const { return targets_ + query * shared_.groups * kGroupKeys; }
  [[nodiscard]] float* scores(std::int64_t query) const { return scores_ + query * shared_.groups * kGroupKeys; }
  /// Products of row `row` with the group that begins at entry `first`, which is in `keys_`.
  [[nodiscard]] float* products(std::int64_t first, std::int64_t row) const {
    return products_ + first * rows_ + row * keys_.stride();
  }
  [[nodiscard]] float weight(std::int64_t row) const {
    return shared_.args.head_weights.as<float>()[first_ * shared_.heads + row] *
           static_cast<float>(shared_.args.weight_scale);
  }
  [[nodiscard]] float* d_weights(std::int64_t row) const {
    return shared_.args.d_head_weights.as<float>() + first_ * shared_.heads + row;
  }

  const Shared& shared_;
  const BlockKernels& kernels_;
  Carver carver_;
  std::int64_t rows_;
  PackedRows attention_queries_;
  PackedRows queries_;
  PackedRows d_products_;
  KeyGroup attention_keys_;
  KeyGroup keys_;
  float* strip_;
  float* products_;   // [groups][rows, stride of the group]: query . entry
  float* targets_;    // [queries, groups * kGroupKeys]
  float* scores_;     // [queries, groups * kGroupKeys]: then their gradients
  float* d_entries_;  // [kGroupKeys, c]

  std::int64_t first_ = 0;  // the block's first row of the step
  float* entries_ = nullptr;
};

void enqueue(ops::Stream& stream, const Args& args) {
  CpuBackend& backend = backend_of(stream);
  ThreadPool& pool = backend.pool();
  const Shared shared(stream.scratch(), backend, args);
  const std::int64_t bytes = Worker(shared, nullptr).bytes();
  for_rows(pool, args.d_entries.extent(0), args.d_entries.extent(1), [&](std::int64_t begin, std::int64_t end, int) {
    std::fill_n(args.d_entries.row<float>(begin), (end - begin) * args.d_entries.extent(1), 0.0F);
  });
  const std::int64_t count = cut_chunks(args.layout, args.ratio, shared.chunks);
  for_chunks(pool, shared.chunks, count,
             [&](const QueryChunk& chunk, int worker) { Worker(shared, shared.workers + worker * bytes).run(chunk); });
  add_partial_entries(pool, shared.chunks, count, shared.partial_entries, args.first_block, args.d_entries);
}

std::int64_t scratch_bytes(const ops::Backend& any, const Args& args) {
  const auto& backend = static_cast<const CpuBackend&>(any);
  const Shared shared(nullptr, backend, args);
  return shared.bytes + backend.workers() * Worker(shared, nullptr).bytes();
}

}  // namespace

void add_indexer_loss(ops::OpTable& table) {
  table.add<ops::IndexerLoss>(
      {.implementation = "cpu",
       .supports = [](const Args& args) { return is_f32_or_bf16(args.query) && is_f32(args.loss); },
       .scratch_bytes = scratch_bytes,
       .enqueue = enqueue});
}

}  // namespace hadal::cpu
