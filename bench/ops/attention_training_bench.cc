// Attention, its gradients and the indexer's loss in a training step of the shipped model: 8,192 rows in sequences of
// 1,024 or 4,096, 4 heads of 128 channels, window 128, bf16. Arguments: length of a sequence, ratio, 1 if 64 entries
// are selected.

#include <algorithm>
#include <cmath>
#include <numeric>

#include "bench_support.h"
#include "ops/attention.h"
#include "ops/compress.h"
#include "ops/indexer_loss.h"
#include "ops/indexer_select.h"

namespace hadal::bench {
namespace {

constexpr std::int64_t kRows = 8192;
constexpr std::int64_t kHeads = 4;
constexpr std::int64_t kChannels = 128;
constexpr std::int64_t kWindow = 128;
constexpr std::int64_t kTopk = 64;
constexpr double kScale = 0.0884;

/// The tensors of one layer's step.
struct Layer {
  OperatorBench bench;
  std::int64_t length;
  std::int64_t ratio;
  bool selects;
  ops::StepLayout layout;
  TensorView begin, end, selected, first_block, last_row;
  double keys = 0;     // seen by all rows together
  double entries = 0;  // of these
  std::int64_t blocks = 0;

  explicit Layer(const benchmark::State& state)
      : length(state.range(0)), ratio(state.range(1)), selects(state.range(2) != 0) {
    std::vector<std::int64_t> positions, begins, ends;
    std::vector<std::int32_t> sequence, first_row, page, chosen, block, last;
    for (std::int64_t row = 0; row < kRows; ++row) {
      const std::int64_t position = row % length;
      if (position == 0) {
        first_row.push_back(static_cast<std::int32_t>(row));
        block.push_back(static_cast<std::int32_t>(last.size()));
      }
      positions.push_back(position);
      sequence.push_back(static_cast<std::int32_t>(row / length));
      begins.push_back(std::max<std::int64_t>(0, position - kWindow + 1));
      ends.push_back(position + 1);
      keys += static_cast<double>(ends.back() - begins.back());
      if (ratio == 0) continue;
      if ((position + 1) % ratio == 0) last.push_back(static_cast<std::int32_t>(row));
      const std::int64_t visible = (position + 1) / ratio;
      entries += static_cast<double>(selects ? std::min(visible, kTopk) : visible);
      if (selects) choose(visible, chosen);
    }
    keys += entries;
    blocks = static_cast<std::int64_t>(last.size());
    const auto count = static_cast<std::int64_t>(first_row.size());
    page.resize(static_cast<std::size_t>(count * (length / 128)));
    std::iota(page.begin(), page.end(), 0);
    layout = {.positions = bench.integers(DType::kI64, {kRows}, positions),
              .sequence = bench.integers(DType::kI32, {kRows}, sequence),
              .first_row = bench.integers(DType::kI32, {count}, first_row),
              .start = bench.integers(DType::kI64, {count}, std::vector<std::int64_t>(first_row.size())),
              .state_slot = bench.integers(DType::kI32, {count}, std::vector<std::int32_t>(first_row.size())),
              .page_table = bench.integers(DType::kI32, {count, length / 128}, page)};
    begin = bench.integers(DType::kI64, {kRows}, begins);
    end = bench.integers(DType::kI64, {kRows}, ends);
    first_block = bench.integers(DType::kI32, {count}, block);
    last_row = bench.integers(DType::kI32, {blocks}, last);
    if (selects) selected = bench.integers(DType::kI32, {kRows, kTopk}, chosen);
  }

