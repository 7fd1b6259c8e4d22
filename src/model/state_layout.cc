#include "model/state_layout.h"

#include <algorithm>

#include "ops/step_layout.h"
#include "tensor/arena.h"

namespace hadal::model {
namespace {

StatePart place(std::int64_t& end, std::int64_t rows, std::int64_t columns, DType type) {
  const StatePart part{.offset = end, .rows = rows, .columns = columns, .type = type};
  end += aligned(rows * columns * size_of(type));
  return part;
}

}  // namespace

StateLayout StateLayout::make(const formats::ModelConfig& config, const NumericsProfile& profile,
                              const formats::DrafterShape& drafter) {
  StateLayout layout;
  layout.roll_back_tokens = std::max(kRollBackTokens, config.dspark.block_size);
  const std::int64_t window = config.sliding_window + layout.roll_back_tokens;
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    const std::int64_t ratio = config.compress_ratios[static_cast<std::size_t>(layer)];
    LayerState state;
    state.window = place(layout.slot_bytes, window, config.head_dim, profile.cache);
    if (ratio != 0) {
      const bool overlap = ratio == 4;
      const std::int64_t rows = (overlap ? 2 * ratio : ratio) + layout.roll_back_tokens;
      const std::int64_t halves = overlap ? 2 : 1;
      state.value = place(layout.slot_bytes, rows, halves * config.head_dim, profile.real);
      state.gate = place(layout.slot_bytes, rows, halves * config.head_dim, profile.real);
      state.entries = place(layout.page_bytes, ops::kPageTokens / ratio, config.head_dim, profile.cache);
      if (overlap) {
        state.index_value = place(layout.slot_bytes, rows, halves * config.index_head_dim, profile.real);
        state.index_gate = place(layout.slot_bytes, rows, halves * config.index_head_dim, profile.real);
        state.index_entries = place(layout.page_bytes, ops::kPageTokens / ratio, config.index_head_dim, profile.cache);
      }
    }
    layout.layers.push_back(state);
  }
  for (std::int64_t stage = 0; stage < drafter.stages; ++stage) {
    LayerState state;
    state.window = place(layout.slot_bytes, window, config.head_dim, profile.cache);
    layout.drafter_layers.push_back(state);
  }
  if (drafter.kind == formats::DrafterKind::kMtp) {
    layout.last_streams =
        place(layout.slot_bytes, 1 + layout.roll_back_tokens, config.hc_mult * config.hidden_size, profile.real);
  }
  return layout;
}

std::int64_t StateLayout::bytes(std::int64_t tokens) const {
  return slot_bytes + (tokens + ops::kPageTokens - 1) / ops::kPageTokens * page_bytes;
}

}  // namespace hadal::model
