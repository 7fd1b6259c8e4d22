#include "engine/state_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <span>
#include <utility>

#include "base/log.h"
#include "base/system_error.h"
#include "base/units.h"
#include "ops/step_layout.h"

namespace hadal::engine {
namespace {

Status write_all(int file, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return system_error("a file of states that are put away", "be written");
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return {};
}

Status read_all(int file, std::int64_t& offset, std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::pread(file, bytes.data(), bytes.size(), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return system_error("a file of states that are put away", "be read");
    offset += count;
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  return {};
}

}  // namespace

StoredState::StoredState(StoredState&& other) noexcept { *this = std::move(other); }

StoredState& StoredState::operator=(StoredState&& other) noexcept {
  std::swap(store_, other.store_);
  std::swap(state_, other.state_);
  std::swap(pages_, other.pages_);
  std::swap(bytes_, other.bytes_);
  std::swap(file_, other.file_);
  return *this;
}

StoredState::~StoredState() {
  if (file_ >= 0) ::close(file_);
  if (store_ != nullptr && file_ < 0) store_->used_ -= bytes_;
}

StateStore::StateStore(model::Executor& executor, std::int64_t memory_bytes, std::filesystem::path directory)
    : executor_(executor), limit_(memory_bytes), directory_(std::move(directory)) {}

StoredState StateStore::put(const model::SequenceState& state) {
  model::StatePool& pool = executor_.pool();
  ops::Stream& stream = executor_.stream();
  StoredState stored(*this);
  stored.state_ = pool.export_state(stream, state);
  const std::int64_t page_bytes = pool.layout().page_bytes;
  const std::int64_t full = page_bytes > 0 ? state.length() / ops::kPageTokens : 0;
  stored.pages_.resize(static_cast<std::size_t>(full * page_bytes));
  for (std::int64_t index = 0; index < full; ++index) {
    pool.export_page(stream, state.pages()[static_cast<std::size_t>(index)],
                     std::span(stored.pages_)
                         .subspan(static_cast<std::size_t>(index * page_bytes), static_cast<std::size_t>(page_bytes)));
  }
  stream.wait();
  const std::int64_t bytes = stored.state_.size() + full * page_bytes;
  if (used_ + bytes > limit_) {
    const Status written = write(stored);
    if (written) return stored;
    log::warning("{}; {} stay in memory instead", written.error().message, human_bytes(bytes));
  }
  stored.bytes_ = bytes;
  used_ += bytes;
  return stored;
}

Status StateStore::write(StoredState& stored) const {
  const int file = ::open(directory_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (file < 0) return system_error(directory_, "hold a file of states that are put away");
  const auto write_parts = [&]() -> Status {
    HADAL_TRY(write_all(file, stored.state_.slot));
    HADAL_TRY(write_all(file, stored.state_.tail));
    return write_all(file, stored.pages_);
  };
  if (Status status = write_parts(); !status) {
    ::close(file);
    return status;
  }
  stored.file_ = file;
  std::vector<std::byte>().swap(stored.state_.slot);
  std::vector<std::byte>().swap(stored.state_.tail);
  std::vector<std::byte>().swap(stored.pages_);
  return {};
}

Status StateStore::read(StoredState& stored) const {
  const model::StateLayout& layout = executor_.pool().layout();
  const std::int64_t full = layout.page_bytes > 0 ? stored.length() / ops::kPageTokens : 0;
  const bool tail = layout.page_bytes > 0 && stored.length() % ops::kPageTokens != 0;
  stored.state_.slot.resize(static_cast<std::size_t>(layout.slot_bytes));
  stored.state_.tail.resize(static_cast<std::size_t>(tail ? layout.page_bytes : 0));
  stored.pages_.resize(static_cast<std::size_t>(full * layout.page_bytes));
  std::int64_t offset = 0;
  HADAL_TRY(read_all(stored.file_, offset, stored.state_.slot));
  HADAL_TRY(read_all(stored.file_, offset, stored.state_.tail));
  return read_all(stored.file_, offset, stored.pages_);
}

Result<model::SequenceState> StateStore::take(StoredState& stored) {
  model::StatePool& pool = executor_.pool();
  ops::Stream& stream = executor_.stream();
  const std::int64_t page_bytes = pool.layout().page_bytes;
  const std::int64_t full = page_bytes > 0 ? stored.length() / ops::kPageTokens : 0;
  if (pool.free_pages() < full) return fail(ErrorCode::kResourceExhausted, "the pool has too few pages for the state");
  if (stored.in_file()) HADAL_TRY(read(stored));
  std::vector<model::PageReference> pages;
  for (std::int64_t index = 0; index < full; ++index) {
    HADAL_ASSIGN(model::PageReference page,
                 pool.import_page(stream, std::span(stored.pages_)
                                              .subspan(static_cast<std::size_t>(index * page_bytes),
                                                       static_cast<std::size_t>(page_bytes))));
    pages.push_back(std::move(page));
  }
  auto state = pool.import_state(stream, stored.state_, pages);
  stream.wait();
  return state;
}

}  // namespace hadal::engine
