#include "server/generation_request.h"

#include <limits>

#include "engine/json_constraint.h"
#include "engine/tool_call_constraint.h"

namespace hadal::server {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

engine::SamplingOptions sampling_options(const api::RequestBase& request, std::uint64_t seed, std::int64_t choice) {
  engine::SamplingOptions options{.temperature = request.sampling.temperature,
                                  .top_k = request.sampling.top_k,
                                  .top_p = request.sampling.top_p,
                                  .min_p = request.sampling.min_p,
                                  .repetition_penalty = request.sampling.repetition_penalty,
                                  .presence_penalty = request.sampling.presence_penalty,
                                  .frequency_penalty = request.sampling.frequency_penalty,
                                  .seed = seed,
                                  .choice = static_cast<std::uint32_t>(choice),
                                  .logprobs = request.logprobs.on ? request.logprobs.top : -1};
  for (const auto& [token, bias] : request.sampling.logit_bias) options.logit_bias.push_back({token, bias});
  return options;
}

engine::ServiceRequest base_request(const ServedEngine& served, const api::RequestBase& request,
                                    const PromptIds& prompt, const Caller& caller, std::int64_t max_tokens,
                                    std::uint64_t seed, std::int64_t choice) {
  engine::ServiceRequest made{.prompt = prompt.ids,
                              .domain = caller.domain,
                              .use_cache = request.use_cache,
                              .marks = prompt.marks,
                              .client = caller.client,
                              .priority = caller.priority + request.priority};
  made.options.sampling = sampling_options(request, seed, choice);
  made.options.max_tokens = max_tokens;
  made.options.min_tokens = request.min_tokens;
  made.options.drafts = served.drafts;
  if (!request.stop.ignore_eos) made.options.stop_tokens = served.stop_tokens;
  for (const std::int32_t id : request.stop.token_ids) made.options.stop_tokens.push_back(id);
  if (served.script) made.options.forced = served.script->next();
  return made;
}

/// Without thinking, the markers of reasoning cannot be chosen, so that none leaks into an answer.
void bar_reasoning(const MarkerTokens& markers, engine::SamplingOptions& sampling) {
  for (const auto& marker : {markers.think, markers.think_end}) {
    if (marker) sampling.logit_bias.push_back({*marker, kNever});
  }
}

/// Names of the functions that may be called.
std::vector<std::string> callable_names(const api::Tools& tools) {
  if (!tools.allowed.empty()) return tools.allowed;
  std::vector<std::string> names;
  for (const text::JsonValue& tool : tools.list) names.push_back(tool.find("function")->find("name")->text);
  return names;
}

}  // namespace

api::ApiResult<std::shared_ptr<const engine::AnswerConstraint>> answer_constraint(const ServedEngine& served,
                                                                                  const api::ChatRequest& request) {
  const bool calls = !request.tools.list.empty() && served.markers.dsml;
  const bool required = calls && request.tools.mode == api::ToolMode::kRequired;
  // A request for JSON that also has tools wants the JSON, unless it insists on a call.
  if (request.constraint == api::Constraint::kJsonObject && !required) {
    auto object = std::make_shared<engine::JsonConstraint>(served.sorted_tokens);
    if (request.continues && !object->begin_with(request.messages.back().content.text)) {
      return api::refuse(api::Cause::kInvalidValue, "messages: the last one is not the beginning of a JSON object",
                         "messages");
    }
    return object;
  }
  if (!calls) return nullptr;
  return std::make_shared<const engine::ToolCallConstraint>(
      served.sorted_tokens, engine::ToolCallRules{.mark = *served.markers.dsml,
                                                  .names = callable_names(request.tools),
                                                  .required = required,
                                                  .most_calls = request.tools.parallel ? 128 : 1});
}

engine::ServiceRequest engine_request(const ServedEngine& served, const api::ChatRequest& request,
                                      const PromptIds& prompt, const Caller& caller, std::int64_t max_tokens,
                                      std::uint64_t seed, std::int64_t choice) {
  engine::ServiceRequest made = base_request(served, request, prompt, caller, max_tokens, seed, choice);
  if (prompt.inside_reasoning && served.markers.think_end) {
    made.options.reasoning = {
        .inside = true, .end_token = *served.markers.think_end, .budget = request.thinking.budget.value_or(-1)};
  } else {
    bar_reasoning(served.markers, made.options.sampling);
  }
  return made;
}

engine::ServiceRequest engine_request(const ServedEngine& served, const api::CompletionRequest& request,
                                      const PromptIds& prompt, const Caller& caller, std::int64_t max_tokens,
                                      std::uint64_t seed, std::int64_t choice) {
  return base_request(served, request, prompt, caller, max_tokens, seed, choice);
}

}  // namespace hadal::server
