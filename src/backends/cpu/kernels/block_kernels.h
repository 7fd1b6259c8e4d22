#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace hadal::cpu {

/// Products between the rows of a block (queries, their gradients, probabilities) and its keys, for rows of one type.
/// A word has four bytes: one f32 value or a pair of bf16 values; a last odd value is paired with zero.
struct BlockProducts {
  std::int64_t values;  // values a word: 1 (f32) or 2 (bf16)

  /// Rounds an f32 row to the rows' type.
  void (*narrow)(const float* in, void* out, std::int64_t n);
  /// packed[i / values][column] = the words of rows i, i + 1, .. at `column`: rows are the summed dimension.
  void (*pack_rows)(const std::byte* const* rows, std::int64_t count, std::int64_t columns, float* packed);
  /// packed[word][row]: channels are the summed dimension. `stride` is a multiple of the lanes and at least `count`;
  /// rows that are missing up to it are zeros.
  void (*pack_columns)(const std::byte* const* rows, std::int64_t count, std::int64_t channels, float* packed,
                       std::int64_t stride);
  /// out[i][j] = (add ? out[i][j] : 0) + sum over w < words, ascending, of a[i * a_row + w * a_word] . b[w * b_row + j]
  /// for i < m, j < n. One order whatever m and n are.
  void (*multiply)(const float* a, std::int64_t a_row, std::int64_t a_word, std::int64_t m, const float* b,
                   std::int64_t b_row, std::int64_t n, std::int64_t words, float* out, std::int64_t out_row, bool add);
};

/// Inner loops of attention's and the indexer's gradients, for one instruction set. Same rules as OperatorKernels.
struct BlockKernels {
  std::string_view isa;
  int lanes;
  BlockProducts f32;
  BlockProducts bf16;

  float (*dot)(const float* a, const float* b, std::int64_t n);
  /// scores = p = exp(scores * factor - log_sum), d_probabilities = factor * p * (d_probabilities - product) for
  /// indices in [begin, end); both 0 elsewhere in [0, n).
  void (*softmax_gradient)(float* scores, float* d_probabilities, std::int64_t begin, std::int64_t end, std::int64_t n,
                           float factor, float log_sum, float product);
  /// d_sinks -= exp(sinks - log_sums) * products.
  void (*sink_gradient)(const float* sinks, const float* log_sums, const float* products, float* d_sinks,
                        std::int64_t n);
  /// out += exp(scores * factor - log_sum).
  void (*add_exponentials)(const float* scores, float factor, float log_sum, float* out, std::int64_t n);
  /// out += weight * max(0, products); NaN stays NaN.
  void (*add_positive)(const float* products, float weight, float* out, std::int64_t n);
  /// sum target log(target / q) with target scaled to sum 1 and q = softmax(scores); afterwards target is scaled, and
  /// scores = factor * (q - target). A target of no mass: 0, and scores 0.
  float (*divergence)(float* target, float* scores, float factor, std::int64_t n);
  /// Returns the sum of gradient * max(0, products); products become weight * gradient where positive, 0 elsewhere.
  float (*positive_gradient)(float* products, const float* gradient, float weight, std::int64_t n);
  /// Gradients of OperatorKernels::pool: d_values[s] = w_s d_out, d_gates[s] = w_s d_out (values[s] - sum_s w_s
  /// values[s]) with w = softmax_s(gates).
  void (*pool_gradient)(const float* const* gates, const float* const* values, std::int64_t slots, const float* d_out,
                        float* const* d_gates, float* const* d_values, std::int64_t n);
};

/// The kernels for an instruction set named by KernelTable::isa.
[[nodiscard]] const BlockKernels& block_kernels(std::string_view isa);

// One table an instruction set; call only the functions in it that the processor has the instructions for.
[[nodiscard]] const BlockKernels& block_kernels_generic();
[[nodiscard]] const BlockKernels& block_kernels_avx2();
[[nodiscard]] const BlockKernels& block_kernels_avx512();
[[nodiscard]] const BlockKernels& block_kernels_neon();

}  // namespace hadal::cpu
