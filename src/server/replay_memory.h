#pragma once

#include <mutex>
#include <span>
#include <string>

#include "api/prompt.h"
#include "api/replay_map.h"
#include "engine/prefix_keys.h"

namespace hadal::server {

/// The replay map of all requests, for several threads.
class ReplayMemory {
 public:
  explicit ReplayMemory(const api::ReplayLimits& limits) : map_(limits) {}

  /// api::encode_chat with what is remembered in this domain.
  [[nodiscard]] api::ApiResult<api::ChatPrompt> encode(const text::Tokenizer& tokenizer,
                                                       const api::ChatRequest& request,
                                                       const text::RenderedPrompt& prompt,
                                                       const engine::PrefixDomain& domain);
  /// A turn that was generated behind the prompt of that name, without its stop token.
  void remember(const engine::PrefixDomain& domain, const Hash128& prompt, const api::TurnName& turn,
                std::span<const std::int64_t> tokens);
  [[nodiscard]] api::ReplayFigures figures() const;

 private:
  mutable std::mutex mutex_;  // guards map_; no other lock is taken under it
  api::ReplayMap map_;
};

}  // namespace hadal::server
