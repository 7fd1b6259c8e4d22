#include "engine/prefix_store.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <system_error>
#include <utility>

#include "base/check.h"
#include "base/input_file.h"
#include "base/log.h"
#include "base/system_error.h"
#include "ops/step_layout.h"

namespace hadal::engine {
namespace {

constexpr std::string_view kSuffix = ".prefix";
constexpr std::string_view kPartialSuffix = ".partial";
constexpr std::size_t kNameDigits = 32;

std::int64_t nanoseconds(const std::timespec& time) {
  constexpr std::int64_t kMostSeconds = 9'000'000'000;  // the year 2255: a date from outside must not overflow
  return std::clamp<std::int64_t>(time.tv_sec, 0, kMostSeconds) * 1'000'000'000 + time.tv_nsec;
}

/// Whether a file is of no use, and not just out of reach at the moment.
bool is_damage(const Error& error) { return error.code == ErrorCode::kCorrupt || error.code == ErrorCode::kNotFound; }

/// Now, but later than `before` whatever the clock does.
std::int64_t time_after(std::int64_t before) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::max<std::int64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count(), before + 1);
}

void set_modified(const std::filesystem::path& path, std::int64_t time) {
  std::timespec times[2]{};
  times[0].tv_nsec = UTIME_OMIT;
  times[1].tv_sec = static_cast<std::time_t>(time / 1'000'000'000);
  times[1].tv_nsec = static_cast<long>(time % 1'000'000'000);
  // When it fails, only the order after a restart is another one.
  (void)::utimensat(AT_FDCWD, path.c_str(), times, 0);
}

void remove_file(const std::filesystem::path& path) {
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
}

std::string file_name(const Hash128& key) { return fmt::format("{:016x}{:016x}{}", key.high, key.low, kSuffix); }

/// Whether a file of that name is one of ours.
bool is_cache_file(std::string_view name) {
  return name.size() == kNameDigits + kSuffix.size() && name.ends_with(kSuffix) &&
         name.substr(0, kNameDigits).find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// Whether it is one that was not finished: KEY.prefix.PROCESS.partial.
bool is_partial_file(std::string_view name) {
  return name.ends_with(kPartialSuffix) && is_cache_file(name.substr(0, kNameDigits + kSuffix.size()));
}

/// Of the disk that has the directory; nothing: the system does not say.
std::optional<std::int64_t> free_bytes(const std::filesystem::path& directory) {
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(directory, error);
  if (error) return std::nullopt;
  return static_cast<std::int64_t>(std::min<std::uintmax_t>(space.available, std::numeric_limits<std::int64_t>::max()));
}

void remove_files(std::span<const std::filesystem::path> paths) {
  for (const std::filesystem::path& path : paths) remove_file(path);
}

ReadAt reader(const InputFile& file) {
  return [&file](std::int64_t offset, std::span<std::byte> out) { return file.read(offset, out); };
}

}  // namespace

Result<std::unique_ptr<PrefixStore>> PrefixStore::open(const PrefixStoreOptions& options, const PrefixFormat& format) {
  std::unique_ptr<PrefixStore> store(new PrefixStore(options, format));
  std::error_code error;
  if (std::filesystem::create_directories(options.directory, error)) {
    // The states say what people wrote: for the owner only.
    std::filesystem::permissions(options.directory, std::filesystem::perms::owner_all, error);
  }
  if (error) {
    return fail(ErrorCode::kUnavailable, fmt::format("{}: cannot make the directory of the prefix cache: {}",
                                                     options.directory.string(), error.message()));
  }
  HADAL_TRY(store->lock_directory());
  HADAL_TRY(store->read_index());
  PrefixStore* const self = store.get();
  store->writer_ = std::jthread([self](const std::stop_token& stop) { self->write_queue(stop); });
  return store;
}

PrefixStore::~PrefixStore() {
  if (writer_.joinable()) {
    writer_.request_stop();
    writer_.join();
  }
  if (lock_ >= 0) ::close(lock_);
}

Status PrefixStore::lock_directory() {
  const std::filesystem::path path = options_.directory / "lock";
  lock_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock_ < 0) return system_error(path, "open it");
  if (::flock(lock_, LOCK_EX | LOCK_NB) == 0) return {};
  if (errno != EWOULDBLOCK) return system_error(path, "lock it");
  return fail(ErrorCode::kUnavailable,
              fmt::format("{}: another process keeps its prefix cache here; give each a directory of its own",
                          options_.directory.string()));
}

Status PrefixStore::read_index() {
  struct Found {
    PrefixPlace place;
    std::int64_t bytes;
    std::int64_t used;
  };
  std::vector<Found> found;
  std::error_code error;
  std::filesystem::directory_iterator files(options_.directory, error);
  for (const std::filesystem::directory_iterator end; !error && files != end; files.increment(error)) {
    const std::filesystem::path path = files->path();
    const std::string name = path.filename().string();
    if (is_partial_file(name)) remove_file(path);
    if (!is_cache_file(name)) continue;
    const auto header = [&]() -> Result<Found> {
      HADAL_ASSIGN(const InputFile file, InputFile::open(path));
      HADAL_ASSIGN(const PrefixHeader read, PrefixFile::read_header(reader(file), file.size(), format_, path.string()));
      return Found{.place = read.place, .bytes = file.size(), .used = nanoseconds(file.modified())};
    }();
    if (header && file_name(header->place.key) == name) {
      found.push_back(*header);
    } else if (!header && !is_damage(header.error())) {
      log::warning("a file of the prefix cache is left out: {}", header.error().message);
    } else {
      log::debug("dropping {}: {}", path.string(), header ? "its name is not its key" : header.error().message);
      ++figures_.corrupt;
      remove_file(path);
    }
  }
  if (error) {
    return fail(ErrorCode::kUnavailable,
                fmt::format("{}: cannot list the directory: {}", options_.directory.string(), error.message()));
  }
  // Shorter ones first: a state is never longer than what builds on it.
  std::sort(found.begin(), found.end(), [](const Found& a, const Found& b) { return a.place.length < b.place.length; });
  for (const Found& file : found) {
    if (index_.add(file.place, file.bytes, file.used, true)) continue;
    ++figures_.corrupt;
    remove_file(path_of(file.place.key));
  }
  std::vector<std::filesystem::path> unwanted;
  while (index_.bytes() > options_.bytes && index_.oldest_leaf() != nullptr) {
    forget(index_.oldest_leaf()->place.key, figures_.evictions, unwanted);
  }
  remove_files(unwanted);
  return {};
}

std::filesystem::path PrefixStore::path_of(const Hash128& key) const { return options_.directory / file_name(key); }

std::int64_t PrefixStore::longest(const PrefixKeys& keys, std::int64_t most) const {
  const std::scoped_lock lock(mutex_);
  return index_.longest(keys, most);
}

std::vector<PrefixIndex::Entry> PrefixStore::chain_of(const Hash128& key, std::int64_t first_page) const {
  const std::scoped_lock lock(mutex_);
  std::vector<PrefixIndex::Entry> chain;
  for (const PrefixIndex::Entry* entry = index_.find(key); entry != nullptr; entry = index_.find(entry->place.parent)) {
    chain.push_back(*entry);
    if (format_.page_bytes == 0 || entry->place.parent_length / ops::kPageTokens <= first_page) break;
  }
  std::reverse(chain.begin(), chain.end());
  return chain;
}

Status PrefixStore::read_file(const PrefixIndex::Entry& entry, std::int64_t first_page, bool with_state,
                              Loaded& loaded) const {
  const std::filesystem::path path = path_of(entry.place.key);
  HADAL_ASSIGN(const InputFile input, InputFile::open(path));
  HADAL_ASSIGN(const PrefixFile file, PrefixFile::open(reader(input), input.size(), format_, path.string()));
  const PrefixHeader& header = file.header();
  if (header.place != entry.place)
    return fail(ErrorCode::kCorrupt, path.string() + ": was exchanged since its header was read");
  const std::int64_t from = std::max(first_page, header.first_page);
  const auto bytes = static_cast<std::size_t>((header.first_page + header.pages - from) * format_.page_bytes);
  const std::size_t before = loaded.pages.size();
  loaded.pages.resize(before + bytes);
  HADAL_TRY(file.read_pages(from, std::span(loaded.pages).subspan(before)));
  if (!with_state) return {};
  HADAL_ASSIGN(loaded.state, file.read_state());
  return {};
}

Result<std::optional<PrefixStore::Loaded>> PrefixStore::read(const Hash128& key, std::int64_t first_page) {
  Loaded loaded;
  const std::vector<PrefixIndex::Entry> chain = chain_of(key, first_page);
  const std::int64_t pages =
      chain.empty() || format_.page_bytes == 0 ? 0 : chain.back().place.length / ops::kPageTokens;
  if (first_page < 0 || (first_page > pages && !chain.empty())) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("pages from number {} on were asked for of a kept state that has {}", first_page, pages));
  }
  for (const PrefixIndex::Entry& entry : chain) {
    const bool last = entry.place.key == key;
    const Status status = read_file(entry, first_page, last, loaded);
    if (!status) {
      leave_out(entry, status.error());
      break;
    }
    if (!last) continue;
    touch(key);
    return loaded;
  }
  return std::nullopt;
}

