#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/result.h"
#include "engine/prefix_keys.h"
#include "model/executor.h"
#include "model/state.h"

namespace hadal::engine {

enum class PrefixTier : std::uint8_t { kNone, kMemory, kDisk };

struct PrefixFigures {
  std::int64_t queries_tokens = 0, memory_hit_tokens = 0, disk_hit_tokens = 0;
  std::int64_t memory_bytes = 0, disk_bytes = 0;  // slots and tails kept in memory; files
  std::int64_t held_pages = 0;                    // pages of the pool that the cache refers to
  std::int64_t entries = 0;                       // in memory
  std::int64_t evictions = 0, corrupt = 0;
  std::int64_t pages_compared = 0, pages_different = 0;  // the self-check
};

struct PrefixCacheOptions {
  std::string fingerprint{};                          // weights, profile, instruction set, kernels, drafter
  std::int64_t memory_bytes = std::int64_t{1} << 30;  // of slots and tails
  std::filesystem::path directory{};                  // empty: no disk tier
  std::int64_t disk_bytes = std::int64_t{8} << 30;
};

/// States of prompts and answers, found again by the ids that led to them. Used by the engine thread alone; files are
/// written on a thread of its own. Contract: docs/design/serving.md; file format: docs/formats.md.
class PrefixCache {
 public:
  enum class Kind : std::uint8_t { kAnchor, kTail };

  /// Reads the directory's index; files that cannot serve are dropped and counted. Errors: kUnavailable (the directory
  /// cannot be made or is in use), kInvalidArgument.
  [[nodiscard]] static Result<std::unique_ptr<PrefixCache>> create(model::Executor& executor,
                                                                   const PrefixCacheOptions& options);
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;
  ~PrefixCache();

  struct Match {
    model::SequenceState state;  // of the first state.length() tokens
    PrefixTier tier = PrefixTier::kNone;
  };
  /// The deepest kept state of a beginning of `tokens` that leaves at least one token to feed; none: an empty optional.
  /// Errors: kResourceExhausted (no slot or page for it). Damaged files are dropped and the next best entry is taken.
  [[nodiscard]] Result<std::optional<Match>> find(const PrefixDomain& domain, std::span<const std::int64_t> tokens);
  /// Length of what find() would give, without taking anything.
  [[nodiscard]] std::int64_t longest(const PrefixDomain& domain, std::span<const std::int64_t> tokens);
  /// Where this prompt left a path that another prompt went along before it, for the second time: the multiple of 128
  /// at which an anchor would have helped; 0: nowhere.
  [[nodiscard]] std::int64_t divergence(const PrefixDomain& domain, std::span<const std::int64_t> tokens);

  /// Keeps the state of tokens[0, state.length()). kAnchor: length a multiple of 128. kTail: any length; replaces the
  /// tail that the same conversation left before. Never fails: what cannot be kept is not kept.
  void keep(const PrefixDomain& domain, std::span<const std::int64_t> tokens, const model::SequenceState& state,
            Kind kind);
  /// Gives up entries in memory (they stay on disk) until the pool has `pages` free pages, or nothing is left.
  void free_pages(std::int64_t pages);
  /// Waits until everything is on disk.
  void flush();

  [[nodiscard]] PrefixFigures figures() const;

 private:
  struct Parts;
  explicit PrefixCache(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace hadal::engine
