#pragma once

#include "ops/add.h"
#include "ops/add_position_bias.h"
#include "ops/append_entries.h"
#include "ops/argmax.h"
#include "ops/attention.h"
#include "ops/commit_rows.h"
#include "ops/compress.h"
#include "ops/cross_entropy.h"
#include "ops/embedding.h"
#include "ops/gate.h"
#include "ops/gather_rows.h"
#include "ops/grouped_linear.h"
#include "ops/hadamard.h"
#include "ops/hc_head.h"
#include "ops/hc_post.h"
#include "ops/hc_pre.h"
#include "ops/indexer_loss.h"
#include "ops/indexer_select.h"
#include "ops/linear.h"
#include "ops/matrix_product.h"
#include "ops/mean_streams.h"
#include "ops/previous_rows.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"
#include "ops/round_rows.h"
#include "ops/routed_experts.h"
#include "ops/swiglu.h"

namespace hadal::ops {

/// Calls visit.operator()<Op>() for every operator, in the order of a forward pass, then the training pass's own. A new
/// operator is added here.
template <class Visitor>
void for_each_operator(Visitor&& visit) {
  visit.template operator()<Embedding>();
  visit.template operator()<RmsNorm>();
  visit.template operator()<Rope>();
  visit.template operator()<Linear>();
  visit.template operator()<GroupedLinear>();
  visit.template operator()<RoundRows>();
  visit.template operator()<Hadamard>();
  visit.template operator()<HcPre>();
  visit.template operator()<HcPost>();
  visit.template operator()<HcHead>();
  visit.template operator()<AddPositionBias>();
  visit.template operator()<Compress>();
  visit.template operator()<AppendEntries>();
  visit.template operator()<IndexerSelect>();
  visit.template operator()<Attention>();
  visit.template operator()<Gate>();
  visit.template operator()<RoutedExperts>();
  visit.template operator()<Swiglu>();
  visit.template operator()<Add>();
  visit.template operator()<GatherRows>();
  visit.template operator()<MeanStreams>();
  visit.template operator()<PreviousRows>();
  visit.template operator()<CommitRows>();
  visit.template operator()<Argmax>();
  visit.template operator()<CrossEntropy>();
  visit.template operator()<RmsNormBackward>();
  visit.template operator()<HcPreBackward>();
  visit.template operator()<HcPostBackward>();
  visit.template operator()<HcHeadBackward>();
  visit.template operator()<AddPositionBiasBackward>();
  visit.template operator()<GateBackward>();
  visit.template operator()<GatherRowsBackward>();
  visit.template operator()<MeanStreamsBackward>();
  visit.template operator()<PreviousRowsBackward>();
  visit.template operator()<AttentionBackward>();
  visit.template operator()<IndexerLoss>();
  visit.template operator()<CompressBackward>();
  visit.template operator()<EmbeddingBackward>();
  visit.template operator()<LinearBackward>();
  visit.template operator()<GroupedLinearBackward>();
  visit.template operator()<RoutedExpertsBackward>();
  visit.template operator()<SwigluBackward>();
  visit.template operator()<MatrixProduct>();
}

}  // namespace hadal::ops
