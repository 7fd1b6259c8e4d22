#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "api/replay_map.h"
#include "server/answer_task.h"
#include "server/content_log.h"
#include "server/ledger.h"
#include "server/metrics.h"
#include "server/rate_limits.h"

namespace hadal::server {

/// What a turn of a chat is remembered by.
struct ReplayPlace {
  api::ReplayMap* map = nullptr;  // null: not at all
  std::string domain{};
  Hash128 prompt{};                    // name of the ids before the turn
  std::vector<std::int32_t> opened{};  // ids of the turn that stand in the prompt already
};

/// Settles a request's limits and its entry in the ledger when it ends, remembers its turns and notes its text.
class AnswerAccount final : public AnswerObserver {
 public:
  /// `ledger` and `metrics` may be null; the ledger has admitted `request`. They and the map must outlive this.
  AnswerAccount(Ledger* ledger, Metrics* metrics, LedgerRequest request, RateLease lease, ReplayPlace replay,
                std::optional<ContentNote> content)
      : ledger_(ledger),
        metrics_(metrics),
        request_(std::move(request)),
        lease_(std::move(lease)),
        replay_(std::move(replay)),
        content_(std::move(content)) {}

  void queued(double /*seconds*/) override {}
  void first_token(double /*seconds*/) override {}
  void next_token(double seconds) override {
    if (metrics_ != nullptr) metrics_->token_gap(seconds);
  }
  void turn(const api::TurnName& turn, std::span<const std::int64_t> tokens) override;
  void answer(std::size_t choice, std::span<const std::int64_t> tokens) override {
    if (content_) content_->answer(choice, tokens);
  }
  void ended(const AnswerOutcome& outcome) override;

 private:
  Ledger* ledger_;
  Metrics* metrics_;
  LedgerRequest request_;
  RateLease lease_;
  ReplayPlace replay_;
  std::optional<ContentNote> content_;  // none: no text is noted
};

}  // namespace hadal::server
