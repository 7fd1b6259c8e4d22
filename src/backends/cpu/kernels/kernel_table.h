#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/kernels/matrix_ref.h"

namespace hadal::cpu {

/// One panel of a dense product on packed operands (backends/cpu/gemm.h): any number of rows times up to a tile's
/// columns. Operands come in units of four bytes: one f32, or two bf16 that are neighbours along the inner dimension.
struct GemmPanel {
  const std::byte*
      a;  // the unit of row r at step k lies r / kGemmRows * a_tile + r % kGemmRows * a_row + k * a_step on
  std::int64_t a_tile;  // strides in units
  std::int64_t a_row;
  std::int64_t a_step;
  const std::byte* b;  // [steps, columns of a tile]
  std::int64_t steps;
  std::int64_t rows;
  std::int64_t columns;
  float* c;  // [rows, columns]
  std::int64_t c_stride;
  float alpha;
  float beta;  // 0: c is not read
};

/// Rows of a register tile of dense products, on every instruction set.
inline constexpr std::int64_t kGemmRows = 6;

/// Dense products with units of one kind.
struct GemmKernels {
  std::int64_t inner = 0;    // elements of a unit along the inner dimension: 1 (f32) or 2 (bf16)
  std::int64_t columns = 0;  // of a register tile
  /// c = alpha * a . b + beta * c, steps ascending for each element of c.
  void (*panel)(const GemmPanel& panel) = nullptr;
  /// Units of the elements of two rows of bf16 that follow each other along the inner dimension; `second` may be null:
  /// zeros. Only where inner is 2.
  void (*interleave)(const void* first, const void* second, std::int64_t n, void* out) = nullptr;
};

/// The inner loops of the CPU backend for one instruction set. Raw pointers and counts only: no checks, no allocation,
/// no errors. Counts and strides are in elements unless named bytes. Every function may be called from any thread.
///
/// The law: a result depends on the operands and the instruction set only. Number of rows, ranges of outputs, threads
/// and addresses never change a bit.
struct KernelTable {
  const char* isa = nullptr;  // generic, avx2, avx512, neon

  /// Bytes of scratch (64-byte aligned, one per thread) that a product over rows of length k needs.
  std::int64_t (*scratch_bytes)(std::int64_t k) = nullptr;

  /// y[m * y_stride + n] = sum_k x[m * x_stride + k] * W[n][k] for n in [n_begin, n_end), all m in [0, rows).
  /// Weights whose value leaves bf16's normal range become 0 or infinity on avx512 (formats with E8M0 scales only).
  /// With F32 weights x is widened first and the result equals multiply_f32's.
  void (*multiply_bf16)(const bf16* x, std::int64_t x_stride, std::int64_t rows, const MatrixRef& w,
                        std::int64_t n_begin, std::int64_t n_end, float* y, std::int64_t y_stride,
                        std::byte* scratch) = nullptr;
  /// The same with f32 activations: weights are decoded to f32, sums are f32 multiply-adds.
  void (*multiply_f32)(const float* x, std::int64_t x_stride, std::int64_t rows, const MatrixRef& w,
                       std::int64_t n_begin, std::int64_t n_end, float* y, std::int64_t y_stride,
                       std::byte* scratch) = nullptr;

  GemmKernels gemm_f32;
  GemmKernels gemm_bf16;  // without `panel` where there is no arithmetic on pairs of bf16

  // What the processor can do at most, for measuring (backends/cpu/limits.h). Each returns a number that depends on all
  // its work.

  /// `rounds` rounds of floating-point operations on registers: as multiply_f32 and multiply_bf16
  /// do them. peak_*_flops is the number of operations of one round.
  float (*peak_f32)(std::int64_t rounds) = nullptr;
  std::int64_t peak_f32_flops = 0;
  float (*peak_bf16)(std::int64_t rounds) = nullptr;
  std::int64_t peak_bf16_flops = 0;
  /// Reads `bytes` bytes, a multiple of 1,024, in order.
  float (*read)(const float* data, std::int64_t bytes) = nullptr;
};

}  // namespace hadal::cpu
