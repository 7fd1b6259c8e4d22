#pragma once

#include <algorithm>
#include <cstdint>

#include "tensor/tensor.h"

namespace hadal::cpu {

/// The assignments of one expert: places [begin, begin + count) of the plan's order.
struct ExpertRun {
  std::int64_t expert;
  std::int64_t begin;
  std::int64_t count;
};

/// A step's assignments (token, slot) in the order of their experts, and within an expert in their own: a stable
/// counting sort in caller's memory.
class ExpertPlan {
 public:
  /// `experts` [T, K] i32, each in [0, expert_count); `memory` of bytes().
  ExpertPlan(std::byte* memory, const TensorView& experts, std::int64_t expert_count);
  [[nodiscard]] static std::int64_t bytes(std::int64_t assignments, std::int64_t expert_count);

  /// Experts that have work, ascending.
  [[nodiscard]] std::int64_t runs() const { return run_count_; }
  [[nodiscard]] const ExpertRun& run(std::int64_t index) const { return runs_[index]; }
  /// token * K + slot of a place.
  [[nodiscard]] std::int64_t assignment(std::int64_t place) const { return order_[place]; }

  /// body(run, first_block, last_block) for part `part` of `parts` of all runs' blocks, so that the parts cost about
  /// the same. Every run has `blocks` blocks.
  template <class Body>
  void for_part(std::int64_t part, std::int64_t parts, std::int64_t blocks, Body&& body) const {
    const std::int64_t total = costs_[run_count_] * blocks;
    const std::int64_t begin = total * part / parts;
    const std::int64_t end = total * (part + 1) / parts;
    for (std::int64_t run = 0; run < run_count_; ++run) {
      const std::int64_t cost = costs_[run + 1] - costs_[run];
      const std::int64_t base = costs_[run] * blocks;
      // A block belongs to the part in which its first unit of cost lies.
      const std::int64_t first = std::clamp<std::int64_t>((begin - base + cost - 1) / cost, 0, blocks);
      const std::int64_t last = std::clamp<std::int64_t>((end - base + cost - 1) / cost, 0, blocks);
      if (first < last) body(run, first, last);
    }
  }

 private:
  std::int32_t* order_;  // [assignments]
  ExpertRun* runs_;      // [min(expert_count, assignments)]
  std::int64_t* costs_;  // [runs + 1]: sums of the costs of one block of the runs before
  std::int64_t run_count_ = 0;
};

}  // namespace hadal::cpu