  /// A random ascending choice of kTopk entries.
  void choose(std::int64_t visible, std::vector<std::int32_t>& chosen) {
    std::int64_t left = std::min(visible, kTopk);
    const std::size_t size = chosen.size() + static_cast<std::size_t>(kTopk);
    for (std::int64_t j = 0; j < visible && left > 0; ++j) {
      if (bench.random_integer(0, visible - j - 1) >= left) continue;
      chosen.push_back(static_cast<std::int32_t>(j));
      --left;
    }
    chosen.resize(size, -1);
  }
  [[nodiscard]] std::int64_t max_entries() const { return ratio == 0 ? 0 : length / ratio; }
  [[nodiscard]] TensorView pages() {
    if (ratio == 0) return {};
    return bench.random(DType::kBf16, {kRows / 128, 128 / ratio, kChannels});
  }
  [[nodiscard]] ops::Attention::Args forward() {
    return {.query = bench.random(DType::kBf16, {kRows, kHeads, kChannels}),
            .step_keys = bench.random(DType::kBf16, {kRows, kChannels}),
            .window = bench.random(DType::kBf16, {1, kWindow, kChannels}),
            .window_begin = begin,
            .window_end = end,
            .pages = pages(),
            .selected = selected,
            .sink = bench.random_weight(DType::kF32, {kHeads}),
            .layout = layout,
            .ratio = ratio,
            .max_keys = kWindow + (selects ? kTopk : max_entries()),
            .scale = kScale,
            .out = bench.empty(DType::kF32, {kRows, kHeads, kChannels}),
            .log_sum = bench.empty(DType::kF32, {kRows, kHeads})};
  }
};

/// Products of `per_key` multiplications of a head's channels for each key that a row sees.
void report_keys(benchmark::State& state, double keys, double per_key) {
  report(state, 0, keys * kHeads * kChannels * 2 * per_key, DType::kBf16);
}

void layers(benchmark::internal::Benchmark* benchmark) {
  for (const std::int64_t length : {1024, 4096}) {
    for (const auto& [ratio, selects] : {std::pair{0, 0}, {4, 0}, {4, 1}, {128, 0}}) {
      benchmark->Args({length, ratio, selects});
    }
  }
  benchmark->UseRealTime()->Unit(benchmark::kMillisecond);
}

void training_attention(benchmark::State& state) {
  Layer layer(state);
  layer.bench.run(state, ops::attention, layer.forward());
  report_keys(state, layer.keys, 2);
}
BENCHMARK(training_attention)->Apply(layers);

void training_attention_backward(benchmark::State& state) {
  Layer layer(state);
  OperatorBench& bench = layer.bench;
  const ops::Attention::Args forward = layer.forward();
  for (std::int64_t i = 0; i < forward.log_sum.elements(); ++i) store(forward.log_sum, i, 5.0F);
  bench.run(state, ops::attention_backward,
            {.query = forward.query,
             .step_keys = forward.step_keys,
             .window_begin = forward.window_begin,
             .window_end = forward.window_end,
             .pages = forward.pages,
             .selected = forward.selected,
             .sink = forward.sink,
             .layout = forward.layout,
             .ratio = forward.ratio,
             .max_keys = forward.max_keys,
             .scale = forward.scale,
             .out = bench.random(DType::kF32, {kRows, kHeads, kChannels}),
             .log_sum = forward.log_sum,
             .d_out = bench.random(DType::kF32, {kRows, kHeads, kChannels}),
             .first_block = layer.first_block,
             .d_query = bench.empty(DType::kF32, {kRows, kHeads, kChannels}),
             .d_step_keys = bench.empty(DType::kF32, {kRows, kChannels}),
             .d_entries = layer.ratio == 0 ? TensorView() : bench.empty(DType::kF32, {layer.blocks, kChannels}),
             .d_sink = bench.empty(DType::kF32, {kHeads})});
  report_keys(state, layer.keys, 5);
}
BENCHMARK(training_attention_backward)->Apply(layers);

void training_indexer_select(benchmark::State& state) {
  Layer layer(state);
  OperatorBench& bench = layer.bench;
  bench.run(state, ops::indexer_select,
            {.query = bench.random(DType::kBf16, {kRows, kHeads, kChannels}),
             .head_weights = bench.random(DType::kF32, {kRows, kHeads}),
             .weight_scale = 0.044,
             .pages = layer.pages(),
             .layout = layer.layout,
             .ratio = layer.ratio,
             .max_entries = layer.max_entries(),
             .selected = bench.empty(DType::kI32, {kRows, kTopk})});
  report_keys(state, layer.entries, 1);
}
BENCHMARK(training_indexer_select)
    ->Args({1024, 4, 0})
    ->Args({4096, 4, 0})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

void training_indexer_loss(benchmark::State& state) {
  Layer layer(state);
  OperatorBench& bench = layer.bench;
  bench.run(state, ops::indexer_loss,
            {.attention_query = bench.random(DType::kBf16, {kRows, kHeads, kChannels}),
             .attention_pages = layer.pages(),
             .log_sum = bench.random(DType::kF32, {kRows, kHeads}),
             .attention_scale = kScale,
             .query = bench.random(DType::kBf16, {kRows, kHeads, kChannels}),
             .head_weights = bench.random(DType::kF32, {kRows, kHeads}),
             .weight_scale = 0.044,
             .pages = layer.pages(),
             .layout = layer.layout,
             .ratio = layer.ratio,
             .max_entries = layer.max_entries(),
             .selected = layer.selected,
             .chosen = {},
             .first_block = layer.first_block,
             .row_weight = 1.0 / kRows,
             .loss = bench.empty(DType::kF32, {kRows}),
             .captured = {},
             .d_query = bench.empty(DType::kF32, {kRows, kHeads, kChannels}),
             .d_head_weights = bench.empty(DType::kF32, {kRows, kHeads}),
             .d_entries = bench.empty(DType::kF32, {layer.blocks, kChannels})});
  report_keys(state, layer.entries, 4);
}
BENCHMARK(training_indexer_loss)
    ->Args({1024, 4, 0})
    ->Args({1024, 4, 1})
    ->Args({4096, 4, 0})
    ->Args({4096, 4, 1})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

void training_compress_backward(benchmark::State& state) {
  Layer layer(state);
  OperatorBench& bench = layer.bench;
  const bool overlap = layer.ratio == 4;
  const Shape rows{kRows, overlap ? 2 * kChannels : kChannels};
  bench.run(state, ops::compress_backward,
            {.value = bench.random(DType::kF32, rows),
             .gate = bench.random(DType::kF32, rows),
             .last_row = layer.last_row,
             .layout = layer.layout,
             .ratio = layer.ratio,
             .overlap = overlap,
             .d_out = bench.random(DType::kF32, {layer.blocks, kChannels}),
             .d_value = bench.empty(DType::kF32, rows),
             .d_gate = bench.empty(DType::kF32, rows)});
  report(state, static_cast<double>(rows.elements()) * 16, 0, DType::kF32);
}
BENCHMARK(training_compress_backward)
    ->Args({1024, 4, 0})
    ->Args({1024, 128, 0})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace hadal::bench
