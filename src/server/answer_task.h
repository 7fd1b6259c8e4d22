#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/answer.h"
#include "api/error.h"
#include "engine/service_request.h"
#include "server/answer_writer.h"
#include "server/response_stream.h"
#include "server/served_model.h"

namespace hadal::server {

/// What a request came to, for accounts, figures and the log.
struct AnswerOutcome {
  api::Usage usage{};
  std::string_view finish = "error";  // stop, length, tool_calls, abort, error
  std::optional<api::Cause> failure{};
};

/// Told of what happens to a request, for figures. Called on the engine thread under the answer's lock.
class AnswerObserver {
 public:
  AnswerObserver() = default;
  AnswerObserver(const AnswerObserver&) = delete;
  AnswerObserver& operator=(const AnswerObserver&) = delete;
  virtual ~AnswerObserver() = default;

  virtual void queued(double seconds) = 0;
  /// Since the request came, or since the token before.
  virtual void first_token(double seconds) = 0;
  virtual void next_token(double seconds) = 0;
  /// A whole turn of a chat and the tokens that it was made of, without the stop token.
  virtual void turn(const api::TurnName& turn, std::span<const std::int64_t> tokens) = 0;
  /// All tokens of a choice, however it ended.
  virtual void answer(std::size_t choice, std::span<const std::int64_t> tokens) = 0;
  /// The last call, exactly once.
  virtual void ended(const AnswerOutcome& outcome) = 0;
};

struct AnswerSetting {
  std::shared_ptr<ResponseStream> response;
  std::unique_ptr<AnswerWriter> writer;
  std::unique_ptr<AnswerObserver> observer;
  api::Family family = api::Family::kDeepSeek;
  bool streams = false;
  bool reports_progress = false;
  std::int64_t prompt_tokens = 0;
  std::int64_t choices_per_prompt = 1;
  bool thinking = false;
  Response head{};  // of a good answer; its body is made here
  std::chrono::steady_clock::time_point arrived = std::chrono::steady_clock::now();
};

/// One request under way: its choices in the engine on one side, the client's answer on the other. Lives as long as
/// the engine works on it; ends the choices when the client leaves.
class AnswerTask : public std::enable_shared_from_this<AnswerTask> {
 public:
  /// Hands the choices to the engine, in order, and begins the answer; a refusal is answered at once. `served` outlives
  /// the task. Any thread.
  static std::shared_ptr<AnswerTask> start(const ServedEngine& served, AnswerSetting setting,
                                           std::vector<engine::ServiceRequest> choices);
  /// Ends what still runs of it, as its client's doing: `error` is what the client is told. Any thread.
  void end(const api::ApiError& error);

  AnswerTask(const ServedEngine& served, AnswerSetting setting, std::size_t choices);

 private:
  class Sink;
  using Clock = std::chrono::steady_clock;

  struct Choice {
    engine::RequestId id = 0;
    bool begun = false;
    bool ended = false;
    bool shown = false;                       // the writer has had its prompt
    std::vector<api::TokenLogprob> prompt{};  // of its prompt so far
    api::PieceReader pieces;
  };

  void submit(std::vector<engine::ServiceRequest> choices);
  void watch();
  void leave();
  void cancel_choices();
  // The events of one choice, on the engine thread.
  void admitted(std::size_t choice, const engine::Admission& admission);
  [[nodiscard]] Status prefilled(std::size_t choice, std::int64_t done, std::int64_t total);
  void prompt_token(std::size_t choice, std::span<const engine::TokenLogprob> logprobs);
  [[nodiscard]] bool token(std::size_t choice, const engine::TokenEvent& event);
  void finished(std::size_t choice, const engine::RequestResult& result);

  void note_time();
  void end_choice(std::size_t choice, const engine::RequestResult& result);
  /// Ends the whole answer with an error.
  void fail(const api::ApiError& error);
  void conclude();
  /// Lets the writer show the prompt before anything else.
  void show_prompt(std::size_t choice, std::string& out);
  [[nodiscard]] api::TokenLogprob logprob(std::span<const engine::TokenLogprob> logprobs) const;
  void write(const std::string& out);

  const ServedEngine& served_;
  AnswerSetting setting_;

  std::mutex mutex_;  // guards all below; the response's and the service's locks may be taken under it
  std::vector<Choice> choices_;
  std::size_t open_ = 0;  // choices that the engine still has
  bool failed_ = false;   // an error was sent
  bool left_ = false;     // the client has gone
  AnswerOutcome outcome_;
  std::optional<Clock::time_point> last_token_;
};

}  // namespace hadal::server
