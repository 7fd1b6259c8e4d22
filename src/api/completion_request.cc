#include <fmt/core.h>

#include <algorithm>

#include "api/base_fields.h"

namespace hadal::api {
namespace {

using text::JsonKind;
using text::JsonValue;

constexpr std::size_t kMostPrompts = 64;
constexpr std::int64_t kMostDeepSeek = 4'096;
constexpr std::int64_t kDefaultOpenAi = 16;

bool is_list_of(const JsonValue& value, JsonKind kind) {
  if (!value.is(JsonKind::kArray) || value.items.empty()) return false;
  for (const JsonValue& item : value.items) {
    if (!item.is(kind)) return false;
  }
  return true;
}

void add_ids(Fields& fields, const JsonValue& list, const std::string& path, CompletionRequest& request) {
  CompletionPrompt& prompt = request.prompts.emplace_back();
  prompt.is_ids = true;
  prompt.ids.reserve(list.items.size());
  for (const JsonValue& item : list.items) {
    const auto id = to_integer(item);
    if (!id || *id < 0 || *id >= request.model->vocab_size) {
      fields.error().note(Cause::kInvalidValue, path,
                          fmt::format("expected token ids below {}", request.model->vocab_size));
      return;
    }
    prompt.ids.push_back(static_cast<std::int32_t>(*id));
  }
}

void read_prompts(Fields& fields, CompletionRequest& request) {
  const JsonValue* value = fields.get("prompt");
  if (value == nullptr) {
    fields.error().note(Cause::kMalformed, "prompt", "expected string, array of strings or array of token ids");
  } else if (value->is(JsonKind::kString)) {
    request.prompts.push_back({.text = value->text});
  } else if (is_list_of(*value, JsonKind::kNumber)) {
    add_ids(fields, *value, "prompt", request);
  } else if (value->is(JsonKind::kArray) && value->items.size() > kMostPrompts) {
    fields.error().note(Cause::kInvalidValue, "prompt", fmt::format("expected at most {} prompts", kMostPrompts));
  } else if (is_list_of(*value, JsonKind::kString)) {
    for (const JsonValue& item : value->items) request.prompts.push_back({.text = item.text});
  } else if (is_list_of(*value, JsonKind::kArray)) {
    for (std::size_t i = 0; i < value->items.size(); ++i) {
      const std::string path = fmt::format("prompt[{}]", i);
      if (is_list_of(value->items[i], JsonKind::kNumber)) {
        add_ids(fields, value->items[i], path, request);
      } else {
        fields.error().note(Cause::kMalformed, path, "expected array of token ids");
      }
    }
  } else {
    fields.error().note(Cause::kMalformed, "prompt", "expected string, array of strings or array of token ids");
  }
}

void read_limits(Fields& fields, CompletionRequest& request) {
  const bool deepseek = request.family == Family::kDeepSeek;
  const std::int64_t most = deepseek ? std::min(kMostDeepSeek, request.model->max_output) : request.model->max_output;
  request.max_tokens = deepseek ? most : std::min(kDefaultOpenAi, most);
  read_max_tokens(fields, "max_tokens", deepseek ? 1 : 0, most, request);
}

void read_suffix_and_echo(Fields& fields, CompletionRequest& request) {
  request.suffix = fields.string("suffix");
  request.echo = fields.flag("echo").value_or(false);
  if (!request.suffix) return;
  if (request.echo) fields.error().note(Cause::kInvalidValue, "echo", "not allowed together with suffix");
  if (request.prompts.size() > 1 || (!request.prompts.empty() && request.prompts[0].is_ids)) {
    fields.error().note(Cause::kInvalidValue, "suffix", "only allowed with one prompt that is a string");
  }
}

}  // namespace

ApiResult<CompletionRequest> read_completion(Family family, const JsonValue& body, const RequestSettings& settings) {
  FirstError error;
  Fields fields(body, "", error);
  const ModelChoice choice = read_model(family, fields, settings);
  if (error.any()) return error.take();
  CompletionRequest request;
  request.family = family;
  request.model = choice.model;
  read_prompts(fields, request);
  read_base(fields, settings, request);
  read_limits(fields, request);
  if (const auto top = fields.integer("logprobs", 0, 20)) request.logprobs = {.on = true, .top = *top};
  read_suffix_and_echo(fields, request);
  for (const std::string_view key :
       {"thinking", "reasoning_effort", "reasoning", "think", "chat_template_kwargs", "thinking_token_budget"}) {
    fields.ignore(key);
  }
  apply_policy(fields, settings, false, request);
  finish_fields(fields, settings, request);
  if (error.any()) return error.take();
  return request;
}

}  // namespace hadal::api
