#include "api/base_fields.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

namespace hadal::api {
namespace {

using text::JsonKind;
using text::JsonValue;

constexpr std::int64_t kLowest = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kHighest = std::numeric_limits<std::int64_t>::max();
constexpr std::size_t kMostStops = 16;
constexpr std::size_t kLongestStop = 256;
constexpr std::size_t kMostBiases = 300;
constexpr std::size_t kLongestUser = 512;

template <class Value>
void set(Value& target, const std::optional<Value>& value) {
  if (value) target = *value;
}

void read_temperature(Fields& fields, RequestBase& request) {
  const JsonValue* value = fields.get("temperature", JsonKind::kNumber);
  if (value == nullptr) return;
  const auto number = to_number(*value);
  if (number && *number >= 0 && *number <= 2) {
    request.sampling.temperature = *number;
  } else if (request.family == Family::kDeepSeek) {
    fields.error().note_whole(Cause::kInvalidValue, "temperature",
                              "Invalid temperature value, the valid range of temperature is [0, 2]");
  } else {
    fields.error().note(Cause::kInvalidValue, "temperature", "expected number from 0 to 2");
  }
}

void read_sampling(Fields& fields, RequestBase& request) {
  Sampling& sampling = request.sampling;
  read_temperature(fields, request);
  set(sampling.top_p, fields.number("top_p", 0, 1));
  if (sampling.top_p == 0) fields.error().note(Cause::kInvalidValue, "top_p", "expected number above 0, at most 1");
  set(sampling.frequency_penalty, fields.number("frequency_penalty", -2, 2));
  set(sampling.presence_penalty, fields.number("presence_penalty", -2, 2));
  set(sampling.top_k, fields.integer("top_k", -1, request.model->vocab_size));
  sampling.top_k = std::max<std::int64_t>(sampling.top_k, 0);  // -1 also means all
  set(sampling.min_p, fields.number("min_p", 0, 1));
  set(sampling.repetition_penalty, fields.number("repetition_penalty", 0, 100));
  if (sampling.repetition_penalty == 0) {
    fields.error().note(Cause::kInvalidValue, "repetition_penalty", "expected number above 0");
  }
  sampling.seed = fields.integer("seed", kLowest, kHighest);
}

std::optional<std::int32_t> token_id(const JsonValue& value, const ServedModel& model) {
  const auto id = to_integer(value);
  if (!id || *id < 0 || *id >= model.vocab_size) return std::nullopt;
  return static_cast<std::int32_t>(*id);
}

void read_logit_bias(Fields& fields, RequestBase& request) {
  const JsonValue* map = fields.object("logit_bias");
  if (map == nullptr) return;
  if (map->members.size() > kMostBiases) {
    fields.error().note(Cause::kInvalidValue, "logit_bias", fmt::format("expected at most {} entries", kMostBiases));
    return;
  }
  for (const text::JsonMember& member : map->members) {
    const std::string path = fmt::format("logit_bias.{}", excerpt(member.key));
    std::int32_t id = -1;
    const char* end = member.key.data() + member.key.size();
    const auto [stop, error] = std::from_chars(member.key.data(), end, id);
    if (error != std::errc() || stop != end || id < 0 || id >= request.model->vocab_size) {
      fields.error().note(Cause::kInvalidValue, path,
                          fmt::format("expected a token id below {}", request.model->vocab_size));
      return;
    }
    const auto bias = to_number(member.value);
    if (!bias || *bias < -100 || *bias > 100) {
      fields.error().note(Cause::kInvalidValue, path, "expected number from -100 to 100");
      return;
    }
    request.sampling.logit_bias.emplace_back(id, *bias);
  }
  // Spellings such as "7" and "07" are two keys of one token.
  auto& biases = request.sampling.logit_bias;
  std::ranges::sort(biases, {}, &std::pair<std::int32_t, double>::first);
  if (std::ranges::adjacent_find(biases, {}, &std::pair<std::int32_t, double>::first) != biases.end()) {
    fields.error().note(Cause::kInvalidValue, "logit_bias", "a token stands twice");
  }
}

void add_stop(Fields& fields, const JsonValue& value, const std::string& path, RequestBase& request) {
  if (!value.is(JsonKind::kString)) {
    fields.error().note(Cause::kMalformed, path, "expected string");
  } else if (value.text.empty() || value.text.size() > kLongestStop) {
    fields.error().note(Cause::kInvalidValue, path, fmt::format("expected string of 1 to {} bytes", kLongestStop));
  } else {
    request.stop.strings.push_back(value.text);
  }
}

void read_stop(Fields& fields, RequestBase& request) {
  if (const JsonValue* stop = fields.get("stop")) {
    if (!stop->is(JsonKind::kArray) && !stop->is(JsonKind::kString)) {
      fields.error().note(Cause::kMalformed, "stop", "expected string or array of strings");
    } else if (stop->items.size() > kMostStops) {
      fields.error().note(Cause::kInvalidValue, "stop", fmt::format("expected at most {} strings", kMostStops));
    } else if (stop->is(JsonKind::kString)) {
      add_stop(fields, *stop, "stop", request);
    } else {
      for (std::size_t i = 0; i < stop->items.size(); ++i) {
        add_stop(fields, stop->items[i], fmt::format("stop[{}]", i), request);
      }
    }
  }
  if (const JsonValue* ids = fields.array("stop_token_ids")) {
    if (ids->items.size() > kMostStops) {
      fields.error().note(Cause::kInvalidValue, "stop_token_ids", fmt::format("expected at most {} ids", kMostStops));
      return;
    }
    for (const JsonValue& item : ids->items) {
      const auto id = token_id(item, *request.model);
      if (id) {
        request.stop.token_ids.push_back(*id);
      } else {
        fields.error().note(Cause::kInvalidValue, "stop_token_ids",
                            fmt::format("expected token ids below {}", request.model->vocab_size));
      }
    }
  }
  set(request.stop.include_in_output, fields.flag("include_stop_str_in_output"));
  set(request.stop.ignore_eos, fields.flag("ignore_eos"));
}

void read_stream(Fields& fields, RequestBase& request) {
  set(request.stream.on, fields.flag("stream"));
  set(request.stream.progress, fields.flag("return_progress"));
  const JsonValue* options = fields.object("stream_options");
  if (options == nullptr) return;
  Fields inner(*options, "stream_options", fields.error());
  set(request.stream.include_usage, inner.flag("include_usage"));
  if (request.stream.on) return;
  request.stream.include_usage = false;
  if (request.family == Family::kDeepSeek) {
    fields.error().note(Cause::kInvalidValue, "stream_options", "only allowed when stream is true");
  }
}

void read_identity(Fields& fields, RequestBase& request) {
  for (const std::string_view key : {"user_id", "user", "safety_identifier"}) {
    const auto user = fields.string(key);
    if (!user) continue;
    if (user->size() > kLongestUser) {
      fields.error().note_whole(Cause::kInvalidValue, key,
                                fmt::format("Invalid '{}': string too long. Expected a string with maximum length {}, "
                                            "but got a string with length {} instead.",
                                            key, kLongestUser, user->size()));
    } else if (user->empty() && key == "user_id") {
      fields.error().note(Cause::kInvalidValue, key, "expected string of at least 1 byte");
    }
    if (request.user.empty()) request.user = *user;
  }
  set(request.cache_salt, fields.string("cache_salt"));
  set(request.use_cache, fields.flag("cache_prompt"));
  const JsonValue* metadata = fields.object("metadata");
  if (metadata == nullptr) return;
  bool fits = metadata->members.size() <= 16;
  for (const text::JsonMember& member : metadata->members) {
    fits = fits && member.key.size() <= 64 && member.value.is(JsonKind::kString) && member.value.text.size() <= 512;
  }
  if (!fits) {
    fields.error().note(Cause::kInvalidValue, "metadata", "expected at most 16 keys of 64 bytes with strings of 512");
  }
}

void read_priority(Fields& fields, RequestBase& request) {
  set(request.priority, fields.integer("priority", -100, 100));
  const auto tier = fields.string("service_tier");
  if (!tier) return;
  if (*tier == "flex") {
    request.priority += 10;
  } else if (*tier == "priority" || *tier == "fast") {
    request.priority -= 10;
  } else {
    fields.ignore("service_tier");
  }
}

void read_unused(Fields& fields) {
  for (const std::string_view key : {"store",
                                     "prediction",
                                     "verbosity",
                                     "prompt_cache_key",
                                     "prompt_cache_retention",
                                     "prompt_cache_options",
                                     "moderation",
                                     "request_id",
                                     "id_slot",
                                     "samplers",
                                     "typical_p",
                                     "dry_multiplier",
                                     "dry_base",
                                     "dry_allowed_length",
                                     "dry_penalty_last_n",
                                     "dry_sequence_breakers",
                                     "xtc_probability",
                                     "xtc_threshold",
                                     "mirostat",
                                     "mirostat_tau",
                                     "mirostat_eta",
                                     "timings_per_token",
                                     "return_token_ids",
                                     "return_tokens_as_token_ids"}) {
    fields.ignore(key);
  }
  constexpr std::string_view kNoSuch = "not supported; leave it out";
  for (const std::string_view key : {"audio", "web_search_options", "mm_processor_kwargs", "prompt_logprobs",
                                     "lora_path", "truncate_prompt_tokens"}) {
    fields.forbid(key, kNoSuch);
  }
  for (const std::string_view key : {"structured_outputs", "guided_json", "guided_regex", "guided_choice",
                                     "guided_grammar", "regex", "ebnf", "json_schema", "grammar"}) {
    fields.forbid(key, "this server cannot constrain answers this way; leave it out");
  }
  if (fields.flag("use_beam_search").value_or(false)) {
    fields.error().note(Cause::kInvalidValue, "use_beam_search", "not supported; set it to false");
  }
}

}  // namespace

ModelChoice read_model(Family family, Fields& fields, const RequestSettings& settings) {
  const auto name = fields.string("model");
  if (fields.error().any()) return {};
  const auto choice = settings.models->choose(family, name);
  if (choice) return *choice;
  fields.error().note_whole(choice.error().cause, choice.error().param, choice.error().message);
  return {};
}

void read_base(Fields& fields, const RequestSettings& settings, RequestBase& request) {
  read_sampling(fields, request);
  read_logit_bias(fields, request);
  read_stop(fields, request);
  read_stream(fields, request);
  read_identity(fields, request);
  read_priority(fields, request);
  set(request.choices, fields.integer("n", 1, settings.max_choices));
  if (const auto best = fields.integer("best_of", 1, settings.max_choices); best && *best != request.choices) {
    fields.error().note(Cause::kInvalidValue, "best_of", "must be equal to n");
  }
  set(request.min_tokens, fields.integer("min_tokens", 0, request.model->max_output));
  set(request.skip_special_tokens, fields.flag("skip_special_tokens"));
  read_unused(fields);
}

void read_max_tokens(Fields& fields, std::string_view key, std::int64_t least, std::int64_t most,
                     RequestBase& request) {
  const bool clamps = request.family == Family::kOpenAi;
  const auto value = fields.integer(key, least, clamps ? kHighest : most);
  if (!value) return;
  request.max_tokens = std::min(*value, most);
  request.max_tokens_clamped = *value > most;
}

void apply_policy(Fields& fields, const RequestSettings& settings, bool thinking, RequestBase& request) {
  const SamplingPolicy own = request.family == Family::kDeepSeek ? SamplingPolicy::kOfficial : SamplingPolicy::kClient;
  if (settings.policy.value_or(own) == SamplingPolicy::kClient) return;
  Sampling& sampling = request.sampling;
  for (const std::string_view key : {"presence_penalty", "frequency_penalty"}) fields.ignore(key);
  sampling.presence_penalty = 0;
  sampling.frequency_penalty = 0;
  if (thinking) {
    fields.ignore("temperature");
    sampling.temperature = 1;
    if (sampling.top_p < 0.95) {
      fields.ignore("top_p");
      sampling.top_p = 0.95;
    }
  } else {
    fields.ignore("top_p");
    sampling.top_p = 1;
  }
}

void finish_fields(Fields& fields, const RequestSettings& settings, RequestBase& request) {
  request.ignored = fields.ignored();
  if (!settings.strict_fields) return;
  if (const auto unknown = fields.unknown())
    fields.error().note(Cause::kInvalidValue, excerpt(*unknown), "unknown field");
}

ApiResult<std::int64_t> fit_to_context(const RequestBase& request, std::int64_t prompt_tokens) {
  const std::int64_t context = request.model->context;
  if (prompt_tokens >= context) {
    return refuse(
        Cause::kPromptTooLong,
        fmt::format("This model's maximum context length is {} tokens, but the prompt has {} tokens; shorten it",
                    context, prompt_tokens));
  }
  return std::min(request.max_tokens, context - prompt_tokens);
}

}  // namespace hadal::api
