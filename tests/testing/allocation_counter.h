#pragma once

#include <cstdint>

namespace hadal::testing {

/// Calls of operator new by this thread since the program started. Counting needs allocation_counter.cc among the
/// test's sources: it replaces the global operators of that program.
[[nodiscard]] std::int64_t allocations();
/// The same of every thread.
[[nodiscard]] std::int64_t allocations_of_all_threads();

}  // namespace hadal::testing
