#include "engine/generation.h"

#include "base/check.h"

namespace hadal::engine {

std::string_view name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone:
      return "none";
    case FinishReason::kStopToken:
      return "stop";
    case FinishReason::kStopString:
      return "stop_string";
    case FinishReason::kMaxTokens:
      return "length";
    case FinishReason::kContextFull:
      return "context";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kError:
      return "error";
  }
  HADAL_CHECK(false, "an unknown finish reason");
}

double GenerationStatistics::prefill_speed() const {
  return prefill_seconds > 0 ? static_cast<double>(prompt_tokens) / prefill_seconds : 0;
}

double GenerationStatistics::decode_speed() const {
  return decode_seconds > 0 && answer_tokens > 1 ? static_cast<double>(answer_tokens - 1) / decode_seconds : 0;
}

}  // namespace hadal::engine
