#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/result.h"
#include "model/state_layout.h"
#include "ops/backend.h"
#include "ops/step_tables.h"

namespace hadal::model {

class StatePool;

/// Holds one full page of a pool, which nobody changes or takes as long as it is held; given back with the object.
class PageReference {
 public:
  PageReference() = default;
  PageReference(PageReference&& other) noexcept { *this = std::move(other); }
  PageReference& operator=(PageReference&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(page_, other.page_);
    return *this;
  }
  PageReference(const PageReference&) = delete;
  PageReference& operator=(const PageReference&) = delete;
  ~PageReference();

  /// Its number in the pool; -1: none is held.
  [[nodiscard]] std::int32_t page() const { return page_; }

 private:
  friend class StatePool;
  PageReference(StatePool& pool, std::int32_t page) : pool_(&pool), page_(page) {}

  StatePool* pool_ = nullptr;
  std::int32_t page_ = -1;
};

/// All that the model remembers of one sequence: a slot of its own, pages that may be shared, and the number of
/// committed tokens. The last, unfinished page belongs to this sequence alone; full ones are shared and do not change.
/// Rows of a step that is not committed exist only beyond `length`: they are given up by doing nothing.
class SequenceState {
 public:
  SequenceState() = default;
  SequenceState(SequenceState&& other) noexcept;
  SequenceState& operator=(SequenceState&& other) noexcept;
  SequenceState(const SequenceState&) = delete;
  SequenceState& operator=(const SequenceState&) = delete;
  ~SequenceState();

  [[nodiscard]] std::int64_t length() const { return length_; }
  [[nodiscard]] std::int32_t slot() const { return slot_; }
  [[nodiscard]] std::span<const std::int32_t> pages() const { return pages_; }
  /// Rows of a step at positions start .. start + count - 1; valid until pages are taken.
  [[nodiscard]] ops::RowRange range(std::int64_t start, std::int64_t count) const {
    return {.slot = slot_, .pages = pages_, .start = start, .count = count};
  }

  /// Makes sure that pages for `tokens` tokens exist. Errors: kResourceExhausted; nothing changes then.
  [[nodiscard]] Status reserve(std::int64_t tokens);
  /// Moves `length` on after a step's rows were committed.
  void advance(std::int64_t tokens);
  /// How many committed tokens can be taken back now: those since the last roll-backs, at most roll_back_tokens.
  [[nodiscard]] std::int64_t can_roll_back() const { return can_roll_back_; }
  /// Takes the last `tokens` committed tokens back: the state is that of `length - tokens`. A full page that becomes
  /// the unfinished one is copied first if it is shared. Errors: kInvalidArgument (more than can_roll_back()),
  /// kResourceExhausted (no page for the copy); nothing changes then.
  [[nodiscard]] Status roll_back(ops::Stream& stream, std::int64_t tokens);
  /// A second sequence with the same past: shares the full pages, copies the rest. Errors: kResourceExhausted.
  [[nodiscard]] Result<SequenceState> fork(ops::Stream& stream) const;
  /// Gives up full page number `index` for a share of `page`, which holds the same bytes.
  void replace_page(std::int64_t index, const PageReference& page);

 private:
  friend class StatePool;
  explicit SequenceState(StatePool& pool) : pool_(&pool) {}
  void release();

  StatePool* pool_ = nullptr;
  std::int32_t slot_ = -1;
  std::vector<std::int32_t> pages_;
  std::int64_t length_ = 0;
  std::int64_t can_roll_back_ = 0;
};

/// What a sequence's state holds beside its full pages, in host memory.
struct StateBytes {
  std::int64_t length = 0;
  std::int64_t can_roll_back = 0;
  std::vector<std::byte> slot;  // [slot_bytes]
  std::vector<std::byte> tail;  // [page_bytes] of the unfinished page; empty: there is none

  [[nodiscard]] std::int64_t size() const { return static_cast<std::int64_t>(slot.size() + tail.size()); }
};

/// A sequence's state at one position, kept in host memory but for the full pages, which it shares.
class Snapshot {
 public:
  [[nodiscard]] std::int64_t length() const { return bytes_.length; }
  [[nodiscard]] const StateBytes& bytes() const { return bytes_; }
  [[nodiscard]] std::span<const PageReference> full_pages() const { return full_pages_; }

