#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "formats/drafter_kind.h"
#include "formats/model_config.h"
#include "formats/tensor_table.h"
#include "formats/weight_source.h"

namespace hadal::formats {

/// What a source of weights turned out to hold.
struct TensorCheck {
  TensorTable table;  // in the formats that were found; the drafter's tensors only if it can be used
  WeightFormats formats;
  DrafterShape drafter;
  std::vector<std::string> warnings;  // why drafting is off, tensors that nobody reads
};

/// Checks that every tensor of the main model is there with the right shape and a readable type (weights FP8 with E8M0
/// or F32 scales, BF16 or F32; experts also FP4; all others as in TensorTable, F32 in place of BF16), and that tid2eid
/// names existing experts. Finds the drafter: the tensors decide, the configuration must agree, and a drafter that is
/// not whole is left out with a warning (spec/dspark.md 1).
/// Errors: kCorrupt, one error with all that is wrong.
[[nodiscard]] Result<TensorCheck> check_tensors(const ModelConfig& config, const WeightSource& source);

}  // namespace hadal::formats
