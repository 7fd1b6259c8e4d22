#include "server/answer_task.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "server/http_route.h"

namespace hadal::server {
namespace {

double seconds_between(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

/// How a choice ended as clients are told; nothing: by an error.
std::optional<api::Ending> ending(const engine::RequestResult& result) {
  if (!result.status) {
    if (result.status.error().code == ErrorCode::kUnavailable) return api::Ending::kNoResources;
    return std::nullopt;
  }
  switch (result.reason) {
    case engine::FinishReason::kStopToken:
      return api::Ending::kEos;
    case engine::FinishReason::kStopString:
      return api::Ending::kStopString;
    case engine::FinishReason::kMaxTokens:
      return api::Ending::kMaxTokens;
    case engine::FinishReason::kContextFull:
      return api::Ending::kContextFull;
    case engine::FinishReason::kCancelled:
      return api::Ending::kAborted;
    case engine::FinishReason::kNone:
    case engine::FinishReason::kError:
      break;
  }
  return std::nullopt;
}

api::ApiError api_error(const Status& status) {
  const ErrorCode code = status ? ErrorCode::kInternal : status.error().code;
  switch (code) {
    case ErrorCode::kResourceExhausted:
      return {api::Cause::kOverloaded, "The server has too many requests waiting. Please try again later."};
    case ErrorCode::kUnavailable:
      return {api::Cause::kOverloaded, "The server is shutting down."};
    case ErrorCode::kDeadlineExceeded:
      return {api::Cause::kTimeLimit, "The request took longer than it may."};
    case ErrorCode::kInvalidArgument:
      return {api::Cause::kInvalidValue, status.error().message};
    default:
      return {api::Cause::kInternal, "Internal error."};
  }
}

}  // namespace

/// One choice as the engine sees it.
class AnswerTask::Sink final : public engine::RequestSink {
 public:
  Sink(std::shared_ptr<AnswerTask> task, std::size_t choice) : task_(std::move(task)), choice_(choice) {}

  Status prefilled(std::int64_t done, std::int64_t total) override { return task_->prefilled(choice_, done, total); }
  Status prompt_token(std::span<const engine::TokenLogprob> logprobs) override {
    task_->prompt_token(choice_, logprobs);
    return {};
  }
  Result<bool> token(const engine::TokenEvent& event) override { return task_->token(choice_, event); }
  Status tail(std::string_view /*text*/) override { return {}; }  // the task reads the tokens itself
  void admitted(const engine::Admission& admission) override { task_->admitted(choice_, admission); }
  bool ready() const override { return task_->setting_.response->ready(); }
  void finished(const engine::RequestResult& result) override { task_->finished(choice_, result); }

