#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace hadal::cpu {

/// Operands of hc_post_backward for one token; all rows are contiguous.
struct HcPostGradient {
  const float* y;        // [channels]
  const float* post;     // [n]
  const float* comb;     // [n, n]
  const float* streams;  // [n, channels]: before hc_post
  const float* d_out;    // [n, channels]
  std::int64_t n;
  std::int64_t channels;
  float* d_y;        // [channels]
  float* d_post;     // [n]
  float* d_comb;     // [n, n]
  float* d_streams;  // [n, channels]; may be d_out
};

/// Operands of hc_mix_backward; N is (2 + n) n, or n for hc_head.
struct HcMixGradient {
  const float* products;     // [tokens, N]: fn . flat
  const float* inverse_rms;  // [tokens]
  const float* base;         // [N]
  const float* scale;        // [3], or [1] for hc_head
  const float* d_pre;        // [tokens, n]
  const float* d_post;       // [tokens, n]; null: hc_head
  const float* d_comb;       // [tokens, n, n]; null: hc_head
  std::int64_t tokens;
  std::int64_t n;
  std::int64_t channels;
  std::int64_t iterations;
  float eps;
  float* stages;      // working memory: 2 * iterations * n * (n + 1) * lanes
  float* pre;         // [tokens, n]: out
  float* d_products;  // [tokens, N]: out
  float* radial;      // [tokens]: out, factor of the streams in their own gradient
  float* d_base;      // [N], added to
  float* d_scale;     // [3] or [1], added to
};

/// Operands of hc_streams_backward; all rows are contiguous.
struct HcStreamsGradient {
  const float* fn;          // from pack_columns
  const float* x;           // [tokens, n, channels]
  const float* d_out;       // [tokens, channels]
  const float* pre;         // [tokens, n]
  const float* d_products;  // [tokens, outputs]
  const float* radial;      // [tokens]
  std::int64_t tokens;
  std::int64_t n;
  std::int64_t channels;
  std::int64_t outputs;
  bool add;    // to what d_x holds
  float* d_x;  // [tokens, n, channels]
};

/// The inner loops of the operators other than matrix products, for one instruction set. Raw pointers of any alignment
/// and counts of elements; no checks, no allocation, no errors; any thread. Types ending in _bf16 read or write
/// bfloat16, everything else is f32. Same law as KernelTable: a result depends on the operands alone.
struct OperatorKernels {
  std::string_view isa;
  int lanes;  // f32 lanes of a register; a key tile has 2 * lanes keys

  // Rows.
  void (*widen_bf16)(const void* in, float* out, std::int64_t n);
  void (*narrow_bf16)(const float* in, void* out, std::int64_t n);  // to nearest even
  void (*add)(const float* a, const float* b, float* out, std::int64_t n);
  float (*sum_of_squares)(const float* x, std::int64_t n);
  float (*sum_of_squares_bf16)(const void* x, std::int64_t n);
  void (*scale)(const float* x, float factor, float* out, std::int64_t n);
  void (*divide)(const float* x, float divisor, float* out, std::int64_t n);
  void (*multiply)(const float* a, const float* b, float* out, std::int64_t n);
  /// out = the sum of `count` rows that lie `stride` apart, in their order.
  void (*sum_rows)(const float* rows, std::int64_t stride, std::int64_t count, float* out, std::int64_t n);
  /// out = sum_i coefficients[i] * rows[i], i ascending.
  void (*combine)(const float* const* rows, const float* coefficients, std::int64_t count, float* out, std::int64_t n);
  /// out += x.
  void (*accumulate)(const float* x, float* out, std::int64_t n);
  /// Index of the largest value, the lowest on ties; NaN counts as smallest.
  std::int64_t (*argmax)(const float* x, std::int64_t n);
  /// out = silu(min(gate, limit)) * clamp(up, -limit, limit) * weight; limit may be infinite.
  void (*swiglu)(const float* gate, const float* up, float limit, float weight, float* out, std::int64_t n);
  /// Gradients of swiglu with `weight` 1 for the gradient weight * d_out; returns sum_i d_out[i] * swiglu[i]. Where it
  /// is not null, hidden = weight * swiglu as above. Outputs may be inputs.
  float (*swiglu_backward)(const float* gate, const float* up, float limit, float weight, const float* d_out,
                           float* d_gate, float* d_up, float* hidden, std::int64_t n);
  /// out = sqrt(softplus(x)), softplus(u) = u above 20.
  void (*sqrt_softplus)(const float* x, float* out, std::int64_t n);

  // Rotary embedding: cosine and sine of position * frequency for `pairs` pairs, each twice, the sine of a pair's first
  // channel negated (inverse: of its second).
  void (*rope_table)(std::int64_t position, const float* frequencies, std::int64_t pairs, bool inverse, float* cosines,
                     float* sines);
  void (*rotate)(float* x, const float* cosines, const float* sines, std::int64_t channels);

  // Number formats.
  void (*hadamard)(float* x, std::int64_t n);                                          // n a power of two
  void (*round_fp8)(const float* in, float* out, std::int64_t n, std::int64_t block);  // block a multiple of 16
  void (*round_fp4)(const float* in, float* out, std::int64_t n, std::int64_t block);

  /// Softmax pooling over slots for each channel: out = sum_s softmax_s(gates[s]) * values[s].
  void (*pool)(const float* const* gates, const float* const* values, std::int64_t slots, float* out, std::int64_t n);