void PrefixStore::leave_out(const PrefixIndex::Entry& entry, const Error& error) {
  std::vector<std::filesystem::path> unwanted;
  {
    const std::scoped_lock lock(mutex_);
    const PrefixIndex::Entry* now = index_.find(entry.place.key);
    // The writer may have removed it a moment ago, to make room: then nothing was wrong with it.
    if (now == nullptr || now->id != entry.id) return;
    if (is_damage(error)) {
      log::warning("a file of the prefix cache is dropped: {}", error.message);
      forget(entry.place.key, figures_.corrupt, unwanted);
    } else {
      log::warning("a file of the prefix cache is left out: {}", error.message);
      (void)index_.remove(entry.place.key);
    }
  }
  remove_files(unwanted);
}

std::optional<PrefixPlace> PrefixStore::plan(const PrefixKeys& keys) const {
  const std::scoped_lock lock(mutex_);
  PrefixPlace place{.key = keys.entry(keys.length()),
                    .node = keys.node(keys.pages()),
                    .parent = {},
                    .length = keys.length(),
                    .parent_length = 0};
  if (index_.find(place.key) != nullptr) return std::nullopt;
  if (const PrefixIndex::Entry* parent = index_.parent_of(keys); parent != nullptr) {
    place.parent = parent->place.key;
    place.parent_length = parent->place.length;
  }
  return place;
}