 private:
  std::shared_ptr<AnswerTask> task_;
  std::size_t choice_;
};

AnswerTask::AnswerTask(const ServedEngine& served, AnswerSetting setting, std::size_t choices)
    : served_(served), setting_(std::move(setting)) {
  for (std::size_t i = 0; i < choices; ++i) choices_.push_back({.pieces = api::PieceReader(*served.tokenizer)});
  outcome_.usage.prompt = setting_.prompt_tokens;
  outcome_.usage.thinking = setting_.thinking;
}

std::shared_ptr<AnswerTask> AnswerTask::start(const ServedEngine& served, AnswerSetting setting,
                                              std::vector<engine::ServiceRequest> choices) {
  auto task = std::make_shared<AnswerTask>(served, std::move(setting), choices.size());
  task->submit(std::move(choices));
  task->watch();
  return task;
}

void AnswerTask::submit(std::vector<engine::ServiceRequest> choices) {
  const std::lock_guard lock(mutex_);  // events of the first choices wait until all are accepted
  for (std::size_t i = 0; i < choices.size(); ++i) {
    Result<engine::RequestId> id =
        served_.service->submit(std::move(choices[i]), std::make_shared<Sink>(shared_from_this(), i));
    if (!id) {
      cancel_choices();
      setting_.response->respond(error_response(setting_.family, api_error(tl::unexpected<Error>(id.error()))));
      failed_ = true;
      outcome_.failure = api_error(tl::unexpected<Error>(id.error())).cause;
      if (open_ == 0) conclude();
      return;
    }
    choices_[i].id = *id;
    ++open_;
  }
  if (setting_.streams) {
    setting_.response->begin(setting_.head, std::string(api::kKeepAlive));
  } else {
    setting_.response->expect(setting_.head);
  }
}

void AnswerTask::watch() {
  const std::weak_ptr<AnswerTask> task = weak_from_this();
  engine::Service* const service = served_.service;
  setting_.response->watch({.gone =
                                [task] {
                                  if (const auto alive = task.lock()) alive->leave();
                                },
                            .ready = [service] { service->wake(); }});
}

void AnswerTask::leave() {
  const std::lock_guard lock(mutex_);
  left_ = true;
  cancel_choices();
}

void AnswerTask::end(const api::ApiError& error) {
  const std::lock_guard lock(mutex_);
  if (failed_ || left_ || open_ == 0) return;
  fail(error);
  outcome_.failure.reset();
  outcome_.finish = "abort";
  cancel_choices();
}

void AnswerTask::cancel_choices() {
  for (const Choice& choice : choices_) {
    if (choice.id != 0 && !choice.ended) served_.service->cancel(choice.id);
  }
}

void AnswerTask::write(const std::string& out) {
  if (!out.empty() && !failed_) setting_.response->write(out);
}

void AnswerTask::admitted(std::size_t index, const engine::Admission& admission) {
  const std::lock_guard lock(mutex_);
  if (failed_) return;
  const auto choice = static_cast<std::int64_t>(index);
  if (choice % setting_.choices_per_prompt == 0) outcome_.usage.cached += admission.cached_tokens;
  if (index == 0) {
    setting_.observer->queued(admission.queue_seconds);
    setting_.response->note([&](RequestNotes& notes) { notes.queue_seconds = admission.queue_seconds; });
  }
  std::string out;
  choices_[index].begun = true;
  setting_.writer->begin(choice, out);
  if (setting_.reports_progress) {
    setting_.writer->progress(
        choice,
        {.total = admission.prompt_tokens, .cached = admission.cached_tokens, .processed = admission.cached_tokens},
        out);
  }
  write(out);
}

Status AnswerTask::prefilled(std::size_t index, std::int64_t done, std::int64_t total) {
  const std::lock_guard lock(mutex_);
  if (failed_) return hadal::fail(ErrorCode::kCancelled, "another choice of the request failed");
  if (!setting_.reports_progress) return {};
  std::string out;
  const std::int64_t cached = setting_.prompt_tokens - total;
  const double seconds = seconds_between(setting_.arrived, Clock::now());
  setting_.writer->progress(static_cast<std::int64_t>(index),
                            {.total = setting_.prompt_tokens,
                             .cached = std::max<std::int64_t>(cached, 0),
                             .processed = std::max<std::int64_t>(cached, 0) + done,
                             .milliseconds = static_cast<std::int64_t>(seconds * 1000)},
                            out);
  write(out);
  return {};
}

api::TokenLogprob AnswerTask::logprob(std::span<const engine::TokenLogprob> logprobs) const {
  api::TokenLogprob made;
  const auto fill = [this](api::TokenProbability& out, const engine::TokenLogprob& in) {
    out.bytes = served_.tokenizer->token_bytes(static_cast<std::int32_t>(in.token));
    out.logprob = in.logprob;
  };
  if (logprobs.empty()) return made;
  fill(made, logprobs.front());
  for (const engine::TokenLogprob& other : logprobs.subspan(1)) fill(made.top.emplace_back(), other);
  return made;
}

void AnswerTask::prompt_token(std::size_t index, std::span<const engine::TokenLogprob> logprobs) {
  const std::lock_guard lock(mutex_);
  std::vector<api::TokenLogprob>& prompt = choices_[index].prompt;
  if (prompt.empty()) prompt.emplace_back();  // nothing stands before the first token
  prompt.push_back(logprob(logprobs));
}

void AnswerTask::show_prompt(std::size_t index, std::string& out) {
  Choice& choice = choices_[index];
  if (choice.shown) return;
  choice.shown = true;
  setting_.writer->echo(static_cast<std::int64_t>(index), std::move(choice.prompt), out);
}

void AnswerTask::note_time() {
  const Clock::time_point now = Clock::now();
  if (!last_token_) {
    const double seconds = seconds_between(setting_.arrived, now);
    setting_.observer->first_token(seconds);
    setting_.response->note([&](RequestNotes& notes) { notes.first_token_seconds = seconds; });
  } else {
    setting_.observer->next_token(seconds_between(*last_token_, now));
  }
  last_token_ = now;
}

bool AnswerTask::token(std::size_t index, const engine::TokenEvent& event) {
  const std::lock_guard lock(mutex_);
  if (failed_ || left_) return true;
  note_time();
  if (event.ends) return false;
  std::string out;
  show_prompt(index, out);
  const bool ended = setting_.writer->push(static_cast<std::int64_t>(index),
                                           choices_[index].pieces.read(static_cast<std::int32_t>(event.token)),
                                           logprob(event.logprobs), out);
  write(out);
  return ended;
}

void AnswerTask::finished(std::size_t index, const engine::RequestResult& result) {
  const std::lock_guard lock(mutex_);
  choices_[index].ended = true;
  --open_;
  outcome_.usage.completion += result.statistics.answer_tokens;
  outcome_.usage.reasoning += result.statistics.reasoning_tokens;
  setting_.observer->answer(index, result.tokens);
  if (!failed_ && !left_) end_choice(index, result);
  if (open_ == 0) conclude();
}

void AnswerTask::end_choice(std::size_t index, const engine::RequestResult& result) {
  const std::optional<api::Ending> how = ending(result);
  if (!how || (!choices_[index].begun && !result.status)) {
    if (!how) log::error("an answer failed: {}", result.status ? "no reason" : result.status.error().message);
    fail(api_error(result.status));
    return;
  }
  std::string out;
  const auto choice = static_cast<std::int64_t>(index);
  show_prompt(index, out);
  const auto reason = setting_.writer->end(choice, *how, choices_[index].pieces.finish(), out);
  if (!reason) {
    fail(api_error(result.status));
    return;
  }
  outcome_.finish = *reason;
  if (const auto turn = setting_.writer->turn(choice)) {
    std::span<const std::int64_t> tokens = result.tokens;
    if (result.reason == engine::FinishReason::kStopToken) tokens = tokens.first(tokens.size() - 1);
    setting_.observer->turn(*turn, tokens);
  }
  setting_.writer->finish(choice, *reason, outcome_.usage, out);
  write(out);
}

void AnswerTask::fail(const api::ApiError& error) {
  failed_ = true;
  outcome_.failure = error.cause;
  outcome_.finish = "error";
  if (setting_.streams) {
    setting_.response->write(api::error_event(setting_.family, error));
    setting_.response->finish();
  } else {
    setting_.response->respond(error_response(setting_.family, error));
  }
}

void AnswerTask::conclude() {
  if (left_ && !failed_) outcome_.finish = "abort";
  if (!failed_ && !left_) {
    if (setting_.streams) {
      setting_.response->finish();
    } else {
      Response whole = setting_.head;
      whole.body = setting_.writer->body(outcome_.usage);
      setting_.response->respond(std::move(whole));
    }
  }
  setting_.response->note([this](RequestNotes& notes) {
    notes.finish = outcome_.finish;
    notes.prompt_tokens = outcome_.usage.prompt;
    notes.cached_tokens = outcome_.usage.cached;
    notes.answer_tokens = outcome_.usage.completion;
    notes.reasoning_tokens = outcome_.usage.reasoning;
  });
  setting_.observer->ended(outcome_);
}

}  // namespace hadal::server
