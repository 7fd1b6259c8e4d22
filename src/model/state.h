#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "model/state_layout.h"
#include "ops/backend.h"
#include "ops/step_tables.h"

namespace hadal::model {

class StatePool;

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

/// A sequence's state at one position, kept in host memory but for the full pages, which it shares.
class Snapshot {
 public:
  [[nodiscard]] std::int64_t length() const { return full_pages_.length(); }

 private:
  friend class StatePool;
  SequenceState full_pages_;     // no slot: only holds the full pages, and the length
  std::vector<std::byte> slot_;  // bytes of the slot
  std::vector<std::byte> tail_;  // bytes of the unfinished page, if there is one
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
  /// Copies the state to the host; waits for the stream.
  [[nodiscard]] Snapshot snapshot(ops::Stream& stream, const SequenceState& sequence);
  /// A new sequence that continues as the snapshotted one would. Errors: kResourceExhausted.
  [[nodiscard]] Result<SequenceState> restore(ops::Stream& stream, const Snapshot& snapshot);

  [[nodiscard]] const StateLayout& layout() const { return layout_; }
  /// [slots, rows, columns], strided. Absent for a part that does not exist.
  [[nodiscard]] TensorView ring(const StatePart& part) const;
  /// [pages, rows, columns], strided.
  [[nodiscard]] TensorView page_rows(const StatePart& part) const;
  [[nodiscard]] std::int64_t free_slots() const { return static_cast<std::int64_t>(free_slots_.size()); }
  [[nodiscard]] std::int64_t free_pages() const { return static_cast<std::int64_t>(free_pages_.size()); }
  [[nodiscard]] std::int64_t max_pages() const { return static_cast<std::int64_t>(page_references_.size()); }

 private:
  friend class SequenceState;
  StatePool() = default;
  [[nodiscard]] Result<std::int32_t> take_slot();
  [[nodiscard]] Result<std::int32_t> take_page();
  void share_full_pages(const SequenceState& from, SequenceState& to);
  void drop_page(std::int32_t page);
  [[nodiscard]] bool shared(std::int32_t page) const { return page_references_[static_cast<std::size_t>(page)] > 1; }
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
