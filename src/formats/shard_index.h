#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hadal::formats {

/// The content of a model.safetensors.index.json.
struct ShardIndex {
  struct Entry {
    std::string name;
    std::uint32_t file = 0;  // index into files
  };
  std::vector<std::string> files;  // in the order of first mention; plain relative paths that stay in the directory
  std::vector<Entry> tensors;      // in file order
  std::int64_t total_size = -1;    // bytes of tensor data as the index says, -1 if it does not
};

/// Parses an index. `where` is named in messages.
/// Errors: kCorrupt (not JSON, no weight_map, a path that leaves the directory, a tensor named twice),
/// kResourceExhausted (more than 512 MiB).
[[nodiscard]] Result<ShardIndex> parse_shard_index(std::string_view text, std::string_view where);

}  // namespace hadal::formats
