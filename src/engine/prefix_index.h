#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/checksum.h"
#include "engine/prefix_file.h"
#include "engine/prefix_keys.h"

namespace hadal::engine {

/// What is known of the files of a prefix cache: which state each holds, on which other it builds, and when it was used
/// last. Knows no files itself.
class PrefixIndex {
 public:
  struct Entry {
    PrefixPlace place;
    std::int64_t bytes = 0;  // of the file
    std::int64_t used = 0;   // time of the last use, in any unit that grows
    std::uint64_t id = 0;    // tells an entry from a later one of the same key
    bool stored = false;     // false: on its way to the disk
    std::int64_t children = 0;
  };

  /// False when the key is known already, or the state it builds on is not there.
  bool add(const PrefixPlace& place, std::int64_t bytes, std::int64_t used, bool stored);
  /// The entry's file is there now.
  void set_stored(const Hash128& key);
  void set_used(const Hash128& key, std::int64_t used);
  /// Forgets an entry and all that build on it; returns them.
  std::vector<Entry> remove(const Hash128& key);

  /// Null: not known.
  [[nodiscard]] const Entry* find(const Hash128& key) const;
  /// Length of the deepest stored state of a beginning of these tokens that is at most `most` long; 0: none.
  [[nodiscard]] std::int64_t longest(const PrefixKeys& keys, std::int64_t most) const;
  /// The deepest state of whole pages that is shorter than the tokens; null: none.
  [[nodiscard]] const Entry* parent_of(const PrefixKeys& keys) const;
  /// States that end inside a page of beginnings of these tokens, shorter than they.
  [[nodiscard]] std::vector<Hash128> tails_before(const PrefixKeys& keys) const;
  /// The stored state used longest ago of those that none builds on and that are not among `spared`; null: none.
  [[nodiscard]] const Entry* oldest_leaf(std::span<const Hash128> spared = {}) const;
  /// Of all stored files.
  [[nodiscard]] std::int64_t bytes() const { return bytes_; }
  [[nodiscard]] std::int64_t stored() const { return stored_; }
  [[nodiscard]] std::int64_t newest_use() const { return newest_use_; }

 private:
  void note_leaf(const Entry& entry);
  void forget_leaf(const Entry& entry) { leaves_.erase({entry.used, entry.id}); }
  void forget(const Hash128& key);

  std::unordered_map<Hash128, Entry> entries_;
  std::unordered_map<Hash128, std::vector<std::int64_t>> tails_;      // of a node: tokens beyond it, descending
  std::map<std::pair<std::int64_t, std::uint64_t>, Hash128> leaves_;  // by last use
  std::uint64_t next_id_ = 1;
  std::int64_t bytes_ = 0;
  std::int64_t stored_ = 0;
  std::int64_t newest_use_ = 0;
};

}  // namespace hadal::engine
