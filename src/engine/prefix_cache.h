#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/prefix_keys.h"
#include "engine/prefix_memory.h"
#include "engine/prefix_paths.h"
#include "engine/prefix_store.h"
#include "model/executor.h"
#include "model/state.h"

namespace hadal::engine {

enum class PrefixTier : std::uint8_t { kNone, kMemory, kDisk };

struct PrefixFigures {
  std::int64_t memory_bytes = 0;  // slots and unfinished pages
  std::int64_t held_pages = 0;    // pages of the pool that the cache refers to
  std::int64_t entries = 0;
  std::int64_t evictions = 0;
  std::int64_t pages_compared = 0, pages_different = 0;  // the self-check
  PrefixStoreFigures disk{};
};

struct PrefixCacheOptions {
  std::string fingerprint{};                          // of the weights
  std::int64_t memory_bytes = std::int64_t{1} << 30;  // of slots and unfinished pages
  std::filesystem::path directory{};                  // of the files; empty: memory only
  std::int64_t disk_bytes = std::int64_t{8} << 30;
};

/// States of prompts and answers, found again by the ids that led to them. Used by the engine thread alone. Contract:
/// docs/design/serving.md.
class PrefixCache {
 public:
  /// The executor must outlive it. Errors: as PrefixStore::open.
  [[nodiscard]] static Result<std::unique_ptr<PrefixCache>> create(model::Executor& executor,
                                                                   const PrefixCacheOptions& options);
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  struct Match {
    model::SequenceState state;  // of the first state.length() tokens
    PrefixTier tier = PrefixTier::kNone;
  };
  /// The deepest kept state of a beginning of `tokens` that leaves at least one token to feed; none: an empty optional.
  /// A file that proves damaged is passed over for the next best. Errors: kResourceExhausted (no slot or page for it).
  [[nodiscard]] Result<std::optional<Match>> find(const PrefixDomain& domain, std::span<const std::int64_t> tokens);
  /// Length of what find() would give, without taking anything.
  [[nodiscard]] std::int64_t longest(const PrefixDomain& domain, std::span<const std::int64_t> tokens) const;
  /// Notes the way of a prompt. Returns where it left another prompt's way, if prompts left it there before: the
  /// multiple of 128 at which a kept state would have helped; 0: nowhere.
  [[nodiscard]] std::int64_t divergence(const PrefixDomain& domain, std::span<const std::int64_t> tokens);

  /// Keeps the state of all `tokens`, a multiple of 128. What cannot be kept is not kept.
  void keep_anchor(const PrefixDomain& domain, std::span<const std::int64_t> tokens, const model::SequenceState& state);
  /// The same with a copy that was made when it was the state of `tokens`.
  void keep_anchor(const PrefixDomain& domain, std::span<const std::int64_t> tokens, const model::Snapshot& snapshot);
  /// Keeps the state of all `tokens`, of any number. Tails among the first `continued_from` of them, which the same
  /// conversation left before, are replaced.
  void keep_tail(const PrefixDomain& domain, std::span<const std::int64_t> tokens, const model::SequenceState& state,
                 std::int64_t continued_from);
  /// Keeps the state of all `tokens`, of any number, in memory and until it is crowded out: several answers begin here.
  void keep_fork(const PrefixDomain& domain, std::span<const std::int64_t> tokens, const model::SequenceState& state);
  /// Gives up kept states until the pool has so many free pages, or nothing is left.
  void free_pages(std::int64_t pages) { memory_.free_pages(pages); }

  /// Returns when all that is to be kept on disk is there.
  void flush();

  [[nodiscard]] PrefixFigures figures() const;

 private:
  PrefixCache(model::Executor& executor, const PrefixCacheOptions& options);
  /// The state of all `tokens` from disk; nothing: its file was damaged. Errors: kResourceExhausted.
  [[nodiscard]] Result<std::optional<model::SequenceState>> load(const PrefixDomain& domain,
                                                                 std::span<const std::int64_t> tokens);
  [[nodiscard]] std::vector<model::PageReference> pages_of(const model::SequenceState& state) const;
  void keep(const PrefixKeys& named, model::StateBytes bytes, std::vector<model::PageReference> pages,
            std::vector<Hash128> replaced);
  void put_on_disk(const PrefixKeys& named, std::shared_ptr<const model::StateBytes> bytes,
                   std::span<const model::PageReference> pages, std::vector<Hash128> replaced);
  [[nodiscard]] PrefixKeys keys(const PrefixDomain& domain, std::span<const std::int64_t> tokens) const {
    return {model_key_, domain, tokens};
  }

  model::Executor& executor_;
  Hash128 model_key_;
  PrefixMemory memory_;
  PrefixPaths paths_;
  std::unique_ptr<PrefixStore> store_;  // null: memory only
};

}  // namespace hadal::engine
