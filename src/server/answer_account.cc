#include "server/answer_account.h"

#include <utility>
#include <vector>

namespace hadal::server {
namespace {

LedgerStatus status_of(const AnswerOutcome& outcome) {
  if (outcome.failure) return LedgerStatus::kFailed;
  return outcome.finish == "abort" ? LedgerStatus::kCancelled : LedgerStatus::kOk;
}

}  // namespace

void AnswerAccount::turn(const api::TurnName& turn, std::span<const std::int64_t> tokens) {
  if (replay_.map == nullptr) return;
  std::vector<std::int32_t> ids = replay_.opened;
  ids.reserve(ids.size() + tokens.size());
  for (const std::int64_t token : tokens) ids.push_back(static_cast<std::int32_t>(token));
  replay_.map->remember(replay_.domain, replay_.prompt, turn, ids);
}

void AnswerAccount::ended(const AnswerOutcome& outcome) {
  // What failed before its first token counts for nothing.
  const bool counts = !outcome.failure || outcome.usage.completion > 0;
  lease_.settle(counts ? outcome.usage.prompt : 0, outcome.usage.completion);
  if (content_) content_->write();
  if (ledger_ == nullptr) return;
  ledger_->finish({.request = std::move(request_),
                   .status = status_of(outcome),
                   .cached_tokens = outcome.usage.cached,
                   .answer_tokens = outcome.usage.completion,
                   .reasoning_tokens = outcome.usage.reasoning,
                   .ended = std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::system_clock::now())});
}

}  // namespace hadal::server
