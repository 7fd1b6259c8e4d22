#include "api/answer.h"

#include <fmt/format.h>

#include <cmath>
#include <iterator>

#include "text/json_text.h"
#include "text/utf8.h"

namespace hadal::api {
namespace {

constexpr double kLeastLogprob = -9999;
constexpr std::int64_t kCacheGrain = 128;

void append_probability(std::string& out, const TokenProbability& token) {
  out += R"({"token":)";
  text::append_json_string(out, text::replace_ill_formed(token.bytes));
  out += R"(,"logprob":)";
  append_logprob(out, token.logprob.value_or(kLeastLogprob));
  out += R"(,"bytes":[)";
  for (std::size_t i = 0; i < token.bytes.size(); ++i) {
    fmt::format_to(std::back_inserter(out), "{}{}", i > 0 ? "," : "", static_cast<unsigned char>(token.bytes[i]));
  }
  out += ']';
}

}  // namespace

std::optional<std::string_view> finish_reason(Family family, Ending ending, bool has_calls) {
  const bool deepseek = family == Family::kDeepSeek;
  switch (ending) {
    case Ending::kEos:
      return has_calls ? "tool_calls" : "stop";
    case Ending::kStopString:
      return "stop";
    case Ending::kMaxTokens:
    case Ending::kContextFull:
      return "length";
    case Ending::kNoResources:
      if (deepseek) return "insufficient_system_resource";
      break;
    case Ending::kAborted:
      return deepseek ? "aborted" : "stop";
  }
  return std::nullopt;
}

void append_usage(std::string& out, const Usage& usage) {
  const std::int64_t cached = usage.cached / kCacheGrain * kCacheGrain;
  const auto put = std::back_inserter(out);
  fmt::format_to(put,
                 R"({{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},)"
                 R"("prompt_tokens_details":{{"cached_tokens":{}}})",
                 usage.prompt, usage.completion, usage.prompt + usage.completion, cached);
  if (usage.thinking) {
    fmt::format_to(put, R"(,"completion_tokens_details":{{"reasoning_tokens":{}}})", usage.reasoning);
  }
  fmt::format_to(put, R"(,"prompt_cache_hit_tokens":{},"prompt_cache_miss_tokens":{}}})", cached,
                 usage.prompt - cached);
}

void append_logprob(std::string& out, double logprob) {
  const double finite = logprob > kLeastLogprob ? logprob : kLeastLogprob;  // NaN is masked as well
  out += text::JsonValue::of(finite == 0 || std::isinf(finite) ? 0.0 : finite).text;
}

void append_token(std::string& out, const TokenLogprob& token) {
  append_probability(out, token);
  out += R"(,"top_logprobs":[)";
  for (std::size_t i = 0; i < token.top.size(); ++i) {
    if (i > 0) out += ',';
    append_probability(out, token.top[i]);
    out += '}';
  }
  out += "]}";
}

}  // namespace hadal::api
