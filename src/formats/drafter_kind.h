#pragma once

#include <cstdint>

namespace hadal::formats {

enum class DrafterKind : std::uint8_t { kNone, kMtp, kDSpark };

/// Which drafter a checkpoint holds. Tensors decide, the configuration must agree (spec/dspark.md 1).
struct DrafterShape {
  DrafterKind kind = DrafterKind::kNone;
  std::int64_t stages = 0;  // layers `mtp.i`: 1 for MTP
};

}  // namespace hadal::formats
