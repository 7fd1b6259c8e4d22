#pragma once

#include <cstdint>
#include <string_view>

#include "ops/backend.h"
#include "ops/step_layout.h"
#include "tensor/tensor.h"

namespace hadal::ops {

struct IndexerSelect {
  static constexpr std::string_view name = "indexer_select";
  struct Args {
    TensorView query;         // [T, heads, C] f32 | f64 | bf16
    TensorView head_weights;  // [T, heads] f32 | f64
    double weight_scale;      // 1 / (sqrt(C) sqrt(heads)), multiplied into head_weights
    TensorView pages;         // [pages, 128 / ratio, C] like query: the indexer's entries
    StepLayout layout;
    std::int64_t ratio;
    std::int64_t max_entries;  // upper bound of the entries visible to any row
    TensorView selected;       // [T, topk] i32: out, ascending, padded with -1
  };
};

/// The lightning indexer: score_j = sum over heads (ascending) of weight_h * max(0, query_h . entry_j) for the visible
/// entries j < floor((position + 1) / ratio); the topk largest, larger first, lower index on ties, NaN last. No more
/// than topk visible: all of them, nothing is scored. Products as in `linear`; scores in f32 (f64 for f64). Errors:
/// kInvalidArgument when shapes or types differ. Source: spec/model.md 2.6; official class Indexer.
[[nodiscard]] Status indexer_select(Stream& stream, const IndexerSelect::Args& args);

}  // namespace hadal::ops
