#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace hadal::testing {

/// A file or directory of golden data: the project's own copy, else the one in ../shared/golden beside the source tree,
/// else nothing (large cases are not copied: their tests skip).
inline std::optional<std::filesystem::path> golden_path(const std::string& name) {
  const std::filesystem::path source = HADAL_SOURCE_DIR;
  for (const auto& root : {source / "tests" / "golden", source / ".." / "shared" / "golden"}) {
    if (std::filesystem::exists(root / name)) return root / name;
  }
  return std::nullopt;
}

}  // namespace hadal::testing
