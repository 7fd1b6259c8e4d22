#include "model/state.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

namespace hadal::model {
namespace {

TensorView strided(const Buffer& buffer, std::int64_t count, std::int64_t item_bytes, const StatePart& part) {
  if (part.rows == 0) return {};
  return {buffer.data() + part.offset,
          part.type,
          {count, part.rows, part.columns},
          {item_bytes / size_of(part.type), part.columns, 1, 0}};
}

}  // namespace

SequenceState::SequenceState(SequenceState&& other) noexcept { *this = std::move(other); }

SequenceState& SequenceState::operator=(SequenceState&& other) noexcept {
  std::swap(pool_, other.pool_);
  std::swap(slot_, other.slot_);
  std::swap(pages_, other.pages_);
  std::swap(length_, other.length_);
  std::swap(can_roll_back_, other.can_roll_back_);
  return *this;
}

SequenceState::~SequenceState() { release(); }

void SequenceState::release() {
  if (pool_ == nullptr) return;
  for (const std::int32_t page : pages_) pool_->drop_page(page);
  if (slot_ >= 0) pool_->free_slots_.push_back(slot_);
  pool_ = nullptr;
}

Status SequenceState::reserve(std::int64_t tokens) {
  if (pool_->layout_.page_bytes == 0) return {};
  const std::int64_t wanted = (tokens + ops::kPageTokens - 1) / ops::kPageTokens;
  const auto have = static_cast<std::int64_t>(pages_.size());
  if (wanted - have > pool_->free_pages()) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("the state pool has {} free pages of {} tokens, but {} more are needed for {} tokens; "
                            "allow more memory or a shorter context",
                            pool_->free_pages(), ops::kPageTokens, wanted - have, tokens));
  }
  for (std::int64_t page = have; page < wanted; ++page) {
    HADAL_ASSIGN(const std::int32_t taken, pool_->take_page());
    pages_.push_back(taken);
  }
  return {};
}

void SequenceState::advance(std::int64_t tokens) {
  length_ += tokens;
  can_roll_back_ = std::min(can_roll_back_ + tokens, pool_->layout_.roll_back_tokens);
}

Status SequenceState::roll_back(ops::Stream& stream, std::int64_t tokens) {
  if (tokens < 0 || tokens > can_roll_back_) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("{} tokens were to be taken back from a sequence of {}, but its state keeps the past of the "
                    "last {} only; restore a snapshot to go further back",
                    tokens, length_, can_roll_back_));
  }
  const std::int64_t length = length_ - tokens;
  const std::int64_t full = pages_.empty() ? 0 : length_ / ops::kPageTokens;
  for (std::int64_t index = length / ops::kPageTokens; index < full; ++index) {
    std::int32_t& page = pages_[static_cast<std::size_t>(index)];
    if (!pool_->shared(page)) continue;
    HADAL_ASSIGN(const std::int32_t own, pool_->take_page());
    stream.copy(pool_->page_address(own), pool_->page_address(page), pool_->layout_.page_bytes);
    pool_->drop_page(page);
    page = own;
  }
  length_ = length;
  can_roll_back_ -= tokens;
  return {};
}

Result<SequenceState> SequenceState::fork(ops::Stream& stream) const {
  HADAL_ASSIGN(SequenceState copy, pool_->new_sequence());
  pool_->share_full_pages(*this, copy);
  const std::int64_t full = length_ / ops::kPageTokens;
  stream.copy(pool_->slot_address(copy.slot_), pool_->slot_address(slot_), pool_->layout_.slot_bytes);
  if (length_ % ops::kPageTokens != 0 && pool_->layout_.page_bytes > 0) {
    HADAL_ASSIGN(const std::int32_t tail, pool_->take_page());
    copy.pages_.push_back(tail);
    stream.copy(pool_->page_address(tail), pool_->page_address(pages_[static_cast<std::size_t>(full)]),
                pool_->layout_.page_bytes);
  }
  return copy;
}

