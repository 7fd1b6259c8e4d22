#pragma once

#include <cstdint>
#include <span>

namespace hadal::train {

/// Moves the biases of one layer's experts towards equal load: bias += speed * sign(mean(load) - load), nothing when
/// equal. `loads`: (token, slot) pairs that each expert got in the whole step. Source: spec/training.md 2.4.
void balance_biases(std::span<float> biases, std::span<const std::int64_t> loads, double speed);

/// max(load) / mean(load); 1 when nothing was routed.
[[nodiscard]] double load_imbalance(std::span<const std::int64_t> loads);

}  // namespace hadal::train
