#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "model/attention.h"
#include "model/step.h"
#include "model/weights.h"

namespace hadal::model {

/// The MTP layer's input and what it was made of; all but `streams` are valid only where activations are kept.
struct MtpInput {
  TensorView streams;   // [T, n, D] real
  TensorView embedded;  // [T, D] real: the tokens' embeddings
  TensorView token;     // [T, D] products' type: their norm, the input of e_proj
  TensorView hidden;    // [T n, D] products' type: norm of the streams before, the input of h_proj
};

/// The MTP layer's input (spec/model.md 2.9): for each row and stream i, e_proj(RMSNorm(embed[token], enorm)) +
/// h_proj(RMSNorm(before[i], hnorm)). `before` [T, n, D]: streams of the position before the token's.
[[nodiscard]] Result<MtpInput> mtp_input(Step& step, const DrafterWeights& weights, const TensorView& before);

/// Key rows that MTP's window keeps of a main step: only the way to the layer's keys, not the layer. `step` has the
/// tables shifted by one position; `input` is mtp_input's.
[[nodiscard]] Status mtp_context(Step& step, const DrafterWeights& weights, const TensorView& input,
                                 const LayerRows& rows);

/// DSpark's context rows of a main step (spec/dspark.md 3.1): main_x = RMSNorm(main_proj target_hidden), then each
/// stage's keys. `target_hidden` [T, targets D] real.
[[nodiscard]] Status dspark_context(Step& step, const DrafterWeights& weights, const TensorView& target_hidden,
                                    const std::vector<LayerRows>& stages);

/// The DSpark block of B rows a sequence (spec/dspark.md 3.2) through all stages: hidden [rows, D] real and base logits
/// [rows, vocab_size] real. `stages`: memory for the block's keys.
struct DSparkBlock {
  TensorView hidden;
  TensorView base_logits;
};
[[nodiscard]] Result<DSparkBlock> dspark_block(Step& step, const DrafterWeights& weights, const StateLayout& layout,
                                               const std::vector<LayerRows>& stages);

/// Markov correction and confidence of one block position (spec/dspark.md 3.3), for S sequences.
struct DSparkChoice {
  TensorView logits;      // [S, vocab_size] real
  TensorView confidence;  // [S, 1] real, before the sigmoid
};
/// `previous` [S] i64: the tokens before this position. hidden, base_logits: this position's rows (may be strided).
/// `identity` [S] i32 = 0 .. S-1.
[[nodiscard]] Result<DSparkChoice> dspark_choice(Step& step, const DrafterWeights& weights, const TensorView& previous,
                                                 const TensorView& hidden, const TensorView& base_logits,
                                                 const TensorView& identity);

}  // namespace hadal::model
