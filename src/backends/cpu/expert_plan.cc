#include "backends/cpu/expert_plan.h"

#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

/// Cost of reading a block of weights, in rows of arithmetic with it.
constexpr std::int64_t kReadCost = 6;

}  // namespace

std::int64_t ExpertPlan::bytes(std::int64_t assignments, std::int64_t expert_count) {
  const std::int64_t runs = std::min(assignments, expert_count);
  return padded(assignments * static_cast<std::int64_t>(sizeof(std::int32_t))) +
         padded(runs * static_cast<std::int64_t>(sizeof(ExpertRun))) +
         padded((runs + 1) * static_cast<std::int64_t>(sizeof(std::int64_t))) +
         padded((expert_count + 1) * static_cast<std::int64_t>(sizeof(std::int32_t)));
}

ExpertPlan::ExpertPlan(std::byte* memory, const TensorView& experts, std::int64_t expert_count) {
  const std::int64_t assignments = experts.elements();
  const std::int64_t slots = experts.extent(1);
  const std::int64_t most_runs = std::min(assignments, expert_count);
  Carver carver(memory);
  order_ = carver.take<std::int32_t>(assignments);
  runs_ = carver.take<ExpertRun>(most_runs);
  costs_ = carver.take<std::int64_t>(most_runs + 1);
  auto* place = carver.take<std::int32_t>(expert_count + 1);  // where the next assignment of an expert goes
  std::fill_n(place, expert_count + 1, 0);
  for (std::int64_t token = 0; token < experts.extent(0); ++token) {
    for (std::int64_t slot = 0; slot < slots; ++slot) ++place[experts.row<std::int32_t>(token)[slot] + 1];
  }
  costs_[0] = 0;
  for (std::int64_t expert = 0; expert < expert_count; ++expert) {
    const std::int64_t count = place[expert + 1];
    place[expert + 1] += place[expert];
    if (count == 0) continue;
    runs_[run_count_] = {.expert = expert, .begin = place[expert], .count = count};
    costs_[run_count_ + 1] = costs_[run_count_] + kReadCost + count;
    ++run_count_;
  }
  for (std::int64_t token = 0; token < experts.extent(0); ++token) {
    for (std::int64_t slot = 0; slot < slots; ++slot) {
      order_[place[experts.row<std::int32_t>(token)[slot]]++] = static_cast<std::int32_t>(token * slots + slot);
    }
  }
}

}  // namespace hadal::cpu
