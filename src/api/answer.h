#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/error.h"

// What the answers of chats and completions share.
namespace hadal::api {

/// How generation ended, as the engine says it.
enum class Ending : std::uint8_t {
  kEos,
  kStopString,
  kMaxTokens,
  kContextFull,
  kNoResources,  // put away for good, or the server is stopping
  kAborted,      // by an operator
};

/// The reason's name; nothing where the family has none and the answer must end with an error.
[[nodiscard]] std::optional<std::string_view> finish_reason(Family family, Ending ending, bool has_calls);

/// A token with its logarithm of probability; absent for the first token of a prompt.
struct TokenProbability {
  std::string bytes{};
  std::optional<double> logprob{};
};

/// What is known of one generated token.
struct TokenLogprob : TokenProbability {
  std::vector<TokenProbability> top{};  // by falling probability
};

/// Tokens of one request. All choices are added up; the prompt counts once.
struct Usage {
  std::int64_t prompt = 0;
  std::int64_t cached = 0;  // of the prompt; told in multiples of 128
  std::int64_t completion = 0;
  std::int64_t reasoning = 0;  // of the completion
  bool thinking = false;       // reasoning is told
};

/// Appends {"prompt_tokens":...}.
void append_usage(std::string& out, const Usage& usage);

/// What all chunks of an answer repeat.
struct AnswerHead {
  Family family = Family::kDeepSeek;
  std::string id{};
  std::int64_t created = 0;  // seconds since 1970
  std::string model{};
  std::string fingerprint{};
};

/// Appends a finite JSON number; a masked or nearly impossible token is -9999.0.
void append_logprob(std::string& out, double logprob);

/// Appends {"token","logprob","bytes","top_logprobs"}.
void append_token(std::string& out, const TokenLogprob& token);

/// The last event of a stream.
inline constexpr std::string_view kDone = "data: [DONE]\n\n";
/// Sent when nothing else was for a while; clients skip it.
inline constexpr std::string_view kKeepAlive = ": keep-alive\n\n";

}  // namespace hadal::api
