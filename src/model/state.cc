#include "model/state.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/check.h"

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

PageReference::~PageReference() {
  if (pool_ != nullptr) pool_->drop_page(page_);
}

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
  copy.length_ = length_;
  copy.can_roll_back_ = can_roll_back_;
  stream.copy(pool_->slot_address(copy.slot_), pool_->slot_address(slot_), pool_->layout_.slot_bytes);
  if (pool_->layout_.page_bytes == 0) return copy;
  const auto full = static_cast<std::size_t>(length_ / ops::kPageTokens);
  for (std::size_t index = 0; index < full; ++index) {
    pool_->take_share(pages_[index]);
    copy.pages_.push_back(pages_[index]);
  }
  if (length_ % ops::kPageTokens != 0) {
    HADAL_ASSIGN(const std::int32_t tail, pool_->take_page());
    copy.pages_.push_back(tail);
    stream.copy(pool_->page_address(tail), pool_->page_address(pages_[full]), pool_->layout_.page_bytes);
  }
  return copy;
}

void SequenceState::replace_page(std::int64_t index, const PageReference& page) {
  HADAL_CHECK(index < length_ / ops::kPageTokens && page.page() >= 0, "only a full page has a double");
  std::int32_t& own = pages_[static_cast<std::size_t>(index)];
  pool_->take_share(page.page());
  pool_->drop_page(own);
  own = page.page();
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

StateBytes StatePool::export_state(ops::Stream& stream, const SequenceState& sequence) {
  StateBytes bytes{.length = sequence.length_, .can_roll_back = sequence.can_roll_back_, .slot = {}, .tail = {}};
  bytes.slot.resize(static_cast<std::size_t>(layout_.slot_bytes));
  stream.download(bytes.slot.data(), slot_address(sequence.slot_), layout_.slot_bytes);
  if (sequence.length_ % ops::kPageTokens != 0 && layout_.page_bytes > 0) {
    const auto tail = static_cast<std::size_t>(sequence.length_ / ops::kPageTokens);
    bytes.tail.resize(static_cast<std::size_t>(layout_.page_bytes));
    stream.download(bytes.tail.data(), page_address(sequence.pages_[tail]), layout_.page_bytes);
  }
  stream.wait();
  return bytes;
}

Result<SequenceState> StatePool::import_state(ops::Stream& stream, const StateBytes& bytes,
                                              std::span<const PageReference> full_pages) {
  const bool tail = bytes.length % ops::kPageTokens != 0 && layout_.page_bytes > 0;
  const std::int64_t full = layout_.page_bytes > 0 ? bytes.length / ops::kPageTokens : 0;
  HADAL_CHECK(static_cast<std::int64_t>(full_pages.size()) == full &&
                  bytes.size() == layout_.slot_bytes + (tail ? layout_.page_bytes : 0) && bytes.tail.empty() != tail,
              "a state's bytes have the layout's sizes");
  HADAL_ASSIGN(SequenceState sequence, new_sequence());
  for (const PageReference& page : full_pages) {
    take_share(page.page());
    sequence.pages_.push_back(page.page());
  }
  if (tail) {
    HADAL_ASSIGN(const std::int32_t page, take_page());
    sequence.pages_.push_back(page);
    stream.upload(page_address(page), bytes.tail.data(), layout_.page_bytes);
  }
  stream.upload(slot_address(sequence.slot_), bytes.slot.data(), layout_.slot_bytes);
  sequence.length_ = bytes.length;
  sequence.can_roll_back_ = bytes.can_roll_back;
  return sequence;
}

PageReference StatePool::share(std::int32_t page) {
  take_share(page);
  return {*this, page};
}

void StatePool::export_page(ops::Stream& stream, std::int32_t page, std::span<std::byte> bytes) const {
  HADAL_CHECK(static_cast<std::int64_t>(bytes.size()) == layout_.page_bytes, "a page has the layout's size");
  stream.download(bytes.data(), page_address(page), layout_.page_bytes);
}

Result<PageReference> StatePool::import_page(ops::Stream& stream, std::span<const std::byte> bytes) {
  HADAL_CHECK(static_cast<std::int64_t>(bytes.size()) == layout_.page_bytes, "a page has the layout's size");
  HADAL_ASSIGN(const std::int32_t page, take_page());
  stream.upload(page_address(page), bytes.data(), layout_.page_bytes);
  return PageReference(*this, page);
}

Snapshot StatePool::snapshot(ops::Stream& stream, const SequenceState& sequence) {
  Snapshot snapshot;
  snapshot.bytes_ = export_state(stream, sequence);
  const std::int64_t full = layout_.page_bytes > 0 ? sequence.length_ / ops::kPageTokens : 0;
  for (std::int64_t index = 0; index < full; ++index) {
    snapshot.full_pages_.push_back(share(sequence.pages_[static_cast<std::size_t>(index)]));
  }
  return snapshot;
}

Result<SequenceState> StatePool::restore(ops::Stream& stream, const Snapshot& snapshot) {
  return import_state(stream, snapshot.bytes_, snapshot.full_pages_);
}

TensorView StatePool::ring(const StatePart& part) const {
  return strided(slots_, max_sequences_, layout_.slot_bytes, part);
}

TensorView StatePool::page_rows(const StatePart& part) const {
  return strided(pages_, max_pages(), layout_.page_bytes, part);
}

}  // namespace hadal::model
