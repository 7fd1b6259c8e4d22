#include "text/added_tokens.h"

#include <algorithm>

namespace hadal::text {

std::int32_t StringMatcher::child_of(std::int32_t node, char byte) const {
  std::int32_t child = nodes_[static_cast<std::size_t>(node)].child;
  while (child >= 0 && nodes_[static_cast<std::size_t>(child)].byte != byte) {
    child = nodes_[static_cast<std::size_t>(child)].sibling;
  }
  return child;
}

void StringMatcher::add(std::string_view content, std::int32_t id) {
  begins_[static_cast<unsigned char>(content.front())] = true;
  std::int32_t node = 0;
  for (const char byte : content) {
    std::int32_t child = child_of(node, byte);
    if (child < 0) {
      child = static_cast<std::int32_t>(nodes_.size());
      Node& parent = nodes_[static_cast<std::size_t>(node)];
      const std::int32_t sibling = parent.child;
      parent.child = child;
      nodes_.push_back({.sibling = sibling, .byte = byte});
    }
    node = child;
  }
  nodes_[static_cast<std::size_t>(node)].id = id;
}

std::optional<StringMatcher::Match> StringMatcher::find(std::string_view text, std::size_t from,
                                                        std::span<const ByteRange>& forbidden) const {
  for (std::size_t begin = from; begin < text.size(); ++begin) {
    if (!begins_[static_cast<unsigned char>(text[begin])]) continue;
    while (!forbidden.empty() && static_cast<std::size_t>(forbidden.front().end) <= begin)
      forbidden = forbidden.subspan(1);
    const std::size_t stop =
        forbidden.empty() ? text.size() : std::min(text.size(), static_cast<std::size_t>(forbidden.front().begin));
    std::optional<Match> longest;
    std::int32_t node = 0;
    for (std::size_t at = begin; at < stop; ++at) {
      node = child_of(node, text[at]);
      if (node < 0) break;
      const std::int32_t id = nodes_[static_cast<std::size_t>(node)].id;
      if (id >= 0) longest = Match{begin, at + 1, id};
    }
    if (longest) return longest;
  }
  return std::nullopt;
}

}  // namespace hadal::text
