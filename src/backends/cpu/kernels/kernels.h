#pragma once

#include <string_view>

#include "backends/cpu/kernels/kernel_table.h"
#include "base/result.h"

namespace hadal::cpu {

/// Names of all instruction sets that kernels exist for, best first.
inline constexpr std::string_view kInstructionSets[] = {"avx512", "avx2", "neon", "generic"};

/// The table of this process: the best the processor has, or the one that HADAL_ISA names. An unknown name or a set
/// that the processor lacks is an error. Chosen at the first call.
[[nodiscard]] const Result<const KernelTable*>& kernels();

/// The table called `isa`. Errors: kInvalidArgument for an unknown name, kUnsupported when this processor lacks it.
[[nodiscard]] Result<const KernelTable*> kernel_table(std::string_view isa);

}  // namespace hadal::cpu
