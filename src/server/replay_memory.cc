#include "server/replay_memory.h"

#include <fmt/core.h>

#include <vector>

namespace hadal::server {
namespace {

std::string domain_name(const engine::PrefixDomain& domain) {
  return fmt::format("{:016x}{:016x}", domain.hash[0], domain.hash[1]);
}

}  // namespace

api::ApiResult<api::ChatPrompt> ReplayMemory::encode(const text::Tokenizer& tokenizer, const api::ChatRequest& request,
                                                     const text::RenderedPrompt& prompt,
                                                     const engine::PrefixDomain& domain) {
  const std::lock_guard lock(mutex_);
  return api::encode_chat(tokenizer, request, prompt, &map_, domain_name(domain));
}

void ReplayMemory::remember(const engine::PrefixDomain& domain, const Hash128& prompt, const api::TurnName& turn,
                            std::span<const std::int64_t> tokens) {
  std::vector<std::int32_t> ids;
  ids.reserve(tokens.size());
  for (const std::int64_t token : tokens) ids.push_back(static_cast<std::int32_t>(token));
  const std::lock_guard lock(mutex_);
  map_.remember(domain_name(domain), prompt, turn, ids);
}

api::ReplayFigures ReplayMemory::figures() const {
  const std::lock_guard lock(mutex_);
  return map_.figures();
}

}  // namespace hadal::server
