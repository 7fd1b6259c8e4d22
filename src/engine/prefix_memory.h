#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/checksum.h"
#include "engine/prefix_keys.h"
#include "model/executor.h"
#include "model/state.h"

namespace hadal::engine {

/// Kept states in memory, by the names of the token sequences that led to them. Full pages stay in the executor's pool,
/// one for each name, however many states hold it; slots and unfinished pages are host memory. What was not used for
/// longest goes first, and of one chain the ends before the beginnings. Used by one thread.
class PrefixMemory {
 public:
  /// The executor must outlive it. `bytes` limits the host memory.
  PrefixMemory(model::Executor& executor, std::int64_t bytes) : executor_(executor), limit_(bytes) {}

  /// Length of the deepest kept state of a beginning of these tokens that is at most `most` long; 0: none.
  [[nodiscard]] std::int64_t longest(const PrefixKeys& keys, std::int64_t most) const;
  /// Pages from the first of these tokens on that are held, whatever state they belong to; at most `most`.
  [[nodiscard]] std::vector<model::PageReference> share_pages(const PrefixKeys& keys, std::int64_t most);
  /// A sequence that continues the state kept for the first `length` tokens, which longest() gave. Errors:
  /// kResourceExhausted (no slot or page).
  [[nodiscard]] Result<model::SequenceState> restore(const PrefixKeys& keys, std::int64_t length);
  /// Keeps the state of all tokens with its full pages. A page whose name is known must have the bytes that are kept:
  /// they are compared, and every state that holds other bytes is given up. Makes `pages` those that are held.
  /// `replaceable`: drop_tails_before may give it up.
  void keep(const PrefixKeys& keys, std::shared_ptr<const model::StateBytes> state,
            std::vector<model::PageReference>& pages, bool replaceable);
  /// Gives up the replaceable states of shorter beginnings of these tokens.
  void drop_tails_before(const PrefixKeys& keys);
  /// Gives up states until the pool has so many free pages, or none is left.
  void free_pages(std::int64_t pages);

  [[nodiscard]] std::int64_t bytes() const { return bytes_; }
  [[nodiscard]] std::int64_t entries() const { return static_cast<std::int64_t>(entries_.size()); }
  [[nodiscard]] std::int64_t pages() const { return static_cast<std::int64_t>(pages_.size()); }
  [[nodiscard]] std::int64_t evictions() const { return evictions_; }
  [[nodiscard]] std::int64_t pages_compared() const { return pages_compared_; }
  [[nodiscard]] std::int64_t pages_different() const { return pages_different_; }

 private:
  struct Page {
    std::int32_t number = -1;
    std::int64_t holders = 0;  // entries
  };
  struct Entry {
    std::shared_ptr<const model::StateBytes> state;
    std::vector<model::PageReference> pages;
    std::vector<Hash128> names;  // of the pages: the nodes behind them
    Hash128 node;                // the last whole page's
    bool replaceable = false;
    std::list<Hash128>::iterator use;
  };

  void use(Hash128 name) { order_.splice(order_.begin(), order_, entries_.at(name).use); }
  /// Marks the beginnings as used, too, so that a chain is given up from its end.
  void use_chain(const PrefixKeys& keys, std::int64_t length);
  void drop(Hash128 name);
  [[nodiscard]] bool same_bytes(std::int32_t a, std::int32_t b);
  /// The page kept under this name, after comparing; the given one if there is none.
  [[nodiscard]] std::int32_t canonical(const Hash128& name, std::int32_t page);

  model::Executor& executor_;
  std::int64_t limit_;
  std::int64_t bytes_ = 0;
  std::unordered_map<Hash128, Entry> entries_;
  std::unordered_map<Hash128, std::vector<std::int64_t>> tails_;  // of a node: tokens beyond it, descending
  std::unordered_map<Hash128, Page> pages_;                       // by the node behind the page
  std::list<Hash128> order_;                                      // used last first
  std::vector<std::byte> compared_[2];
  std::int64_t evictions_ = 0, pages_compared_ = 0, pages_different_ = 0;
};

}  // namespace hadal::engine
