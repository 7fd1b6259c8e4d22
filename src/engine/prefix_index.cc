#include "engine/prefix_index.h"

#include <algorithm>
#include <functional>
#include <ranges>

#include "ops/step_layout.h"

namespace hadal::engine {

bool PrefixIndex::add(const PrefixPlace& place, std::int64_t bytes, std::int64_t used, bool stored) {
  if (entries_.contains(place.key)) return false;
  if (place.parent_length > 0) {
    const auto parent = entries_.find(place.parent);
    if (parent == entries_.end() || parent->second.place.length != place.parent_length) return false;
    if (parent->second.children++ == 0) forget_leaf(parent->second);
  }
  if (const std::int64_t beyond = place.length % ops::kPageTokens; beyond != 0) {
    auto& tails = tails_[place.node];
    tails.insert(std::lower_bound(tails.begin(), tails.end(), beyond, std::greater<>()), beyond);
  }
  entries_.emplace(place.key, Entry{.place = place, .bytes = bytes, .used = used, .id = next_id_++});
  newest_use_ = std::max(newest_use_, used);
  if (stored) set_stored(place.key);
  return true;
}

void PrefixIndex::note_leaf(const Entry& entry) {
  if (entry.stored && entry.children == 0) leaves_.emplace(std::pair(entry.used, entry.id), entry.place.key);
}

void PrefixIndex::set_stored(const Hash128& key) {
  Entry& entry = entries_.at(key);
  entry.stored = true;
  bytes_ += entry.bytes;
  ++stored_;
  note_leaf(entry);
}

void PrefixIndex::set_used(const Hash128& key, std::int64_t used) {
  Entry& entry = entries_.at(key);
  forget_leaf(entry);
  entry.used = used;
  newest_use_ = std::max(newest_use_, used);
  note_leaf(entry);
}

void PrefixIndex::forget(const Hash128& key) {
  const auto at = entries_.find(key);
  const Entry& entry = at->second;
  forget_leaf(entry);
  if (entry.stored) {
    bytes_ -= entry.bytes;
    --stored_;
  }
  if (const std::int64_t beyond = entry.place.length % ops::kPageTokens; beyond != 0) {
    const auto tails = tails_.find(entry.place.node);
    tails->second.erase(std::find(tails->second.begin(), tails->second.end(), beyond));
    if (tails->second.empty()) tails_.erase(tails);
  }
  if (const auto parent = entries_.find(entry.place.parent); parent != entries_.end()) {
    --parent->second.children;
    note_leaf(parent->second);
  }
  entries_.erase(at);
}

std::vector<PrefixIndex::Entry> PrefixIndex::remove(const Hash128& key) {
  std::vector<Entry> removed;
  if (const Entry* first = find(key); first != nullptr) removed.push_back(*first);
  // Each round finds what builds directly on an entry of the list; chains are short, and this happens after damage.
  for (std::size_t i = 0; i < removed.size(); ++i) {
    if (removed[i].children == 0) continue;
    for (const auto& [other, entry] : entries_) {
      if (entry.place.parent == removed[i].place.key) removed.push_back(entry);
    }
  }
  for (const Entry& entry : std::views::reverse(removed)) forget(entry.place.key);
  return removed;
}

const PrefixIndex::Entry* PrefixIndex::find(const Hash128& key) const {
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : &found->second;
}

std::int64_t PrefixIndex::longest(const PrefixKeys& keys, std::int64_t most) const {
  most = std::min(most, keys.length());
  const auto is_stored = [&](const Hash128& key) {
    const Entry* entry = find(key);
    return entry != nullptr && entry->stored;
  };
  for (std::int64_t page = most / ops::kPageTokens; page >= 0; --page) {
    const std::int64_t length = page * ops::kPageTokens;
    if (const auto tails = tails_.find(keys.node(page)); tails != tails_.end()) {
      for (const std::int64_t beyond : tails->second) {
        if (length + beyond <= most && is_stored(keys.entry(length + beyond))) return length + beyond;
      }
    }
    if (page > 0 && is_stored(keys.node(page))) return length;
  }
  return 0;
}

const PrefixIndex::Entry* PrefixIndex::parent_of(const PrefixKeys& keys) const {
  for (std::int64_t page = (keys.length() - 1) / ops::kPageTokens; page > 0; --page) {
    if (const Entry* entry = find(keys.node(page)); entry != nullptr) return entry;
  }
  return nullptr;
}

std::vector<Hash128> PrefixIndex::tails_before(const PrefixKeys& keys) const {
  std::vector<Hash128> result;
  for (std::int64_t page = 0; page <= keys.pages(); ++page) {
    const auto tails = tails_.find(keys.node(page));
    if (tails == tails_.end()) continue;
    for (const std::int64_t beyond : tails->second) {
      const std::int64_t length = page * ops::kPageTokens + beyond;
      if (length >= keys.length()) continue;
      if (const Hash128 key = keys.entry(length); entries_.contains(key)) result.push_back(key);
    }
  }
  return result;
}

const PrefixIndex::Entry* PrefixIndex::oldest_leaf(std::span<const Hash128> spared) const {
  for (const auto& [use, key] : leaves_) {
    if (std::find(spared.begin(), spared.end(), key) == spared.end()) return find(key);
  }
  return nullptr;
}

}  // namespace hadal::engine
