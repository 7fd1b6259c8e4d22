#pragma once

#include "base/result.h"
#include "train/data/prepare.h"

namespace hadal::apps {

/// Prepares data with progress on the terminal until the end or Ctrl-C. Errors: those of prepare_data.
[[nodiscard]] Result<train::PrepareReport> run_preparation(train::PrepareOptions options);

}  // namespace hadal::apps
