#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "train/data/data_loader.h"

namespace hadal::train {

/// How often each token occurs in the mixture that a loader gives: [vocab_size], a billion or so in all. Errors: those
/// of TokenSet::read.
[[nodiscard]] Result<std::vector<std::int64_t>> token_counts(const DataLoader& loader);

}  // namespace hadal::train
