#pragma once

namespace hadal::cpu {

struct KernelTable;

// Each fills its family's entries of a table. Compiled for one instruction set each; called only where it exists.
void add_linear_generic(KernelTable& table);
void add_linear_avx2(KernelTable& table);
void add_linear_bf16_avx512(KernelTable& table);
void add_linear_f32_avx512(KernelTable& table);
void add_linear_neon(KernelTable& table);
void add_gemm_generic(KernelTable& table);
void add_gemm_avx2(KernelTable& table);
void add_gemm_avx512(KernelTable& table);
void add_gemm_neon(KernelTable& table);

}  // namespace hadal::cpu
