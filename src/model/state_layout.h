#pragma once

#include <cstdint>
#include <vector>

#include "formats/drafter_kind.h"
#include "formats/model_config.h"
#include "model/numerics.h"
#include "tensor/dtype.h"

namespace hadal::model {

/// Committed tokens that every sequence can take back; no round drafts more.
inline constexpr std::int64_t kRollBackTokens = 8;

/// Place of one tensor inside every slot (or page) of the pool: byte offset, rows, columns, type.
struct StatePart {
  std::int64_t offset = 0;
  std::int64_t rows = 0;  // 0: the part does not exist
  std::int64_t columns = 0;
  DType type = DType::kF32;
};

/// Parts of one layer's state. Rings hold committed rows: that of position p in row p mod rows. `s` rows more than a
/// step reads keep what is read again after s tokens were taken back.
struct LayerState {
  StatePart window;       // [sliding_window + s, head_dim]
  StatePart value, gate;  // compressor rows a and z: [8 + s, 2 head_dim] for ratio 4, [128 + s, head_dim] for 128
  StatePart index_value, index_gate;
  StatePart entries;        // in pages: [128 / ratio, head_dim]
  StatePart index_entries;  // in pages: [32, index_head_dim]
};

/// Byte layout of a sequence's state: one slot of fixed size, and a page for each 128 tokens begun.
struct StateLayout {
  std::vector<LayerState> layers;          // main layers
  std::vector<LayerState> drafter_layers;  // MTP: one; DSpark: one a stage; windows only
  StatePart last_streams;                  // MTP: [1 + s, hc_mult hidden_size], streams of the last committed positions
  std::int64_t roll_back_tokens = 0;       // s
  std::int64_t slot_bytes = 0;
  std::int64_t page_bytes = 0;  // 0: no layer compresses

  [[nodiscard]] static StateLayout make(const formats::ModelConfig& config, const NumericsProfile& profile,
                                        const formats::DrafterShape& drafter);
  /// Bytes of one sequence of `tokens` tokens.
  [[nodiscard]] std::int64_t bytes(std::int64_t tokens) const;
};

}  // namespace hadal::model