 private:
  friend class StatePool;
  StateBytes bytes_;
  std::vector<PageReference> full_pages_;
};

/// Memory of all sequences: slots and pages of equal size, handed out and counted here. Used by one thread.
class StatePool {
 public:
  /// Errors: kResourceExhausted.
  [[nodiscard]] static Result<std::unique_ptr<StatePool>> create(ops::Backend& backend, StateLayout layout,
                                                                 std::int64_t max_sequences, std::int64_t max_pages);
  StatePool(const StatePool&) = delete;
  StatePool& operator=(const StatePool&) = delete;

  /// An empty sequence. Errors: kResourceExhausted.
  [[nodiscard]] Result<SequenceState> new_sequence();
  /// The state's bytes beside its full pages; waits for the stream.
  [[nodiscard]] StateBytes export_state(ops::Stream& stream, const SequenceState& sequence);
  /// A new sequence of these bytes, of this layout's sizes, and of length / 128 full pages, which it shares. Errors:
  /// kResourceExhausted.
  [[nodiscard]] Result<SequenceState> import_state(ops::Stream& stream, const StateBytes& bytes,
                                                   std::span<const PageReference> full_pages);
  /// One more reference to a full page that somebody holds.
  [[nodiscard]] PageReference share(std::int32_t page);
  /// Copies a page to the host, [page_bytes]; it is there after stream.wait().
  void export_page(ops::Stream& stream, std::int32_t page, std::span<std::byte> bytes) const;
  /// A full page of these bytes, [page_bytes]. Errors: kResourceExhausted.
  [[nodiscard]] Result<PageReference> import_page(ops::Stream& stream, std::span<const std::byte> bytes);
  /// Copies the state to the host; waits for the stream.
  [[nodiscard]] Snapshot snapshot(ops::Stream& stream, const SequenceState& sequence);
  /// A new sequence that continues as the snapshotted one would. Errors: kResourceExhausted.
  [[nodiscard]] Result<SequenceState> restore(ops::Stream& stream, const Snapshot& snapshot);

  [[nodiscard]] const StateLayout& layout() const { return layout_; }
  /// [slots, rows, columns], strided. Absent for a part that does not exist.
  [[nodiscard]] TensorView ring(const StatePart& part) const;
  /// [pages, rows, columns], strided.
  [[nodiscard]] TensorView page_rows(const StatePart& part) const;
  [[nodiscard]] std::int64_t max_sequences() const { return max_sequences_; }
  [[nodiscard]] std::int64_t free_slots() const { return static_cast<std::int64_t>(free_slots_.size()); }
  [[nodiscard]] std::int64_t free_pages() const { return static_cast<std::int64_t>(free_pages_.size()); }
  [[nodiscard]] std::int64_t max_pages() const { return static_cast<std::int64_t>(page_references_.size()); }
  /// Whether more than one holds this page.
  [[nodiscard]] bool shared(std::int32_t page) const { return page_references_[static_cast<std::size_t>(page)] > 1; }

 private:
  friend class SequenceState;
  friend class PageReference;
  StatePool() = default;
  [[nodiscard]] Result<std::int32_t> take_slot();
  [[nodiscard]] Result<std::int32_t> take_page();
  void take_share(std::int32_t page) { ++page_references_[static_cast<std::size_t>(page)]; }
  void drop_page(std::int32_t page);
  [[nodiscard]] std::byte* slot_address(std::int32_t slot) const { return slots_.data() + slot * layout_.slot_bytes; }
  [[nodiscard]] std::byte* page_address(std::int32_t page) const { return pages_.data() + page * layout_.page_bytes; }

  StateLayout layout_;
  Buffer slots_;
  Buffer pages_;
  std::int64_t max_sequences_ = 0;
  std::vector<std::int32_t> free_slots_;
  std::vector<std::int32_t> free_pages_;
  std::vector<std::int32_t> page_references_;
};

}  // namespace hadal::model
