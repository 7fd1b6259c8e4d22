#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/kernels/matrix_ref.h"

namespace hadal::cpu {

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