bool PrefixStore::accepts(const PrefixPlace& place) {
  const std::int64_t bytes = PrefixHeader::of(place, format_).file_bytes(format_);
  const std::scoped_lock lock(mutex_);
  if (bytes <= options_.bytes && (waiting_bytes_ == 0 || waiting_bytes_ + bytes <= options_.queue_bytes)) return true;
  ++figures_.unwritten;
  return false;
}

void PrefixStore::put(PrefixRecord record, std::vector<Hash128> replaced) {
  const PrefixPlace place = record.place;
  const PrefixHeader header = PrefixHeader::of(place, format_);
  HADAL_CHECK(static_cast<std::int64_t>(record.state->slot.size()) == format_.slot_bytes &&
                  static_cast<std::int64_t>(record.state->tail.size()) == header.tail_bytes(format_) &&
                  static_cast<std::int64_t>(record.pages.size()) == header.pages * format_.page_bytes,
              "a record has the sizes of its place");
  const std::int64_t bytes = header.file_bytes(format_);
  const std::scoped_lock lock(mutex_);
  if (!index_.add(place, bytes, time_after(index_.newest_use()), false)) {
    ++figures_.unwritten;
    return;
  }
  waiting_bytes_ += bytes;
  queue_.push_back({.record = std::move(record),
                    .replaced = std::move(replaced),
                    .id = index_.find(place.key)->id,
                    .file_bytes = bytes});
  keep_in_reserve(std::vector<Hash128>(queue_.back().replaced));
  changed_.notify_all();
}

void PrefixStore::keep_in_reserve(const std::vector<Hash128>& replaced) {
  std::optional<Waiting> longest;
  for (const Hash128& key : replaced) {
    const auto item = std::find_if(queue_.begin(), queue_.end(),
                                   [&](const Waiting& waiting) { return waiting.record.place.key == key; });
    if (item == queue_.end()) continue;
    Waiting found = std::move(*item);
    queue_.erase(item);
    if (longest && longest->record.place.length > found.record.place.length) std::swap(*longest, found);
    if (longest) {
      waiting_bytes_ -= longest->file_bytes;
      (void)index_.remove(longest->record.place.key);
    }
    longest = std::move(found);
  }
  if (!longest) return;
  longest->in_reserve = true;
  queue_.push_back(std::move(*longest));
}

std::vector<Hash128> PrefixStore::tails_before(const PrefixKeys& keys) const {
  const std::scoped_lock lock(mutex_);
  return index_.tails_before(keys);
}

void PrefixStore::touch(const Hash128& key) {
  std::int64_t used = 0;
  {
    const std::scoped_lock lock(mutex_);
    const PrefixIndex::Entry* entry = index_.find(key);
    if (entry == nullptr || !entry->stored) return;
    used = time_after(index_.newest_use());
    index_.set_used(key, used);
  }
  set_modified(path_of(key), used);
}

void PrefixStore::drop(const Hash128& key) {
  std::vector<std::filesystem::path> unwanted;
  {
    const std::scoped_lock lock(mutex_);
    forget(key, figures_.corrupt, unwanted);
  }
  remove_files(unwanted);
}

