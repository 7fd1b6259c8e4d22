#include "server/inference_handlers.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "api/prompt.h"
#include "server/answer_account.h"
#include "server/answer_task.h"
#include "server/generation_request.h"

namespace hadal::server {
namespace {

template <class T>
using Tried = tl::expected<T, Refusal>;

template <class T>
Tried<T> tried(api::ApiResult<T> result) {
  return std::move(result).map_error([](api::ApiError error) { return refusal(std::move(error)); });
}

/// One request on its way from the body to the engine.
class Inference {
 public:
  Inference(const ApiContext& context, const HttpRequest& request, std::shared_ptr<ResponseStream> answer)
      : context_(context), request_(request), answer_(std::move(answer)) {}

  [[nodiscard]] Tried<void> chat();
  [[nodiscard]] Tried<void> completion();

 private:
  [[nodiscard]] Tried<void> check_model(const api::RequestBase& request);
  /// Reserves the tokens and notes the admission.
  [[nodiscard]] Tried<void> admit(const api::RequestBase& request, std::int64_t prompt_tokens, std::int64_t max_tokens);
  [[nodiscard]] Caller caller_of(const api::RequestBase& request) const;
  [[nodiscard]] Response head(const api::RequestBase& request, std::int64_t max_tokens) const;
  [[nodiscard]] AnswerSetting setting(const api::RequestBase& request, std::int64_t prompt_tokens,
                                      std::int64_t max_tokens, ReplayPlace replay, std::span<const PromptIds> prompts);
  /// None, unless the text of requests is to be written down.
  [[nodiscard]] std::optional<ContentNote> content_note(const api::RequestBase& request,
                                                        std::span<const PromptIds> prompts) const;
  void start(AnswerSetting setting, std::vector<engine::ServiceRequest> choices);

