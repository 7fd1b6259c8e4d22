#include "engine/prefix_memory.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "base/log.h"
#include "ops/step_layout.h"

namespace hadal::engine {

std::int64_t PrefixMemory::longest(const PrefixKeys& keys, std::int64_t most) const {
  most = std::min(most, keys.length());
  for (std::int64_t page = most / ops::kPageTokens; page >= 0; --page) {
    const std::int64_t length = page * ops::kPageTokens;
    if (const auto tails = tails_.find(keys.node(page)); tails != tails_.end()) {
      for (const std::int64_t beyond : tails->second) {
        if (length + beyond <= most && entries_.contains(keys.entry(length + beyond))) return length + beyond;
      }
    }
    if (page > 0 && entries_.contains(keys.node(page))) return length;
  }
  return 0;
}

void PrefixMemory::use_chain(const PrefixKeys& keys, std::int64_t length) {
  use(keys.entry(length));
  for (std::int64_t page = (length - 1) / ops::kPageTokens; page > 0; --page) {
    if (entries_.contains(keys.node(page))) use(keys.node(page));
  }
}

Result<model::SequenceState> PrefixMemory::restore(const PrefixKeys& keys, std::int64_t length) {
  use_chain(keys, length);
  const Entry& entry = entries_.at(keys.entry(length));
  // The entry is the one used last, so that making room spares it as long as anything else can go.
  if (!entry.state->tail.empty() && executor_.pool().free_pages() == 0 && entries_.size() > 1) free_pages(1);
  const auto kept = entries_.find(keys.entry(length));
  if (kept == entries_.end()) return fail(ErrorCode::kResourceExhausted, "no page is free for a kept state");
  auto state = executor_.pool().import_state(executor_.stream(), *kept->second.state, kept->second.pages);
  executor_.stream().wait();
  return state;
}

bool PrefixMemory::same_bytes(std::int32_t a, std::int32_t b) {
  model::StatePool& pool = executor_.pool();
  for (std::vector<std::byte>& bytes : compared_) bytes.resize(static_cast<std::size_t>(pool.layout().page_bytes));
  pool.export_page(executor_.stream(), a, compared_[0]);
  pool.export_page(executor_.stream(), b, compared_[1]);
  executor_.stream().wait();
  return compared_[0] == compared_[1];
}

std::int32_t PrefixMemory::canonical(const Hash128& name, std::int32_t page) {
  const auto known = pages_.find(name);
  if (known == pages_.end() || known->second.number == page) return page;
  ++pages_compared_;
  if (same_bytes(known->second.number, page)) return known->second.number;
  if (++pages_different_ == 1) {
    log::error("a page of the prefix cache differs from the same page computed again; what holds it is given up");
  }
  std::vector<Hash128> wrong;
  for (const auto& [entry_name, entry] : entries_) {
    if (std::find(entry.names.begin(), entry.names.end(), name) != entry.names.end()) wrong.push_back(entry_name);
  }
  for (const Hash128& entry_name : wrong) drop(entry_name);
  return page;
}

std::vector<model::PageReference> PrefixMemory::share_pages(const PrefixKeys& keys, std::int64_t most) {
  std::vector<model::PageReference> shared;
  while (static_cast<std::int64_t>(shared.size()) < most) {
    const auto page = pages_.find(keys.node(static_cast<std::int64_t>(shared.size()) + 1));
    if (page == pages_.end()) break;
    shared.push_back(executor_.pool().share(page->second.number));
  }
  return shared;
}

void PrefixMemory::keep(const PrefixKeys& keys, std::shared_ptr<const model::StateBytes> state,
                        std::vector<model::PageReference>& pages, bool replaceable) {
  const Hash128 name = keys.entry(keys.length());
  Entry entry{.state = std::move(state),
              .pages = {},
              .names = {},
              .node = keys.node(keys.pages()),
              .replaceable = replaceable,
              .use = {}};
  std::int64_t index = 0;
  for (model::PageReference& page : pages) {
    const Hash128& node = keys.node(++index);
    page = executor_.pool().share(canonical(node, page.page()));
    entry.names.push_back(node);
    entry.pages.push_back(executor_.pool().share(page.page()));
  }
  if (entries_.contains(name)) {
    use_chain(keys, keys.length());
    return;
  }
  for (std::size_t i = 0; i < entry.pages.size(); ++i) {
    Page& page = pages_[entry.names[i]];
    page.number = entry.pages[i].page();
    ++page.holders;
  }
  if (const std::int64_t beyond = keys.length() % ops::kPageTokens; beyond != 0) {
    auto& tails = tails_[entry.node];
    tails.insert(std::lower_bound(tails.begin(), tails.end(), beyond, std::greater<>()), beyond);
  }
  bytes_ += entry.state->size();
  order_.push_front(name);
  entry.use = order_.begin();
  entries_.emplace(name, std::move(entry));
  use_chain(keys, keys.length());
  while (bytes_ > limit_) {
    ++evictions_;
    drop(order_.back());
  }
}

void PrefixMemory::drop(Hash128 name) {
  const auto at = entries_.find(name);
  Entry& entry = at->second;
  for (const Hash128& node : entry.names) {
    const auto page = pages_.find(node);
    if (--page->second.holders == 0) pages_.erase(page);
  }
  if (const std::int64_t beyond = entry.state->length % ops::kPageTokens; beyond != 0) {
    const auto tails = tails_.find(entry.node);
    tails->second.erase(std::find(tails->second.begin(), tails->second.end(), beyond));
    if (tails->second.empty()) tails_.erase(tails);
  }
  bytes_ -= entry.state->size();
  order_.erase(entry.use);
  entries_.erase(at);
}

void PrefixMemory::drop_tails_before(const PrefixKeys& keys) {
  for (std::int64_t page = 0; page <= keys.pages(); ++page) {
    const auto tails = tails_.find(keys.node(page));
    if (tails == tails_.end()) continue;
    for (const std::int64_t beyond : std::vector<std::int64_t>(tails->second)) {
      const std::int64_t length = page * ops::kPageTokens + beyond;
      if (length >= keys.length()) continue;
      const auto entry = entries_.find(keys.entry(length));
      if (entry != entries_.end() && entry->second.replaceable) drop(entry->first);
    }
  }
}

void PrefixMemory::free_pages(std::int64_t pages) {
  while (executor_.pool().free_pages() < pages && !order_.empty()) {
    ++evictions_;
    drop(order_.back());
  }
}

}  // namespace hadal::engine
