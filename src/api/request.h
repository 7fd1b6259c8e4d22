#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api/error.h"
#include "api/models.h"
#include "text/chat_message.h"
#include "text/json_text.h"

// What a request asks, without the family's spelling. Nothing below api/ knows fields of bodies.
namespace hadal::api {

/// What happens to sampling parameters that the official service ignores.
enum class SamplingPolicy : std::uint8_t {
  kOfficial,  // with thinking only top_p >= 0.95 acts, without only the temperature; penalties never
  kClient,    // all as sent
};

/// Of the server; equal for all requests.
struct RequestSettings {
  const ModelTable* models = nullptr;
  std::optional<SamplingPolicy> policy{};  // instead of the family's: DeepSeek official, OpenAI client
  std::int64_t max_choices = 16;
  bool strict_fields = false;     // unknown fields are errors
  bool json_word_check = true;    // json_object needs the word "json" in the prompt
  bool strict_reasoning = false;  // calls in thinking mode must come back with their reasoning
};

struct Sampling {
  double temperature = 1;
  double top_p = 1;
  std::int64_t top_k = 0;
  double min_p = 0;
  double repetition_penalty = 1;
  double presence_penalty = 0;
  double frequency_penalty = 0;
  std::vector<std::pair<std::int32_t, double>> logit_bias{};  // token id, -100..100
  std::optional<std::int64_t> seed{};
};

struct Stop {
  std::vector<std::string> strings{};
  std::vector<std::int32_t> token_ids{};
  bool include_in_output = false;
  bool ignore_eos = false;
};

struct Logprobs {
  bool on = false;
  std::int64_t top = 0;  // alternatives of each token
};

struct StreamForm {
  bool on = false;
  bool include_usage = false;
  bool progress = false;  // of the prefill
};

/// What chats and completions share.
struct RequestBase {
  Family family = Family::kDeepSeek;
  const ServedModel* model = nullptr;
  Sampling sampling{};
  Stop stop{};
  Logprobs logprobs{};
  StreamForm stream{};
  std::int64_t choices = 1;
  std::int64_t max_tokens = 0;  // before clamping to the context
  bool max_tokens_clamped = false;
  std::int64_t min_tokens = 0;
  std::int64_t priority = 0;  // lower first
  bool use_cache = true;
  bool skip_special_tokens = true;
  std::string user{};        // to separate caches; hash it before it is kept
  std::string cache_salt{};  // the same
  std::vector<std::string> ignored{};
};

enum class Effort : std::uint8_t { kLow, kHigh, kMax };

struct Thinking {
  bool on = true;
  Effort effort = Effort::kHigh;
  std::optional<std::int64_t> budget{};  // tokens
};

enum class ToolMode : std::uint8_t { kNone, kAuto, kRequired };

struct Tools {
  std::vector<text::JsonValue> list{};  // {"type", "function": {...}}; empty with kNone
  ToolMode mode = ToolMode::kNone;
  std::vector<std::string> allowed{};  // names; empty: all
  std::vector<bool> strict{};          // of each tool
  bool parallel = true;
};

enum class Constraint : std::uint8_t { kNone, kJsonObject };

/// Where the reasoning goes in the answer.
enum class ReasoningPlace : std::uint8_t {
  kField,    // reasoning_content
  kContent,  // inside the content, between <think> and </think>
  kNowhere,
};

struct ChatRequest : RequestBase {
  std::vector<text::Message> messages{};
  bool continues = false;  // the last message is the beginning of the answer
  Thinking thinking{};
  Tools tools{};
  Constraint constraint = Constraint::kNone;
  ReasoningPlace reasoning = ReasoningPlace::kField;
  std::int64_t reasoning_missing = 0;  // turns with calls that came back without their reasoning
};

/// One prompt of a completion: a text, or ids that are used as they are.
struct CompletionPrompt {
  std::string text{};
  std::vector<std::int32_t> ids{};
  bool is_ids = false;
};

struct CompletionRequest : RequestBase {
  std::vector<CompletionPrompt> prompts{};
  std::optional<std::string> suffix{};  // fill in the middle
  bool echo = false;
};

/// max_tokens that fits behind a prompt in the model's context. Error: kPromptTooLong.
[[nodiscard]] ApiResult<std::int64_t> fit_to_context(const RequestBase& request, std::int64_t prompt_tokens);

/// Body of `POST .../chat/completions`. Errors name the field.
[[nodiscard]] ApiResult<ChatRequest> read_chat(Family family, const text::JsonValue& body,
                                               const RequestSettings& settings);

/// Body of `POST .../completions`.
[[nodiscard]] ApiResult<CompletionRequest> read_completion(Family family, const text::JsonValue& body,
                                                           const RequestSettings& settings);

}  // namespace hadal::api