  const ApiContext& context_;
  const HttpRequest& request_;
  std::shared_ptr<ResponseStream> answer_;
  std::chrono::steady_clock::time_point arrived_ = std::chrono::steady_clock::now();
  std::uint64_t seed_ = 0;
  LedgerRequest ledger_request_;
};

Tried<void> Inference::check_model(const api::RequestBase& request) {
  const Identity& identity = caller(request_).identity;
  answer_->note([&](RequestNotes& notes) { notes.model = request.model->id; });
  if (identity.may_use(request.model->id)) return {};
  return tl::unexpected(refusal(
      {api::Cause::kNotPermitted, fmt::format("This key may not use the model {}.", request.model->id), "model"}));
}

Tried<void> Inference::admit(const api::RequestBase& request, std::int64_t prompt_tokens, std::int64_t max_tokens) {
  answer_->note([&](RequestNotes& notes) {
    notes.max_tokens = max_tokens;
    notes.choices = request.choices;
  });
  CallerPass& pass = caller(request_);
  if (auto refused = pass.lease.reserve(prompt_tokens, max_tokens, Clock::now())) {
    return tl::unexpected(std::move(*refused));
  }
  seed_ = request.sampling.seed ? static_cast<std::uint64_t>(*request.sampling.seed) : context_.random() >> 1U;
  if (context_.ledger == nullptr) return {};
  ledger_request_ = {.id = request_.id,
                     .account = pass.identity.account.id,
                     .key = pass.identity.key.id,
                     .key_name = pass.identity.name,
                     .model = request.model->id,
                     .family = request.family == api::Family::kDeepSeek ? "deepseek" : "openai",
                     .prompt_tokens = prompt_tokens,
                     .time = std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::system_clock::now())};
  if (const Status admitted = context_.ledger->admit(ledger_request_); !admitted) {
    return tl::unexpected(Refusal{
        .error = {api::Cause::kOverloaded, "The server cannot write its ledger at the moment. Please try again later."},
        .retry_after = 5,
        .label = "ledger"});
  }
  return {};
}

Caller Inference::caller_of(const api::RequestBase& request) const {
  const Identity& identity = caller(request_).identity;
  const CacheIsolation isolation = context_.isolation.value_or(
      request.family == api::Family::kDeepSeek ? CacheIsolation::kUser : CacheIsolation::kKey);
  return {.domain = prefix_domain(isolation, identity.key.id, request.user, request.cache_salt),
          .client = identity.key.id + '\n' + request.user,
          .priority = identity.priority};
}

Response Inference::head(const api::RequestBase& request, std::int64_t max_tokens) const {
  Response made;
  if (request.stream.on) {
    made.content_type = "text/event-stream; charset=utf-8";
    made.headers = {{"cache-control", "no-cache"}, {"x-accel-buffering", "no"}};
  }
  if (!request.ignored.empty()) {
    made.headers.push_back({"x-hadal-ignored", fmt::format("{}", fmt::join(request.ignored, ", "))});
  }
  if (max_tokens < request.max_tokens || request.max_tokens_clamped)
    made.headers.push_back({"x-hadal-max-tokens", fmt::format("{}", max_tokens)});
  made.headers.push_back({"x-hadal-seed", fmt::format("{}", static_cast<std::int64_t>(seed_))});
  made.headers.push_back({"x-hadal-model", request.model->id});
  return made;
}

std::optional<ContentNote> Inference::content_note(const api::RequestBase& request,
                                                   std::span<const PromptIds> prompts) const {
  if (context_.content_log == nullptr) return std::nullopt;
  ContentNote note(*context_.content_log, *context_.served.tokenizer,
                   {.time = std::chrono::system_clock::now(),
                    .id = request_.id,
                    .key = caller(request_).identity.key.id,
                    .model = request.model->id});
  for (const PromptIds& prompt : prompts) note.prompt(prompt.ids);
  return note;
}

AnswerSetting Inference::setting(const api::RequestBase& request, std::int64_t prompt_tokens, std::int64_t max_tokens,
                                 ReplayPlace replay, std::span<const PromptIds> prompts) {
  return {.response = answer_,
          .writer = nullptr,
          .observer = std::make_unique<AnswerAccount>(context_.ledger, context_.metrics, std::move(ledger_request_),
                                                      std::move(caller(request_).lease), std::move(replay),
                                                      content_note(request, prompts)),
          .family = request.family,
          .streams = request.stream.on,
          .prompt_tokens = prompt_tokens,
          .choices_per_prompt = request.choices,
          .head = head(request, max_tokens),
          .arrived = arrived_};
}

void Inference::start(AnswerSetting setting, std::vector<engine::ServiceRequest> choices) {
  for (engine::ServiceRequest& choice : choices) {
    choice.deadline = arrived_ + context_.request_time;
    choice.queue_deadline = arrived_ + context_.queue_time;
  }
  const auto task = AnswerTask::start(context_.served, std::move(setting), std::move(choices));
  if (context_.running != nullptr) context_.running->add(caller(request_).identity.key.id, task);
}

api::AnswerHead answer_head(const ApiContext& context, const api::RequestBase& request, std::string id) {
  return {
      .family = request.family,
      .id = std::move(id),
      .created =
          std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count(),
      .model = request.model->id,
      .fingerprint = context.served.fingerprint};
}

Tried<void> Inference::chat() {
  const auto body = tried(api::read_body(request_.body, context_.body_limits));
  if (!body) return tl::unexpected(body.error());
  const auto chat = tried(api::read_chat(request_.family, *body, context_.settings));
  if (!chat) return tl::unexpected(chat.error());
  if (context_.metrics != nullptr) context_.metrics->reasoning_missing(chat->reasoning_missing);
  if (auto checked = check_model(*chat); !checked) return checked;
  const auto rendered = tried(api::render_prompt(*chat));
  if (!rendered) return tl::unexpected(rendered.error());
  const Caller who = caller_of(*chat);
  const std::string domain = replay_domain(who.domain);
  const auto encoded = tried(api::encode_chat(*context_.served.tokenizer, *chat, *rendered, context_.replays, domain));
  if (!encoded) return tl::unexpected(encoded.error());
  const PromptIds prompt{.ids = {encoded->ids.begin(), encoded->ids.end()},
                         .inside_reasoning = rendered->inside_reasoning,
                         .marks = encoded->marks};
  const std::int64_t prompt_tokens = std::ssize(prompt.ids);
  const auto max_tokens = tried(api::fit_to_context(*chat, prompt_tokens));
  if (!max_tokens) return tl::unexpected(max_tokens.error());
  const auto constraint = tried(answer_constraint(context_.served, *chat));
  if (!constraint) return tl::unexpected(constraint.error());
  if (auto admitted = admit(*chat, prompt_tokens, *max_tokens); !admitted) return admitted;

  std::vector<engine::ServiceRequest> choices;
  for (std::int64_t i = 0; i < chat->choices; ++i) {
    choices.push_back(engine_request(context_.served, *chat, prompt, who, *max_tokens, seed_, i));
    choices.back().options.constraint = *constraint;
    // Nothing can follow the end of a form but the end of the answer, also with ignore_eos.
    if (*constraint) choices.back().options.stop_tokens = context_.served.stop_tokens;
  }
  AnswerSetting made = setting(
      *chat, prompt_tokens, *max_tokens,
      {.map = context_.replays, .domain = domain, .prompt = encoded->name, .opened = encoded->opened}, {&prompt, 1});
  made.reports_progress = chat->stream.progress;
  made.thinking = chat->thinking.on;
  made.writer = chat_writer(*chat, answer_head(context_, *chat, api::chat_id(chat->family, context_.random)),
                            rendered->inside_reasoning, context_.random);
  start(std::move(made), std::move(choices));
  return {};
}

Tried<void> Inference::completion() {
  const auto body = tried(api::read_body(request_.body, context_.body_limits));
  if (!body) return tl::unexpected(body.error());
  const auto asked = tried(api::read_completion(request_.family, *body, context_.settings));
  if (!asked) return tl::unexpected(asked.error());
  if (auto checked = check_model(*asked); !checked) return checked;
  const text::Tokenizer& tokenizer = *context_.served.tokenizer;
  const bool raw = caller(request_).identity.may(Permission::kRaw);
  std::vector<PromptIds> prompts;
  std::vector<ShownPrompt> shown;
  std::int64_t prompt_tokens = 0;
  std::int64_t max_tokens = asked->max_tokens;
  for (const api::CompletionPrompt& prompt : asked->prompts) {
    const auto ids = tried(api::encode(tokenizer, *asked, prompt, raw));
    if (!ids) return tl::unexpected(ids.error());
    const auto fits = tried(api::fit_to_context(*asked, static_cast<std::int64_t>(ids->size())));
    if (!fits) return tl::unexpected(fits.error());
    max_tokens = std::min(max_tokens, *fits);
    prompt_tokens += static_cast<std::int64_t>(ids->size());
    prompts.push_back({.ids = {ids->begin(), ids->end()}});
    shown.push_back(
        {.text = prompt.is_ids ? tokenizer.decode(*ids).value_or(std::string()) : prompt.text, .ids = *ids});
  }
  if (auto admitted = admit(*asked, prompt_tokens, max_tokens); !admitted) return admitted;

  const Caller who = caller_of(*asked);
  std::vector<engine::ServiceRequest> choices;
  for (const PromptIds& prompt : prompts) {
    for (std::int64_t i = 0; i < asked->choices; ++i) {
      choices.push_back(engine_request(context_.served, *asked, prompt, who, max_tokens, seed_,
                                       static_cast<std::int64_t>(choices.size())));
      if (!asked->echo || !asked->logprobs.on) continue;
      choices.back().options.prompt_logprobs = true;
      choices.back().use_cache = false;  // kept states have no logits
    }
  }
  AnswerSetting made = setting(*asked, prompt_tokens, max_tokens, {}, prompts);
  made.writer =
      completion_writer(*asked, answer_head(context_, *asked, api::completion_id(asked->family, context_.random)),
                        tokenizer, std::move(shown));
  start(std::move(made), std::move(choices));
  return {};
}

}  // namespace

std::vector<Route> inference_routes(const ApiContext& context) {
  const auto route = [&context](api::Family family, std::string path, Tried<void> (Inference::*work)()) {
    return Route{
        .method = "POST",
        .path = std::move(path),
        .family = family,
        .access = Access::kInfer,
        .handler = [&context, work](const HttpRequest& request, const std::shared_ptr<ResponseStream>& answer) {
          const auto done = (Inference(context, request, answer).*work)();
          if (!done) refuse(*answer, request.family, done.error());
        }};
  };
  using enum api::Family;
  return {route(kDeepSeek, "/chat/completions", &Inference::chat),
          route(kDeepSeek, "/beta/chat/completions", &Inference::chat),
          route(kOpenAi, "/v1/chat/completions", &Inference::chat),
          route(kDeepSeek, "/completions", &Inference::completion),
          route(kDeepSeek, "/beta/completions", &Inference::completion),
          route(kOpenAi, "/v1/completions", &Inference::completion)};
}

}  // namespace hadal::server