  // Hyper-connections of n streams. `hc_mix` turns tokens' products m (each (2 + n) n long, at `stride`) into
  // coefficients: m is multiplied by inverse_rms[token] first.
  void (*hc_mix)(const float* products, std::int64_t stride, const float* inverse_rms, std::int64_t tokens,
                 const float* base, const float* scale, std::int64_t n, std::int64_t iterations, float eps, float* pre,
                 float* post, float* comb);
  /// pre[i] = sigmoid(m[i] * scale + base[i]) + eps for n values of one token.
  void (*hc_weights)(const float* products, float inverse_rms, const float* base, float scale, std::int64_t n,
                     float eps, float* pre);
  /// streams[k] = post[k] y + sum_j comb[j n + k] streams[j] over `channels` channels; streams lie `stride` apart.
  void (*hc_post)(const float* y, const float* post, const float* comb, std::int64_t n, float* streams,
                  std::int64_t stride, std::int64_t channels);

  // Gradients of rows.
  float (*dot)(const float* a, const float* b, std::int64_t n);
  /// With a = weight * d_out (d_out for a null weight) and u = factor * x: d_x = factor * (a - u * mean(a * u)), added
  /// to d_x if `add`; d_weight += d_out * u unless null. d_x may be d_out.
  void (*norm_backward)(const float* x, const float* weight, const float* d_out, float factor, bool add, float* d_x,
                        float* d_weight, std::int64_t n);
  /// scores as of sqrt_softplus and their derivatives; returns the sum of the scores.
  float (*score_slopes)(const float* x, float* scores, float* slopes, std::int64_t n);
  /// out = (shares - mean) * factor * slopes.
  void (*balance_backward)(const float* shares, float mean, float factor, const float* slopes, float* out,
                           std::int64_t n);
  /// log(sum exp(x)) - x[target]; d = weight * (softmax(x) - onehot(target)) unless null. d may be x.
  float (*cross_entropy)(const float* x, std::int64_t n, std::int64_t target, float weight, float* d);

  // Gradients of hyper-connections.
  void (*hc_post_backward)(const HcPostGradient& gradient);
  void (*hc_mix_backward)(const HcMixGradient& gradient);
  /// fn [outputs, n * channels] as hc_streams_backward reads it: blocks of neighbouring channels, output by output.
  void (*pack_columns)(const float* fn, std::int64_t outputs, std::int64_t n, std::int64_t channels, float* packed);
  /// d_x[i] (+)= pre_i d_out - radial x[i] + sum over outputs, ascending, of d_products * fn.
  void (*hc_streams_backward)(const HcStreamsGradient& gradient);
  /// out[output] += sum over tokens, ascending, of coefficients[token][output] * x[token]; rows of `length`.
  void (*add_outer_products)(const float* coefficients, std::int64_t outputs, const float* x, std::int64_t length,
                             std::int64_t tokens, float* out);

  // Attention. Keys are given as addresses of rows. A packed tile holds 2 * lanes keys, one a lane; missing ones are
  // zeros. bf16 channels lie in pairs; a last odd one is paired with zero.
  void (*pack_keys)(const std::byte* const* keys, std::int64_t count, std::int64_t channels, float* packed);
  void (*pack_keys_bf16)(const std::byte* const* keys, std::int64_t count, std::int64_t channels, float* packed);
  /// scores[head * stride + lane] = query_head . key_lane for the 2 * lanes keys of a tile.
  void (*scores)(const void* query, std::int64_t query_stride, std::int64_t heads, const float* packed,
                 std::int64_t channels, float* scores, std::int64_t stride);
  void (*scores_bf16)(const void* query, std::int64_t query_stride, std::int64_t heads, const float* packed,
                      std::int64_t channels, float* scores, std::int64_t stride);
  /// scores = exp(scores * factor - M), M = max(all scores * factor, sink); returns their sum + exp(sink - M), and M.
  float (*softmax)(float* scores, std::int64_t n, float factor, float sink, float* largest_score);
  /// out = maxima + log(sums) for sums of `softmax`.
  void (*log_sums)(const float* maxima, const float* sums, float* out, std::int64_t n);
  /// out[head] += sum_j weights[head * weight_stride + j] * key_j, j ascending.
  void (*add_values)(const std::byte* const* keys, std::int64_t count, std::int64_t channels, const float* weights,
                     std::int64_t weight_stride, std::int64_t heads, float* out, std::int64_t out_stride);
  void (*add_values_bf16)(const std::byte* const* keys, std::int64_t count, std::int64_t channels, const float* weights,
                          std::int64_t weight_stride, std::int64_t heads, float* out, std::int64_t out_stride);

  // Indexer: scores[lane] = sum over heads, ascending, of weights[head] * max(0, query_head . key_lane) for a tile.
  void (*index_scores)(const void* query, std::int64_t heads, const float* weights, const float* packed,
                       std::int64_t channels, float* scores);
  void (*index_scores_bf16)(const void* query, std::int64_t heads, const float* weights, const float* packed,
                            std::int64_t channels, float* scores);
  /// Writes the indices of the k < n largest scores, ascending, to `selected`; lower index on ties, NaN last. Scores
  /// are destroyed; `scratch` holds n numbers.
  void (*select_top)(float* scores, std::int64_t n, std::int64_t k, std::int32_t* selected, std::uint32_t* scratch);
};

/// The kernels for an instruction set named by KernelTable::isa.
[[nodiscard]] const OperatorKernels& operator_kernels(std::string_view isa);

}  // namespace hadal::cpu
