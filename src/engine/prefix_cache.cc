#include "engine/prefix_cache.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "ops/step_layout.h"

namespace hadal::engine {

PrefixCache::PrefixCache(model::Executor& executor, const PrefixCacheOptions& options)
    : executor_(executor),
      model_key_(prefix_model_key(options.fingerprint, executor)),
      memory_(executor, options.memory_bytes) {}

Result<std::unique_ptr<PrefixCache>> PrefixCache::create(model::Executor& executor, const PrefixCacheOptions& options) {
  std::unique_ptr<PrefixCache> cache(new PrefixCache(executor, options));
  if (options.directory.empty()) return cache;
  HADAL_ASSIGN(cache->store_, PrefixStore::open({.directory = options.directory, .bytes = options.disk_bytes},
                                                PrefixFormat::of(cache->model_key_, executor.pool().layout())));
  return cache;
}

std::int64_t PrefixCache::longest(const PrefixDomain& domain, std::span<const std::int64_t> tokens) const {
  const PrefixKeys named = keys(domain, tokens);
  const std::int64_t in_memory = memory_.longest(named, named.length() - 1);
  return store_ == nullptr ? in_memory : std::max(in_memory, store_->longest(named, named.length() - 1));
}

Result<std::optional<PrefixCache::Match>> PrefixCache::find(const PrefixDomain& domain,
                                                            std::span<const std::int64_t> tokens) {
  const PrefixKeys named = keys(domain, tokens);
  const std::int64_t in_memory = memory_.longest(named, named.length() - 1);
  // A file that proves damaged is forgotten, so that every turn finds less than the one before.
  while (store_ != nullptr) {
    const std::int64_t on_disk = store_->longest(named, named.length() - 1);
    if (on_disk <= in_memory) break;
    HADAL_ASSIGN(auto state, load(domain, tokens.first(static_cast<std::size_t>(on_disk))));
    if (state) return std::optional<Match>(Match{.state = std::move(*state), .tier = PrefixTier::kDisk});
  }
  if (in_memory == 0) return std::optional<Match>();
  HADAL_ASSIGN(model::SequenceState state, memory_.restore(named, in_memory));
  return std::optional<Match>(Match{.state = std::move(state), .tier = PrefixTier::kMemory});
}

Result<std::optional<model::SequenceState>> PrefixCache::load(const PrefixDomain& domain,
                                                              std::span<const std::int64_t> tokens) {
  model::StatePool& pool = executor_.pool();
  const PrefixKeys named = keys(domain, tokens);
  const std::int64_t page_bytes = pool.layout().page_bytes;
  const std::int64_t full = page_bytes > 0 ? named.pages() : 0;
  std::vector<model::PageReference> pages = memory_.share_pages(named, full);
  const auto shared = static_cast<std::int64_t>(pages.size());
  const std::int64_t missing = full - shared + (named.length() % ops::kPageTokens != 0 ? 1 : 0);
  if (page_bytes > 0 && pool.free_pages() < missing) memory_.free_pages(missing);
  HADAL_ASSIGN(auto loaded, store_->read(named.entry(named.length()), shared));
  if (!loaded) return std::optional<model::SequenceState>();
  for (std::int64_t page = shared; page < full; ++page) {
    const auto bytes =
        std::span(loaded->pages)
            .subspan(static_cast<std::size_t>((page - shared) * page_bytes), static_cast<std::size_t>(page_bytes));
    HADAL_ASSIGN(model::PageReference imported, pool.import_page(executor_.stream(), bytes));
    pages.push_back(std::move(imported));
  }
  HADAL_ASSIGN(model::SequenceState state, pool.import_state(executor_.stream(), loaded->state, pages));
  executor_.stream().wait();
  memory_.keep(named, std::make_shared<const model::StateBytes>(std::move(loaded->state)), pages, true);
  return std::optional<model::SequenceState>(std::move(state));
}

std::int64_t PrefixCache::divergence(const PrefixDomain& domain, std::span<const std::int64_t> tokens) {
  return paths_.pass(keys(domain, tokens)) * ops::kPageTokens;
}

std::vector<model::PageReference> PrefixCache::pages_of(const model::SequenceState& state) const {
  std::vector<model::PageReference> pages;
  if (executor_.pool().layout().page_bytes == 0) return pages;
  for (const std::int32_t page : state.pages().first(static_cast<std::size_t>(state.length() / ops::kPageTokens))) {
    pages.push_back(executor_.pool().share(page));
  }
  return pages;
}

void PrefixCache::keep_anchor(const PrefixDomain& domain, std::span<const std::int64_t> tokens,
                              const model::SequenceState& state) {
  HADAL_CHECK(state.length() == static_cast<std::int64_t>(tokens.size()) && state.length() % ops::kPageTokens == 0,
              "an anchor is the state of all tokens given, which fill whole pages");
  keep(keys(domain, tokens), executor_.pool().export_state(executor_.stream(), state), pages_of(state), {});
}

void PrefixCache::keep_anchor(const PrefixDomain& domain, std::span<const std::int64_t> tokens,
                              const model::Snapshot& snapshot) {
  HADAL_CHECK(
      snapshot.length() == static_cast<std::int64_t>(tokens.size()) && snapshot.length() % ops::kPageTokens == 0,
      "an anchor is the state of all tokens given, which fill whole pages");
  std::vector<model::PageReference> pages;
  for (const model::PageReference& page : snapshot.full_pages()) pages.push_back(executor_.pool().share(page.page()));
  keep(keys(domain, tokens), snapshot.bytes(), std::move(pages), {});
}

void PrefixCache::keep_tail(const PrefixDomain& domain, std::span<const std::int64_t> tokens,
                            const model::SequenceState& state, std::int64_t continued_from) {
  const PrefixKeys named = keys(domain, tokens);
  HADAL_CHECK(state.length() == named.length(), "a tail is the state of all tokens given");
  // One more than the conversation went on from: its last tail may end there.
  const auto before = std::min(tokens.size(), static_cast<std::size_t>(continued_from + 1));
  const PrefixKeys earlier = keys(domain, tokens.first(before));
  memory_.drop_tails_before(earlier);
  keep(named, executor_.pool().export_state(executor_.stream(), state), pages_of(state),
       store_ == nullptr ? std::vector<Hash128>() : store_->tails_before(earlier));
}

void PrefixCache::keep_fork(const PrefixDomain& domain, std::span<const std::int64_t> tokens,
                            const model::SequenceState& state) {
  const PrefixKeys named = keys(domain, tokens);
  HADAL_CHECK(state.length() == named.length(), "a kept state is that of all tokens given");
  std::vector<model::PageReference> pages = pages_of(state);
  memory_.keep(named,
               std::make_shared<const model::StateBytes>(executor_.pool().export_state(executor_.stream(), state)),
               pages, false);
}

void PrefixCache::keep(const PrefixKeys& named, model::StateBytes bytes, std::vector<model::PageReference> pages,
                       std::vector<Hash128> replaced) {
  const auto state = std::make_shared<const model::StateBytes>(std::move(bytes));
  memory_.keep(named, state, pages, true);
  if (store_ != nullptr) put_on_disk(named, state, pages, std::move(replaced));
}

void PrefixCache::put_on_disk(const PrefixKeys& named, std::shared_ptr<const model::StateBytes> bytes,
                              std::span<const model::PageReference> pages, std::vector<Hash128> replaced) {
  const auto place = store_->plan(named);
  if (!place || !store_->accepts(*place)) return;
  const auto page_bytes = static_cast<std::size_t>(executor_.pool().layout().page_bytes);
  const auto first = std::min(static_cast<std::size_t>(place->parent_length / ops::kPageTokens), pages.size());
  PrefixRecord record{.place = *place, .state = std::move(bytes), .pages = {}};
  record.pages.resize((pages.size() - first) * page_bytes);
  for (std::size_t page = first; page < pages.size(); ++page) {
    executor_.pool().export_page(executor_.stream(), pages[page].page(),
                                 std::span(record.pages).subspan((page - first) * page_bytes, page_bytes));
  }
  executor_.stream().wait();
  store_->put(std::move(record), std::move(replaced));
}

void PrefixCache::flush() {
  if (store_ != nullptr) store_->flush();
}

PrefixFigures PrefixCache::figures() const {
  return {.memory_bytes = memory_.bytes(),
          .held_pages = memory_.pages(),
          .entries = memory_.entries(),
          .evictions = memory_.evictions(),
          .pages_compared = memory_.pages_compared(),
          .pages_different = memory_.pages_different(),
          .disk = store_ == nullptr ? PrefixStoreFigures{} : store_->figures()};
}

}  // namespace hadal::engine
