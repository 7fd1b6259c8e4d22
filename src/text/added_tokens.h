#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace hadal::text {

/// Finds the strings of a set of added tokens: the leftmost place where one begins, of several there the longest.
class StringMatcher {
 public:
  /// Longest content that is accepted, in bytes; it bounds the work of one place.
  static constexpr std::size_t kMaxContent = 1024;

  /// `content` is not empty, new, and at most kMaxContent bytes.
  void add(std::string_view content, std::int32_t id);

  struct Match {
    std::size_t begin = 0;
    std::size_t end = 0;
    std::int32_t id = 0;
  };
  /// The first match in `text` at or after byte `from` that has no byte in a range of `forbidden` (ascending, disjoint,
  /// not empty). Ranges that end before the place where the search stops are dropped from the front of `forbidden`, so
  /// that a walk over a text looks at each once.
  [[nodiscard]] std::optional<Match> find(std::string_view text, std::size_t from,
                                          std::span<const ByteRange>& forbidden) const;

 private:
  struct Node {
    std::int32_t id = -1;       // of the token that ends here
    std::int32_t child = -1;    // its first child
    std::int32_t sibling = -1;  // the parent's next child
    char byte = 0;
  };
  [[nodiscard]] std::int32_t child_of(std::int32_t node, char byte) const;

  std::vector<Node> nodes_{1};
  std::array<bool, 256> begins_{};  // bytes with which some token begins
};

}  // namespace hadal::text
