#pragma once

#include <cstdint>
#include <string_view>

#include "ops/backend.h"
#include "ops/step_layout.h"
#include "tensor/tensor.h"

namespace hadal::ops {

struct IndexerLoss {
  static constexpr std::string_view name = "indexer_loss";
  struct Args {
    // What the layer's attention was called with, and its log_sum: the target.
    TensorView attention_query;  // [T, H, C] f32 | f64 | bf16
    TensorView attention_pages;  // [pages, 128 / ratio, C] like attention_query
    TensorView log_sum;          // [T, H] f32 | f64
    double attention_scale;
    // What `indexer_select` was called with.
    TensorView query;         // [T, h, c] like attention_query
    TensorView head_weights;  // [T, h] f32 | f64
    double weight_scale;
    TensorView pages;  // [pages, 128 / ratio, c] like attention_query
    StepLayout layout;
    std::int64_t ratio;
    std::int64_t max_entries;  // upper bound of the entries visible to any row

    TensorView selected = {};  // [T, topk] i32, ascending, padded with -1; absent: every visible entry (dense stage)
    TensorView chosen = {};    // [T, any] i32, as selected, or absent: the choice whose share of the target is captured
    TensorView first_block;    // [S] i32: row of d_entries that belongs to entry 0 of the sequence
    double row_weight;         // multiplied into all gradients: 1 / number of rows with at least one visible entry
    TensorView loss;           // [T] f32 | f64: divergence of the row, not weighted
    TensorView captured = {};  // [T] like loss; with chosen only
    TensorView d_query;        // [T, h, c] like loss
    TensorView d_head_weights;  // [T, h] like loss
    TensorView d_entries;       // [blocks, c] like loss: entry j of a sequence in row first_block + j
  };
};

/// The indexer's training objective and its gradients, for a step in which every sequence begins (see
/// `attention_backward`). Over the row's set of entries (`selected`, or all visible ones):
///   p_j = sum over heads of exp(attention_scale * attention_query_h . attention_entry_j - log_sum_h), scaled to sum 1
///   q_j = softmax of score_j (see `indexer_select`)      loss = sum_j p_j log(p_j / q_j)
/// and d_* = row_weight times the gradients of the loss by way of the scores; p is a constant. captured = sum of p_j
/// over `chosen`. Rows whose set is empty, or to whose set attention gives no mass, have loss 0 and gradients 0. A bf16
/// query makes the products take bf16: the gradients of query . entry are rounded where they enter the sums. Order of
/// sums over rows as in `attention_backward`. Errors: kInvalidArgument when shapes or types differ. Source:
/// spec/training.md 1.5, 2.5.
[[nodiscard]] Status indexer_loss(Stream& stream, const IndexerLoss::Args& args);

}  // namespace hadal::ops
