#include "server/answer_account.h"

#include <utility>

namespace hadal::server {
namespace {

LedgerStatus status_of(const AnswerOutcome& outcome) {
  if (outcome.failure) {
    return *outcome.failure == api::Cause::kOverloaded ? LedgerStatus::kCancelled : LedgerStatus::kFailed;
  }
  return outcome.finish == "abort" ? LedgerStatus::kCancelled : LedgerStatus::kOk;
}

}  // namespace

void AnswerAccount::turn(const api::TurnName& turn, std::span<const std::int64_t> tokens) {
  if (replay_.memory != nullptr) replay_.memory->remember(replay_.domain, replay_.prompt, turn, tokens);
}

void AnswerAccount::ended(const AnswerOutcome& outcome) {
  lease_.settle(outcome.usage.prompt, outcome.usage.completion);
  if (ledger_ == nullptr) return;
  ledger_->finish({.request = std::move(request_),
                   .status = status_of(outcome),
                   .cached_tokens = outcome.usage.cached,
                   .answer_tokens = outcome.usage.completion,
                   .reasoning_tokens = outcome.usage.reasoning,
                   .ended = std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::system_clock::now())});
}

}  // namespace hadal::server
