#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "api/turn_name.h"
#include "base/checksum.h"
#include "base/result.h"

namespace hadal::api {

/// Bounds on memory, bookkeeping included. When one is passed the turns go that were not used for the longest time.
struct ReplayLimits {
  std::size_t bytes = std::size_t{64} << 20;         // of all domains
  std::size_t domain_bytes = std::size_t{16} << 20;  // of one domain, so that it cannot push out all others
};

struct ReplayFigures {
  std::int64_t hits = 0, misses = 0, evictions = 0;  // since the start
  std::size_t turns = 0, bytes = 0;                  // held
};

/// The ids of turns that the model generated, by what stood before them and what the client was given. A client's
/// next request brings a turn back as text; its tokens may be others than the sampled ones, and then the prefix cache
/// misses from there on. Members may be called from any thread.
class ReplayMap {
 public:
  explicit ReplayMap(const ReplayLimits& limits = {}) : limits_(limits) {}
  ReplayMap(const ReplayMap&) = delete;  // entries point at their domains
  ReplayMap& operator=(const ReplayMap&) = delete;

  /// `prompt`: the name of all ids before the turn. Ids that are there already become the most recent ones. A turn
  /// that passes a limit alone is not kept.
  void remember(std::string_view domain, const Hash128& prompt, const TurnName& turn,
                std::span<const std::int32_t> ids);

  /// The ids of a turn; empty when it is not known. Of turns with equal texts behind equal ids the one whose call ids
  /// are those of `turn` is taken, else the latest.
  [[nodiscard]] std::vector<std::int32_t> find(std::string_view domain, const Hash128& prompt, const TurnName& turn);

  /// All turns as bytes, to be kept until the next start. `identity` names all that ids depend on: the tokenizer, and
  /// the weights, which would have sampled others.
  [[nodiscard]] std::string save(const Hash128& identity) const;
  /// Takes in what save() gave; the limits hold. Errors, after which nothing was taken in: kCorrupt, kUnsupported
  /// (another identity).
  [[nodiscard]] Status load(std::string_view text, const Hash128& identity);

  /// Drops all turns of a domain: its owner must leave no trace.
  void forget(std::string_view domain);
  [[nodiscard]] ReplayFigures figures() const;

 private:
  struct Domain;
  struct Turn;
  using Turns = std::list<Turn>;  // the most recently used first
  struct Turn {
    Domain* domain = nullptr;
    std::uint64_t serial = 0;
    Hash128 key{};    // of the ids before it and its text
    Hash128 calls{};  // ids of its calls
    std::vector<std::int32_t> ids{};
    std::list<Turns::iterator>::iterator in_domain{};
  };
  struct Domain {
    std::string name;
    std::size_t bytes = 0;
    std::list<Turns::iterator> turns{};  // the most recently used first
    std::unordered_multimap<Hash128, Turns::iterator> by_key{};
  };
  [[nodiscard]] static std::size_t bytes_of(const Turn& turn);
  // All of these under the mutex.
  void insert(std::string_view domain, const Hash128& key, const Hash128& calls, std::span<const std::int32_t> ids);
  void touch(Turns::iterator turn);
  void drop(Turns::iterator turn);
  void add_bytes(Domain& domain, std::size_t added);
  void subtract_bytes(Domain& domain, std::size_t removed);
  /// Removes a domain without turns.
  void tidy(Domain& domain);

  ReplayLimits limits_;
  mutable std::mutex mutex_;  // guards all below
  std::uint64_t serial_ = 0;
  Turns turns_;
  std::map<std::string, Domain, std::less<>> domains_;
  ReplayFigures figures_;
};

}  // namespace hadal::api
