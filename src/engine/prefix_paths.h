#pragma once

#include <cstdint>
#include <unordered_map>

#include "base/checksum.h"
#include "engine/prefix_keys.h"

namespace hadal::engine {

/// Remembers which ways prompts went from page to page, to see where they part. Bounded: old ways are forgotten.
class PrefixPaths {
 public:
  static constexpr std::size_t kMostNodes = std::size_t{1} << 16;

  /// Notes the way of a prompt. Returns the page behind which it left a way that was known, if that happened there
  /// before; 0: nowhere.
  [[nodiscard]] std::int64_t pass(const PrefixKeys& keys);

 private:
  struct Node {
    Hash128 next{};             // the page that the first prompt went on to; zero: none did
    std::int64_t partings = 0;  // prompts that went on to an unknown one instead
    bool known = false;         // a prompt came by before
  };
  [[nodiscard]] Node& visit(const Hash128& key);

  std::unordered_map<Hash128, Node> young_, old_;
};

}  // namespace hadal::engine
