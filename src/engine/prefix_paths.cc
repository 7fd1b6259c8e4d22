#include "engine/prefix_paths.h"

#include <utility>

namespace hadal::engine {

PrefixPaths::Node& PrefixPaths::visit(const Hash128& key) {
  if (const auto found = young_.find(key); found != young_.end()) return found->second;
  // Two generations: what nobody passed while the young one filled up goes with the old one.
  if (young_.size() >= kMostNodes / 2) old_ = std::exchange(young_, {});
  Node node;
  if (const auto found = old_.find(key); found != old_.end()) node = found->second;
  return young_[key] = node;
}

std::int64_t PrefixPaths::pass(const PrefixKeys& keys) {
  std::int64_t parted = 0;
  bool on_known_way = true;
  Node* before = nullptr;
  for (std::int64_t page = 0; page <= keys.pages(); ++page) {
    const Hash128& key = keys.node(page);
    Node& node = visit(key);
    if (before != nullptr && before->next == Hash128{}) {
      before->next = key;
    } else if (before != nullptr && on_known_way && !node.known && ++before->partings >= 2) {
      parted = page - 1;
    }
    on_known_way = on_known_way && node.known;
    node.known = true;
    before = &node;  // outlives the next visit: a map that is moved keeps its nodes
  }
  return parted;
}

}  // namespace hadal::engine
