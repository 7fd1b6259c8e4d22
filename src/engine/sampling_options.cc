#include "engine/sampling_options.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <string_view>

namespace hadal::engine {
namespace {

Status in_range(std::string_view option, double value, double low, double high, std::string_view allowed) {
  if (value >= low && value <= high) return {};  // false for NaN
  return fail(ErrorCode::kInvalidArgument, fmt::format("{} is {}, but must be {}", option, value, allowed));
}

}  // namespace

Status check(const SamplingOptions& options) {
  HADAL_TRY(in_range("temperature", options.temperature, 0, 100, "from 0 (greedy) to 100"));
  HADAL_TRY(in_range("top_p", options.top_p, 0x1p-60, 1, "above 0 and at most 1"));
  HADAL_TRY(in_range("min_p", options.min_p, 0, 1, "from 0 to 1"));
  HADAL_TRY(in_range("repetition_penalty", options.repetition_penalty, 0x1p-10, 1024, "above 0 and at most 1024"));
  HADAL_TRY(in_range("presence_penalty", options.presence_penalty, -100, 100, "from -100 to 100"));
  HADAL_TRY(in_range("frequency_penalty", options.frequency_penalty, -100, 100, "from -100 to 100"));
  if (options.temperature > 0 && options.temperature < 1e-6) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("temperature is {}, but must be 0 (greedy) or at least 1e-6", options.temperature));
  }
  if (options.top_k < 0) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("top_k is {}, but must be 0 (all tokens) or more", options.top_k));
  }
  if (options.logprobs < -1 || options.logprobs > 1000) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("logprobs is {}, but must be from 0 to 1000 (or -1 for none)", options.logprobs));
  }
  for (const LogitBias& entry : options.logit_bias) {
    if (entry.token < 0 || !(entry.bias < std::numeric_limits<double>::infinity())) {
      return fail(ErrorCode::kInvalidArgument, fmt::format("logit_bias has {} for token {}, but wants a number below "
                                                           "infinity for a token id",
                                                           entry.bias, entry.token));
    }
  }
  return {};
}

}  // namespace hadal::engine
