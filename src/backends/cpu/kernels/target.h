#pragma once

// Opens and closes a region of code for one instruction set: HADAL_TARGET_BEGIN_AVX512 ... HADAL_TARGET_END. All
// includes that are shared with baseline code come before it, so that none of their inline functions is compiled for
// the wider set.
#if defined(__clang__)
#define HADAL_TARGET_BEGIN_AVX2 \
  _Pragma("clang attribute push(__attribute__((target(\"avx2,fma,bmi2\"))), apply_to = function)")
// clang-format off: the operand of _Pragma is one literal
#define HADAL_TARGET_BEGIN_AVX512 \
  _Pragma("clang attribute push(__attribute__((target(\"avx2,fma,bmi2,avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512bf16\"))), apply_to = function)")
// clang-format on
#define HADAL_TARGET_END _Pragma("clang attribute pop")
#else
#define HADAL_TARGET_BEGIN_AVX2 _Pragma("GCC push_options") _Pragma("GCC target(\"avx2,fma,bmi2\")")
#define HADAL_TARGET_BEGIN_AVX512 \
  _Pragma("GCC push_options")     \
      _Pragma("GCC target(\"avx2,fma,bmi2,avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512bf16\")")
#define HADAL_TARGET_END _Pragma("GCC pop_options")
#endif

#define HADAL_INLINE inline __attribute__((always_inline))
#define HADAL_INLINE_LAMBDA __attribute__((always_inline))