Result<std::unique_ptr<StatePool>> StatePool::create(ops::Backend& backend, StateLayout layout,
                                                     std::int64_t max_sequences, std::int64_t max_pages) {
  std::unique_ptr<StatePool> pool(new StatePool);
  pool->layout_ = std::move(layout);
  pool->max_sequences_ = max_sequences;
  if (pool->layout_.page_bytes == 0) max_pages = 0;
  HADAL_ASSIGN(pool->slots_, backend.allocate(max_sequences * pool->layout_.slot_bytes));
  HADAL_ASSIGN(pool->pages_, backend.allocate(max_pages * pool->layout_.page_bytes));
  pool->page_references_.assign(static_cast<std::size_t>(max_pages), 0);
  // Lowest numbers first out, so that memory is touched only as it is used.
  for (std::int64_t slot = max_sequences - 1; slot >= 0; --slot) {
    pool->free_slots_.push_back(static_cast<std::int32_t>(slot));
  }
  for (std::int64_t page = max_pages - 1; page >= 0; --page) {
    pool->free_pages_.push_back(static_cast<std::int32_t>(page));
  }
  return pool;
}

Result<std::int32_t> StatePool::take_slot() {
  if (free_slots_.empty()) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("all {} sequences of the state pool are in use", max_sequences_));
  }
  const std::int32_t slot = free_slots_.back();
  free_slots_.pop_back();
  return slot;
}

Result<std::int32_t> StatePool::take_page() {
  if (free_pages_.empty()) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("all {} pages of the state pool are in use; allow more memory or a shorter context",
                            page_references_.size()));
  }
  const std::int32_t page = free_pages_.back();
  free_pages_.pop_back();
  page_references_[static_cast<std::size_t>(page)] = 1;
  return page;
}

void StatePool::drop_page(std::int32_t page) {
  if (--page_references_[static_cast<std::size_t>(page)] == 0) free_pages_.push_back(page);
}

Result<SequenceState> StatePool::new_sequence() {
  HADAL_ASSIGN(const std::int32_t slot, take_slot());
  SequenceState sequence(*this);
  sequence.slot_ = slot;
  return sequence;
}

void StatePool::share_full_pages(const SequenceState& from, SequenceState& to) {
  to.length_ = from.length_;
  to.can_roll_back_ = from.can_roll_back_;
  if (layout_.page_bytes == 0) return;
  const auto full = static_cast<std::size_t>(from.length_ / ops::kPageTokens);
  to.pages_.assign(from.pages_.begin(), from.pages_.begin() + static_cast<std::ptrdiff_t>(full));
  for (const std::int32_t page : to.pages_) ++page_references_[static_cast<std::size_t>(page)];
}

Snapshot StatePool::snapshot(ops::Stream& stream, const SequenceState& sequence) {
  Snapshot snapshot;
  snapshot.full_pages_ = SequenceState(*this);
  share_full_pages(sequence, snapshot.full_pages_);
  snapshot.slot_.resize(static_cast<std::size_t>(layout_.slot_bytes));
  stream.download(snapshot.slot_.data(), slot_address(sequence.slot_), layout_.slot_bytes);
  if (sequence.length_ % ops::kPageTokens != 0 && layout_.page_bytes > 0) {
    const auto tail = static_cast<std::size_t>(sequence.length_ / ops::kPageTokens);
    snapshot.tail_.resize(static_cast<std::size_t>(layout_.page_bytes));
    stream.download(snapshot.tail_.data(), page_address(sequence.pages_[tail]), layout_.page_bytes);
  }
  stream.wait();
  return snapshot;
}

Result<SequenceState> StatePool::restore(ops::Stream& stream, const Snapshot& snapshot) {
  HADAL_ASSIGN(SequenceState sequence, new_sequence());
  share_full_pages(snapshot.full_pages_, sequence);
  stream.upload(slot_address(sequence.slot_), snapshot.slot_.data(), layout_.slot_bytes);
  if (!snapshot.tail_.empty()) {
    HADAL_ASSIGN(const std::int32_t tail, take_page());
    sequence.pages_.push_back(tail);
    stream.upload(page_address(tail), snapshot.tail_.data(), layout_.page_bytes);
  }
  return sequence;
}

TensorView StatePool::ring(const StatePart& part) const {
  return strided(slots_, max_sequences_, layout_.slot_bytes, part);
}

TensorView StatePool::page_rows(const StatePart& part) const {
  return strided(pages_, max_pages(), layout_.page_bytes, part);
}

}  // namespace hadal::model
