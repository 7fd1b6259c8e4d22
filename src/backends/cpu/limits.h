#pragma once

#include "backends/cpu/kernels/kernel_table.h"
#include "base/result.h"
#include "base/thread_pool.h"

namespace hadal::cpu {

/// Rates of one thread and of all threads of a pool together.
struct Rate {
  double one = 0.0;
  double all = 0.0;
};

/// What this machine does at most at the moment: the yardstick of every speed that is reported.
struct Limits {
  Rate read;  // bytes a second, in order, from 1 GiB in huge pages where the system gives them
  Rate bf16;  // floating-point operations a second on registers, as products with bf16 activations do them
  Rate f32;   // the same for f32 activations
};

/// Measures for about a second, best of several passes each. Errors: kResourceExhausted when 1 GiB cannot be had.
[[nodiscard]] Result<Limits> measure_limits(ThreadPool& pool, const KernelTable& kernels);

}  // namespace hadal::cpu