void PrefixStore::forget(const Hash128& key, std::int64_t& counter, std::vector<std::filesystem::path>& unwanted) {
  for (const PrefixIndex::Entry& entry : index_.remove(key)) {
    // One that waits finds out when its turn comes that it is not wanted any more.
    if (!entry.stored) continue;
    unwanted.push_back(path_of(entry.place.key));
    ++counter;
  }
}

void PrefixStore::flush() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return queue_.empty() && !writing_; });
}

PrefixStoreFigures PrefixStore::figures() const {
  const std::scoped_lock lock(mutex_);
  PrefixStoreFigures figures = figures_;
  figures.bytes = index_.bytes();
  figures.files = index_.stored();
  figures.waiting_bytes = waiting_bytes_;
  return figures;
}

void PrefixStore::write_queue(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (true) {
    // After a request to stop, what waits is still written.
    changed_.wait(lock, stop, [&] { return !queue_.empty(); });
    if (queue_.empty()) return;
    const Waiting item = std::move(queue_.front());
    queue_.pop_front();
    writing_ = true;
    lock.unlock();
    write(item);
    lock.lock();
    writing_ = false;
    waiting_bytes_ -= item.file_bytes;
    changed_.notify_all();
  }
}

bool PrefixStore::is_wanted(const Waiting& item) const {
  const PrefixIndex::Entry* entry = index_.find(item.record.place.key);
  if (entry == nullptr || entry->id != item.id) return false;
  const PrefixIndex::Entry* parent = index_.find(entry->place.parent);
  return entry->place.parent_length == 0 || (parent != nullptr && parent->stored);
}

std::int64_t PrefixStore::excess(const Waiting& item) const {
  std::int64_t bytes = index_.bytes() + item.file_bytes - options_.bytes;
  for (const Hash128& key : item.replaced) {
    const PrefixIndex::Entry* entry = index_.find(key);
    if (entry != nullptr && entry->stored) bytes -= entry->bytes;
  }
  return bytes;
}

Result<bool> PrefixStore::make_room(const Waiting& item, std::vector<std::filesystem::path>& unwanted) {
  // On a disk that others have filled, giving states up would make room for nothing.
  const std::int64_t to_free = std::max<std::int64_t>(excess(item), 0);
  const std::optional<std::int64_t> free = options_.free_bytes ? options_.free_bytes() : free_bytes(options_.directory);
  if (free && *free < item.file_bytes - to_free) {
    return fail(ErrorCode::kResourceExhausted, options_.directory.string() + ": the disk is full");
  }
  while (excess(item) > 0) {
    const PrefixIndex::Entry* oldest = index_.oldest_leaf(item.replaced);
    if (oldest == nullptr) return false;
    forget(oldest->place.key, figures_.evictions, unwanted);
  }
  return true;
}

void PrefixStore::write(const Waiting& item) {
  const Hash128 key = item.record.place.key;
  const std::filesystem::path path = path_of(key);
  std::vector<std::filesystem::path> unwanted;
  std::unique_lock lock(mutex_);
  const Result<bool> room = is_wanted(item) ? make_room(item, unwanted) : Result<bool>(false);
  const bool wanted = room.value_or(false);
  lock.unlock();
  remove_files(std::exchange(unwanted, {}));
  Status status;
  if (!room) status = tl::unexpected(room.error());
  if (wanted) status = write_prefix_file(path, item.record, format_);
  lock.lock();
  const PrefixIndex::Entry* entry = index_.find(key);
  const bool still_wanted = entry != nullptr && entry->id == item.id;
  if (wanted && status && still_wanted) {
    const std::int64_t used = entry->used;
    index_.set_stored(key);
    ++figures_.written;
    std::int64_t not_counted = 0;
    for (const Hash128& replaced : item.replaced) forget(replaced, not_counted, unwanted);
    const bool was_full = std::exchange(disk_full_, false);
    lock.unlock();
    set_modified(path, used);
    remove_files(unwanted);
    if (was_full) log::warning("the prefix cache writes to {} again", options_.directory.string());
    return;
  }
  // What is held in reserve and has been replaced is not missed.
  if (still_wanted || !item.in_reserve) ++figures_.unwritten;
  // What builds on it waits behind it and is not wanted any more either.
  if (still_wanted) (void)index_.remove(key);
  const bool begins_to_fail = !status && !std::exchange(disk_full_, true);
  lock.unlock();
  if (wanted && status) remove_file(path);
  if (begins_to_fail) {
    log::warning("the prefix cache cannot write, and goes on without: {}", status.error().message);
  }
}

}  // namespace hadal::engine
