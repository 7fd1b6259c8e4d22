#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "base/result.h"
#include "model/executor.h"
#include "model/state.h"

namespace hadal::engine {

class StateStore;

/// A whole state that holds nothing of the pool: its bytes in memory, or in a file without a name.
class StoredState {
 public:
  StoredState(StoredState&& other) noexcept;
  StoredState& operator=(StoredState&& other) noexcept;
  StoredState(const StoredState&) = delete;
  StoredState& operator=(const StoredState&) = delete;
  ~StoredState();

  [[nodiscard]] std::int64_t length() const { return state_.length; }
  [[nodiscard]] bool in_file() const { return file_ >= 0; }

 private:
  friend class StateStore;
  explicit StoredState(StateStore& store) : store_(&store) {}

  StateStore* store_ = nullptr;
  model::StateBytes state_;       // with empty vectors while in a file
  std::vector<std::byte> pages_;  // all full pages, in order
  std::int64_t bytes_ = 0;        // counted by the store
  int file_ = -1;
};

/// Takes states of sequences out of the pool and brings them back byte for byte. Used by one thread.
class StateStore {
 public:
  /// What does not fit into `memory_bytes` goes to files in `directory`, which vanish with the process. The executor
  /// must outlive it.
  StateStore(model::Executor& executor, std::int64_t memory_bytes, std::filesystem::path directory);
  StateStore(const StateStore&) = delete;
  StateStore& operator=(const StateStore&) = delete;

  /// A copy of the state; when no file can be written it stays in memory, with a warning.
  [[nodiscard]] StoredState put(const model::SequenceState& state);
  /// The state again. Errors: kResourceExhausted (no slot or page), kUnavailable (the file cannot be read); the stored
  /// state remains as it was then.
  [[nodiscard]] Result<model::SequenceState> take(StoredState& stored);

  [[nodiscard]] std::int64_t memory_bytes() const { return used_; }

 private:
  friend class StoredState;
  [[nodiscard]] Status write(StoredState& stored) const;
  [[nodiscard]] Status read(StoredState& stored) const;

  model::Executor& executor_;
  std::int64_t limit_;
  std::filesystem::path directory_;
  std::int64_t used_ = 0;
};

}  // namespace hadal::engine
