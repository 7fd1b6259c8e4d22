#include "backends/cpu/kernels/kernels.h"

#include <fmt/format.h>

#include <cstdlib>

#include "backends/cpu/kernels/register.h"
#include "base/cpu_features.h"

namespace hadal::cpu {
namespace {

KernelTable make_generic() {
  KernelTable table;
  table.isa = "generic";
  add_linear_generic(table);
  add_gemm_generic(table);
  return table;
}

#if defined(__x86_64__)
KernelTable make_avx2() {
  KernelTable table;
  table.isa = "avx2";
  add_linear_avx2(table);
  add_gemm_avx2(table);
  return table;
}

KernelTable make_avx512() {
  KernelTable table;
  table.isa = "avx512";
  add_linear_bf16_avx512(table);
  add_linear_f32_avx512(table);
  add_gemm_avx512(table);
  return table;
}
#elif defined(__aarch64__)
KernelTable make_neon() {
  KernelTable table;
  table.isa = "neon";
  add_linear_neon(table);
  add_gemm_neon(table);
  return table;
}
#endif

Result<const KernelTable*> choose() {
  if (const char* forced = std::getenv("HADAL_ISA"); forced != nullptr && *forced != '\0') {
    auto table = kernel_table(forced);
    if (!table) return fail(table.error().code, fmt::format("HADAL_ISA: {}", table.error().message));
    return table;
  }
  for (const std::string_view isa : kInstructionSets) {
    if (auto table = kernel_table(isa)) return table;
  }
  return fail(ErrorCode::kInternal, "no kernel table");  // generic always exists
}

}  // namespace

Result<const KernelTable*> kernel_table(std::string_view isa) {
  static const KernelTable generic = make_generic();
  if (isa == "generic") return &generic;
#if defined(__x86_64__)
  static const KernelTable avx2 = make_avx2();
  static const KernelTable avx512 = make_avx512();
  if (isa == "avx2" && cpu_features().avx2) return &avx2;
  if (isa == "avx512" && cpu_features().avx512) return &avx512;
#elif defined(__aarch64__)
  static const KernelTable neon = make_neon();
  if (isa == "neon" && cpu_features().neon) return &neon;
#endif
  for (const std::string_view known : kInstructionSets) {
    if (isa == known) {
      return fail(
          ErrorCode::kUnsupported,
          fmt::format("this processor lacks the instruction set '{}'; use generic, or leave the choice open", isa));
    }
  }
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("unknown instruction set '{}'; known are generic, avx2, avx512, neon", isa));
}

const Result<const KernelTable*>& kernels() {
  static const Result<const KernelTable*> chosen = choose();
  return chosen;
}

}  // namespace hadal::cpu
