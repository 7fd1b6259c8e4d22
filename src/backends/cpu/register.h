#pragma once

#include "ops/backend.h"

namespace hadal::cpu {

// Each adds its operator's CPU implementation to the table; one source file an operator.
void add_add(ops::OpTable& table);
void add_add_position_bias(ops::OpTable& table);
void add_append_entries(ops::OpTable& table);
void add_argmax(ops::OpTable& table);
void add_attention(ops::OpTable& table);
void add_attention_backward(ops::OpTable& table);
void add_commit_rows(ops::OpTable& table);
void add_compress(ops::OpTable& table);
void add_compress_backward(ops::OpTable& table);
void add_cross_entropy(ops::OpTable& table);
void add_embedding(ops::OpTable& table);
void add_embedding_backward(ops::OpTable& table);
void add_gate(ops::OpTable& table);
void add_gate_backward(ops::OpTable& table);
void add_gather_rows(ops::OpTable& table);
void add_grouped_linear(ops::OpTable& table);
void add_hadamard(ops::OpTable& table);
void add_hc_head(ops::OpTable& table);
void add_hc_head_backward(ops::OpTable& table);
void add_hc_post(ops::OpTable& table);
void add_hc_post_backward(ops::OpTable& table);
void add_hc_pre(ops::OpTable& table);
void add_hc_pre_backward(ops::OpTable& table);
void add_indexer_loss(ops::OpTable& table);
void add_indexer_select(ops::OpTable& table);
void add_linear(ops::OpTable& table);
void add_linear_backward(ops::OpTable& table);  // and of groups
void add_matrix_product(ops::OpTable& table);
void add_mean_streams(ops::OpTable& table);
void add_previous_rows(ops::OpTable& table);
void add_rms_norm(ops::OpTable& table);
void add_rms_norm_backward(ops::OpTable& table);
void add_rope(ops::OpTable& table);
void add_round_rows(ops::OpTable& table);
void add_routed_experts(ops::OpTable& table);
void add_routed_experts_backward(ops::OpTable& table);
void add_swiglu(ops::OpTable& table);
void add_swiglu_backward(ops::OpTable& table);

}  // namespace hadal::cpu
