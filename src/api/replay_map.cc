#include "api/replay_map.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

namespace hadal::api {
namespace {

// Nodes of the lists and the table, measured roughly.
constexpr std::size_t kTurnOverhead = 256;
constexpr std::size_t kDomainOverhead = 512;

Hash128 key_of(const Hash128& prompt, const Hash128& message) {
  const std::array words{prompt.low, prompt.high, message.low, message.high};
  return hash128(std::as_bytes(std::span(words)));
}

}  // namespace

std::size_t ReplayMap::bytes_of(const Turn& turn) { return kTurnOverhead + turn.ids.capacity() * sizeof(turn.ids[0]); }

void ReplayMap::add_bytes(Domain& domain, std::size_t added) {
  domain.bytes += added;
  figures_.bytes += added;
}

void ReplayMap::subtract_bytes(Domain& domain, std::size_t removed) {
  domain.bytes -= removed;
  figures_.bytes -= removed;
}

void ReplayMap::touch(Turns::iterator turn) {
  turns_.splice(turns_.begin(), turns_, turn);
  auto& own = turn->domain->turns;
  own.splice(own.begin(), own, turn->in_domain);
}

void ReplayMap::drop(Turns::iterator turn) {
  Domain& domain = *turn->domain;
  const auto [first, last] = domain.by_key.equal_range(turn->key);
  for (auto at = first; at != last; ++at) {
    if (at->second != turn) continue;
    domain.by_key.erase(at);
    break;
  }
  subtract_bytes(domain, bytes_of(*turn));
  --figures_.turns;
  domain.turns.erase(turn->in_domain);
  turns_.erase(turn);
}

void ReplayMap::tidy(Domain& domain) {
  if (!domain.turns.empty()) return;
  figures_.bytes -= domain.bytes;
  domains_.erase(domains_.find(domain.name));
}

void ReplayMap::remember(std::string_view domain, const Hash128& prompt, const TurnName& turn,
                         std::span<const std::int32_t> ids) {
  const std::scoped_lock lock(mutex_);
  insert(domain, key_of(prompt, turn.message), turn.calls, ids);
}

void ReplayMap::insert(std::string_view domain_name, const Hash128& key, const Hash128& calls,
                       std::span<const std::int32_t> ids) {
  const std::size_t domain_size = kDomainOverhead + 2 * domain_name.size();
  const std::size_t alone = domain_size + kTurnOverhead + ids.size_bytes();
  if (ids.empty() || alone > limits_.domain_bytes || alone > limits_.bytes) return;
  auto place = domains_.find(domain_name);
  if (place == domains_.end()) {
    place = domains_.try_emplace(std::string(domain_name)).first;
    place->second.name = domain_name;
    add_bytes(place->second, domain_size);
  }
  Domain& domain = place->second;
  const auto [first, last] = domain.by_key.equal_range(key);
  for (auto at = first; at != last; ++at) {
    if (!std::ranges::equal(at->second->ids, ids)) continue;
    at->second->calls = calls;  // the same request may have been answered again
    at->second->serial = ++serial_;
    return touch(at->second);
  }
  turns_.push_front(
      {.domain = &domain, .serial = ++serial_, .key = key, .calls = calls, .ids = {ids.begin(), ids.end()}});
  const auto added = turns_.begin();
  domain.turns.push_front(added);
  added->in_domain = domain.turns.begin();
  domain.by_key.emplace(key, added);
  add_bytes(domain, bytes_of(*added));
  ++figures_.turns;
  while (domain.bytes > limits_.domain_bytes) {
    drop(domain.turns.back());
    ++figures_.evictions;
  }
  while (figures_.bytes > limits_.bytes) {
    Domain& owner = *turns_.back().domain;
    drop(std::prev(turns_.end()));
    tidy(owner);
    ++figures_.evictions;
  }
}

std::vector<std::int32_t> ReplayMap::find(std::string_view domain_name, const Hash128& prompt, const TurnName& turn) {
  const std::scoped_lock lock(mutex_);
  const auto place = domains_.find(domain_name);
  auto best = turns_.end();
  if (place != domains_.end()) {
    const auto [first, last] = place->second.by_key.equal_range(key_of(prompt, turn.message));
    const auto rank = [&turn](const Turn& candidate) {
      return std::pair(candidate.calls == turn.calls, candidate.serial);
    };
    for (auto at = first; at != last; ++at) {
      if (best == turns_.end() || rank(*at->second) > rank(*best)) best = at->second;
    }
  }
  if (best == turns_.end()) {
    ++figures_.misses;
    return {};
  }
  ++figures_.hits;
  touch(best);
  return best->ids;
}

ReplayFigures ReplayMap::figures() const {
  const std::scoped_lock lock(mutex_);
  return figures_;
}

void ReplayMap::forget(std::string_view domain_name) {
  const std::scoped_lock lock(mutex_);
  const auto place = domains_.find(domain_name);
  if (place == domains_.end()) return;
  Domain& domain = place->second;
  while (!domain.turns.empty()) drop(domain.turns.back());
  tidy(domain);
}

}  // namespace hadal::api
