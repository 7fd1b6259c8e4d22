#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "engine/prefix_file.h"
#include "engine/prefix_index.h"
#include "engine/prefix_keys.h"

namespace hadal::engine {

struct PrefixStoreOptions {
  std::filesystem::path directory;
  std::int64_t bytes = std::int64_t{8} << 30;          // of all files
  std::int64_t queue_bytes = std::int64_t{256} << 20;  // waiting to be written; one record may be larger
  std::function<std::int64_t()> free_bytes{};          // of the disk; none: the system is asked
};

struct PrefixStoreFigures {
  std::int64_t bytes = 0, files = 0;
  std::int64_t waiting_bytes = 0;  // of files not written yet
  std::int64_t written = 0;
  std::int64_t unwritten = 0;  // dropped: the queue or the disk was full, or what they build on was gone
  std::int64_t evictions = 0;  // files that made room for others
  std::int64_t corrupt = 0;    // files that could not serve: damaged, foreign, unreadable, or building on such a one
};

/// A directory of files of one state each: docs/formats.md. One process has it at a time. One thread uses it; another
/// of its own writes. What is read has passed all its checksums; files that fail are removed and counted.
class PrefixStore {
 public:
  /// Makes the directory, takes its lock, and reads the files' headers. Errors: kUnavailable (it cannot be made, or
  /// another process has it).
  [[nodiscard]] static Result<std::unique_ptr<PrefixStore>> open(const PrefixStoreOptions& options,
                                                                 const PrefixFormat& format);
  PrefixStore(const PrefixStore&) = delete;
  PrefixStore& operator=(const PrefixStore&) = delete;
  /// Writes what waits.
  ~PrefixStore();

  /// Length of the deepest state on disk of a beginning of these tokens that is at most `most` long; 0: none.
  [[nodiscard]] std::int64_t longest(const PrefixKeys& keys, std::int64_t most) const;
  struct Loaded {
    model::StateBytes state;
    std::vector<std::byte> pages;  // from page number `first_page` of the sequence on
  };
  /// The state of a key that longest() found, with its pages from `first_page` on. Nothing: it was damaged, and is no
  /// longer known. Errors: kInvalidArgument (it has fewer pages).
  [[nodiscard]] Result<std::optional<Loaded>> read(const Hash128& key, std::int64_t first_page);

  /// What put() of all these tokens' state should hold: nothing if the state is here or on its way.
  [[nodiscard]] std::optional<PrefixPlace> plan(const PrefixKeys& keys) const;
  /// Whether put() has room for that state now; if not, it counts as unwritten.
  [[nodiscard]] bool accepts(const PrefixPlace& place);
  /// Queues a record whose place plan() gave. Once it is on disk, and not before, the states of `replaced` are removed.
  void put(PrefixRecord record, std::vector<Hash128> replaced);
  /// Beginnings of these tokens that end inside a page: what a longer state of the same conversation replaces.
  [[nodiscard]] std::vector<Hash128> tails_before(const PrefixKeys& keys) const;
  /// The state was used.
  void touch(const Hash128& key);
  /// Removes a state and what builds on it: it is known to be wrong. Counted as corrupt.
  void drop(const Hash128& key);
  /// Returns when nothing waits any more.
  void flush();

  [[nodiscard]] PrefixStoreFigures figures() const;

 private:
  struct Waiting {
    PrefixRecord record;
    std::vector<Hash128> replaced;
    std::uint64_t id = 0;
    std::int64_t file_bytes = 0;
    bool in_reserve = false;  // what replaces it is written before, or could not be
  };

  PrefixStore(PrefixStoreOptions options, const PrefixFormat& format) : options_(std::move(options)), format_(format) {}
  [[nodiscard]] Status lock_directory();
  [[nodiscard]] Status read_index();
  [[nodiscard]] std::filesystem::path path_of(const Hash128& key) const;
  [[nodiscard]] std::vector<PrefixIndex::Entry> chain_of(const Hash128& key, std::int64_t first_page) const;
  [[nodiscard]] Status read_file(const PrefixIndex::Entry& entry, std::int64_t first_page, bool with_state,
                                 Loaded& loaded) const;
  /// A file of the chain could not be read.
  void leave_out(const PrefixIndex::Entry& entry, const Error& error);
  // With mutex_ held; files are removed after it, by the one thread that may write them again:
  /// Forgets a state and what builds on it; adds their files to `unwanted`.
  void forget(const Hash128& key, std::int64_t& counter, std::vector<std::filesystem::path>& unwanted);
  [[nodiscard]] bool is_wanted(const Waiting& item) const;
  /// Bytes beyond the limit once the item is there and what it replaces is not; negative: below it.
  [[nodiscard]] std::int64_t excess(const Waiting& item) const;
  /// Forgets states, but none that the item replaces, until the limit has room for it; false: it never has. Error:
  /// kResourceExhausted (the disk has none either way; nothing was forgotten).
  [[nodiscard]] Result<bool> make_room(const Waiting& item, std::vector<std::filesystem::path>& unwanted);

  /// Of what waits and is to be replaced, the longest gets its turn behind all others: by then it is not wanted any
  /// more, unless what replaces it could not be written. The rest is forgotten.
  void keep_in_reserve(const std::vector<Hash128>& replaced);

  void write_queue(const std::stop_token& stop);
  void write(const Waiting& item);

  const PrefixStoreOptions options_;
  const PrefixFormat format_;
  int lock_ = -1;  // descriptor of the locked file

  mutable std::mutex mutex_;  // guards all below; the only lock of this class, never held while files change
  std::condition_variable_any changed_;
  PrefixIndex index_;
  std::deque<Waiting> queue_;
  std::int64_t waiting_bytes_ = 0;  // of the queue and of what is being written
  bool writing_ = false;
  bool disk_full_ = false;  // the last record could not be written
  PrefixStoreFigures figures_;

  std::jthread writer_;
};

}  // namespace hadal::engine
