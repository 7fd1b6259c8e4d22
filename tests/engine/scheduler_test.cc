#include "engine/scheduler.h"

#include <gmock/gmock.h>

#include <map>
#include <numeric>
#include <random>

#include "engine/json_constraint.h"
#include "engine/request_recorder.h"
#include "engine/rig.h"
#include "testing/byte_tokenizer.h"

namespace hadal::engine {
namespace {

using hadal::testing::Recorder;
using hadal::testing::RequestRecorder;
using hadal::testing::Rig;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

class SchedulerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    rig_ = Rig::open("tiny-dspark", 3);
    ASSERT_NE(rig_, nullptr);
  }

  /// A prompt of its own for each seed.
  std::vector<std::int64_t> prompt(std::uint32_t seed, std::size_t size) const {
    std::mt19937 random(seed);
    std::vector<std::int64_t> tokens(size);
    const auto vocab = static_cast<std::uint32_t>(rig_->model->config().vocab_size);
    for (std::int64_t& token : tokens) token = static_cast<std::int64_t>(random() % vocab);
    return tokens;
  }

  /// Tokens and logprobs of a request that has the model for itself.
  std::shared_ptr<RequestRecorder> alone(const ServiceRequest& request) const {
    Scheduler scheduler(*rig_->executor, nullptr, nullptr, {});
    const auto sink = std::make_shared<RequestRecorder>();
    EXPECT_TRUE(scheduler.check(request));
    scheduler.add(1, request, sink);
    while (scheduler.step()) {
    }
    EXPECT_TRUE(sink->result.has_value());
    return sink;
  }

  std::shared_ptr<RequestRecorder> add(Scheduler& scheduler, RequestId id, const ServiceRequest& request) const {
    auto sink = std::make_shared<RequestRecorder>();
    EXPECT_TRUE(scheduler.check(request));
    scheduler.add(id, request, sink);
    return sink;
  }

  std::unique_ptr<Rig> rig_;
};

ServiceRequest random_request(std::mt19937& random, std::vector<std::int64_t> prompt) {
  ServiceRequest request{.prompt = std::move(prompt)};
  request.options.max_tokens = 1 + random() % 40;
  request.options.drafts = random() % 2 == 0 ? DraftMode::kOn : DraftMode::kOff;
  request.options.sampling.temperature = random() % 3 == 0 ? 0.0 : 0.9;
  request.options.sampling.seed = random();
  request.options.sampling.repetition_penalty = random() % 4 == 0 ? 1.2 : 1.0;
  request.options.sampling.logprobs = random() % 2 == 0 ? 2 : -1;
  request.client = std::string(1, static_cast<char>('a' + random() % 3));
  request.priority = random() % 3;
  return request;
}

TEST_F(SchedulerTest, EveryAnswerIsTheOneOfARequestAlone) {
  std::mt19937 random(7);
  std::vector<ServiceRequest> requests;
  std::vector<std::shared_ptr<RequestRecorder>> expected;
  for (std::uint32_t i = 0; i < 24; ++i) {
    requests.push_back(random_request(random, prompt(i, 1 + random() % 300)));
    expected.push_back(alone(requests.back()));
  }
  Scheduler scheduler(*rig_->executor, nullptr, nullptr, {});
  std::vector<std::shared_ptr<RequestRecorder>> sinks;
  std::map<std::size_t, std::size_t> cancelled;  // request, after so many tokens
  for (std::size_t i = 0; i < requests.size(); ++i) {
    sinks.push_back(add(scheduler, i + 1, requests[i]));
    if (i % 5 == 4) cancelled[i] = random() % 6;
    // New ones come while others run.
    for (std::uint32_t step = random() % 4; step > 0; --step) static_cast<void>(scheduler.step());
  }
  do {
    for (auto at = cancelled.begin(); at != cancelled.end();) {
      const bool now = sinks[at->first]->tokens.size() >= at->second;
      if (now) scheduler.cancel(at->first + 1);
      at = now ? cancelled.erase(at) : std::next(at);
    }
  } while (scheduler.step());

  EXPECT_TRUE(scheduler.empty());
  for (std::size_t i = 0; i < requests.size(); ++i) {
    SCOPED_TRACE(i);
    ASSERT_TRUE(sinks[i]->result.has_value());
    std::vector<std::int64_t> tokens = expected[i]->tokens;
    std::vector<double> logprobs = expected[i]->logprobs;
    if (sinks[i]->result->reason == FinishReason::kCancelled) {
      tokens.resize(std::min(tokens.size(), sinks[i]->tokens.size()));
      logprobs.resize(std::min(logprobs.size(), sinks[i]->logprobs.size()));
    }
    EXPECT_EQ(sinks[i]->tokens, tokens);
    EXPECT_EQ(sinks[i]->logprobs, logprobs);
    EXPECT_EQ(sinks[i]->result->tokens, tokens);
  }
  const ServiceFigures figures = scheduler.figures();
  EXPECT_GT(figures.accepted, 0);
  EXPECT_EQ(std::accumulate(figures.accepted_at.begin(), figures.accepted_at.end(), std::int64_t{0}), figures.accepted);
  EXPECT_TRUE(std::is_sorted(figures.accepted_at.rbegin(), figures.accepted_at.rend()))
      << "a draft stands on those before";
  EXPECT_EQ(rig_->pool->free_slots(), Rig::kSequences);
  EXPECT_EQ(rig_->pool->free_pages(), rig_->pool->max_pages());
}

TEST_F(SchedulerTest, AnswersThatOutgrowTheMemoryTakeTurns) {
  // Room for 6 pages: two answers of 4 pages each cannot both be there at their ends.
  model::SequenceState hoard = std::move(*rig_->pool->new_sequence());
  ASSERT_TRUE(hoard.reserve((rig_->pool->max_pages() - 6) * 128));
  ServiceRequest first{.prompt = prompt(1, 250), .options = {.max_tokens = 200}};
  ServiceRequest second{.prompt = prompt(2, 250), .options = {.max_tokens = 200}};
  {
    Scheduler without_memory(*rig_->executor, nullptr, nullptr, {.put_away_bytes = 0});
    static_cast<void>(add(without_memory, 1, first));
    static_cast<void>(add(without_memory, 2, second));
    while (without_memory.step()) {
    }
    EXPECT_GE(without_memory.figures().preemptions, 1);
    EXPECT_EQ(without_memory.figures().preemptions_to_disk, without_memory.figures().preemptions);
  }
  Scheduler scheduler(*rig_->executor, nullptr, nullptr, {});
  const auto one = add(scheduler, 1, first);
  const auto two = add(scheduler, 2, second);
  while (scheduler.step()) {
  }
  EXPECT_GE(scheduler.figures().preemptions, 1);
  EXPECT_EQ(scheduler.figures().preemptions_to_disk, 0);
  EXPECT_EQ(one->result->statistics.prompt_tokens + two->result->statistics.prompt_tokens, 500)
      << "what was put away is not computed again";
  hoard = {};
  EXPECT_EQ(one->tokens, alone(first)->tokens);
  EXPECT_EQ(two->tokens, alone(second)->tokens);

  // Alone with too little memory, an answer ends with an error and keeps what it had.
  hoard = std::move(*rig_->pool->new_sequence());
  ASSERT_TRUE(hoard.reserve((rig_->pool->max_pages() - 3) * 128));
  const auto three = add(scheduler, 3, first);
  while (scheduler.step()) {
  }
  ASSERT_TRUE(three->result.has_value());
  ASSERT_FALSE(three->result->status);
  EXPECT_EQ(three->result->status.error().code, ErrorCode::kResourceExhausted);
  EXPECT_GT(three->tokens.size(), 100U);
  EXPECT_LT(three->tokens.size(), 200U);
}

TEST_F(SchedulerTest, PromptsTakeTurnsAndAnswersGoFirst) {
  Scheduler scheduler(*rig_->executor, nullptr, nullptr, {});
  const auto answering = add(scheduler, 1, {.prompt = prompt(1, 5), .options = {.max_tokens = 200}});
  ASSERT_TRUE(scheduler.step());
  ASSERT_EQ(answering->tokens.size(), 1U);
  const auto longer = add(scheduler, 2, {.prompt = prompt(2, 500), .options = {.max_tokens = 5}});
  const auto shorter = add(scheduler, 3, {.prompt = prompt(3, 100), .options = {.max_tokens = 5}});
  std::size_t steps = 0;
  std::size_t shorter_began = 0;
  while (longer->tokens.empty()) {
    ASSERT_TRUE(scheduler.step());
    ++steps;
    EXPECT_EQ(answering->tokens.size(), steps + 1) << "an answer waits for no prompt";
    if (shorter_began == 0 && !shorter->tokens.empty()) shorter_began = steps;
  }
  EXPECT_LE(shorter_began, 3U) << "a short prompt must not wait for all of a long one";
}

TEST_F(SchedulerTest, AdmitsClientsInTurnAndUrgentOnesFirst) {
  Scheduler scheduler(*rig_->executor, nullptr, nullptr, {});
  std::vector<RequestId> order;
  const auto request = [&](RequestId id, std::string client, std::int64_t priority) {
    ServiceRequest made{.prompt = prompt(static_cast<std::uint32_t>(id), 10), .options = {.max_tokens = 3}};
    made.client = std::move(client);
    made.priority = priority;
    const auto sink = add(scheduler, id, made);
    sink->on_token = [&order, id](RequestRecorder& recorder) {
      if (recorder.tokens.size() == 1) order.push_back(id);
    };
  };
  for (RequestId id = 1; id <= 6; ++id) request(id, "greedy", 0);
  request(7, "modest", 0);
  request(8, "urgent", -5);
  ASSERT_TRUE(scheduler.step());
  std::sort(order.begin(), order.end());
  EXPECT_THAT(order, ElementsAre(1, 2, 7, 8)) << "four sequences fit";
  while (scheduler.step()) {
  }
}

TEST_F(SchedulerTest, AReaderThatIsBehindIsLeftOut) {
  const ServiceRequest request{.prompt = prompt(1, 20), .options = {.max_tokens = 12}};
  const auto expected = alone(request)->tokens;
  Scheduler scheduler(*rig_->executor, nullptr, nullptr, {});
  const auto sink = add(scheduler, 1, request);
  const auto other = add(scheduler, 2, {.prompt = prompt(2, 20), .options = {.max_tokens = 12}});
  while (sink->tokens.size() < 4) ASSERT_TRUE(scheduler.step());
  sink->is_ready = false;
  while (scheduler.step()) {
  }
  EXPECT_TRUE(other->result.has_value());
  EXPECT_LT(sink->tokens.size(), 12U);
  EXPECT_FALSE(sink->result.has_value());
  sink->is_ready = true;
  while (scheduler.step()) {
  }
  EXPECT_EQ(sink->tokens, expected);
}

TEST_F(SchedulerTest, DeadlinesAndCancellationsEndRequests) {
  Scheduler scheduler(*rig_->executor, nullptr, nullptr, {});
  ServiceRequest late{.prompt = prompt(1, 20), .options = {.max_tokens = 12}};
  late.deadline = Scheduler::Clock::now() - std::chrono::seconds(1);
  const auto expired = add(scheduler, 1, late);
  const auto cancelled = add(scheduler, 2, {.prompt = prompt(2, 400), .options = {.max_tokens = 12}});
  EXPECT_EQ(scheduler.next_deadline(), late.deadline);
  ASSERT_TRUE(scheduler.step());
  ASSERT_TRUE(expired->result.has_value());
  EXPECT_EQ(expired->result->status.error().code, ErrorCode::kDeadlineExceeded);
  EXPECT_FALSE(cancelled->result.has_value());
  scheduler.cancel(2);
  ASSERT_TRUE(cancelled->result.has_value());
  EXPECT_TRUE(cancelled->result->status);
  EXPECT_EQ(cancelled->result->reason, FinishReason::kCancelled);
  EXPECT_TRUE(scheduler.empty());
  EXPECT_EQ(rig_->pool->free_slots(), Rig::kSequences);
}

TEST_F(SchedulerTest, WhoWaitsTooLongForItsTurnEndsAndWhoHasHadItGoesOn) {
  Scheduler scheduler(*rig_->executor, nullptr, nullptr, {});
  std::vector<std::shared_ptr<RequestRecorder>> running;
  for (RequestId id = 1; id <= Rig::kSequences; ++id) {
    running.push_back(add(scheduler, id, {.prompt = prompt(1, 20), .options = {.max_tokens = 6}}));
  }
  ASSERT_TRUE(scheduler.step());
  ServiceRequest waiting{.prompt = prompt(2, 20), .options = {.max_tokens = 6}};
  waiting.queue_deadline = Scheduler::Clock::now() - std::chrono::seconds(1);
  const auto late = add(scheduler, 9, waiting);
  EXPECT_EQ(scheduler.next_deadline(), waiting.queue_deadline);
  ASSERT_TRUE(scheduler.step());
  ASSERT_TRUE(late->result.has_value());
  EXPECT_EQ(late->result->status.error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(scheduler.next_deadline(), std::nullopt);
  while (scheduler.step()) {
  }
  for (const auto& sink : running) EXPECT_EQ(sink->result->reason, FinishReason::kMaxTokens);
}

TEST_F(SchedulerTest, ForcedTokensReasoningAndMinimumLength) {
  const std::vector<std::int64_t> script = {5, 6, 7, 8};
  ServiceRequest request{.prompt = prompt(1, 20), .options = {.max_tokens = 10, .drafts = DraftMode::kOn}};
  request.options.forced = script;
  const auto forced = alone(request);
  EXPECT_EQ(std::vector<std::int64_t>(forced->tokens.begin(), forced->tokens.begin() + 4), script);
  // What follows is what follows the same tokens in a prompt.
  ServiceRequest longer = request;
  longer.prompt.insert(longer.prompt.end(), script.begin(), script.end());
  longer.options.forced.clear();
  longer.options.max_tokens = 6;
  EXPECT_EQ(std::vector<std::int64_t>(forced->tokens.begin() + 4, forced->tokens.end()), alone(longer)->tokens);

  ServiceRequest thinking{.prompt = prompt(1, 20), .options = {.max_tokens = 10}};
  thinking.options.reasoning = {.inside = true, .end_token = 9, .budget = 3};
  thinking.options.sampling.logit_bias = {{.token = 9, .bias = kMinusInfinity}};
  const auto limited = alone(thinking);
  EXPECT_EQ(limited->tokens[3], 9) << "the end of the reasoning follows the third token";
  EXPECT_EQ(limited->result->statistics.reasoning_tokens, 4);

  ServiceRequest short_answer{.prompt = prompt(1, 20), .options = {.max_tokens = 10}};
  const auto usual = alone(short_answer);
  short_answer.options.stop_tokens = {usual->tokens.front()};
  EXPECT_EQ(alone(short_answer)->tokens.size(), 1U);
  short_answer.options.min_tokens = 5;
  const auto stretched = alone(short_answer);
  EXPECT_GE(stretched->tokens.size(), 5U);
  EXPECT_EQ(std::count(stretched->tokens.begin(), stretched->tokens.begin() + 5, usual->tokens.front()), 0);
}

TEST_F(SchedulerTest, AJsonObjectIsHeldToWithAndWithoutDrafts) {
  const auto tokenizer = text::Tokenizer::parse(hadal::testing::byte_tokenizer_json(384), "byte tokenizer").value();
  const auto sorted = std::make_shared<const SortedTokens>(tokenizer, rig_->model->config().vocab_size);
  ServiceRequest request{.prompt = prompt(1, 20), .options = {.max_tokens = 60, .stop_tokens = {383}}};
  request.options.sampling = {.temperature = 1};
  request.options.reasoning = {.inside = true, .end_token = 382, .budget = 3};
  request.options.constraint = std::make_shared<const JsonConstraint>(sorted);
  // Braces and quotes are likely, so that some objects end.
  for (const char byte : std::string_view("{}\"")) {
    const std::string text(1, byte);
    request.options.sampling.logit_bias.push_back({.token = tokenizer.encode(text).value().front(), .bias = 6});
  }
  int complete = 0;
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    request.options.sampling.seed = seed;
    request.options.drafts = DraftMode::kOff;
    const auto answer = alone(request);
    request.options.drafts = DraftMode::kOn;
    EXPECT_EQ(alone(request)->tokens, answer->tokens);
    ASSERT_TRUE(answer->result->status);
    const bool whole = answer->result->reason == FinishReason::kStopToken;
    const std::int64_t reasoning = answer->result->statistics.reasoning_tokens;
    JsonObjectState state;
    for (std::size_t i = static_cast<std::size_t>(reasoning); i + (whole ? 1 : 0) < answer->tokens.size(); ++i) {
      const std::string_view bytes = tokenizer.token_bytes(static_cast<std::int32_t>(answer->tokens[i]));
      for (const char byte : bytes) ASSERT_TRUE(state.advance(static_cast<std::uint8_t>(byte)));
    }
    EXPECT_EQ(state.complete(), whole);
    complete += whole ? 1 : 0;
  }
  EXPECT_GT(complete, 0);
}

TEST_F(SchedulerTest, AnErrorInOneAnswerLeavesTheOthers) {
  ServiceRequest hopeless{.prompt = prompt(1, 20), .options = {.max_tokens = 10}};
  for (std::int64_t token = 0; token < rig_->model->config().vocab_size; ++token) {
    hopeless.options.sampling.logit_bias.push_back({.token = token, .bias = kMinusInfinity});
  }
  const ServiceRequest good{.prompt = prompt(2, 20), .options = {.max_tokens = 10}};
  Scheduler scheduler(*rig_->executor, nullptr, nullptr, {});
  const auto bad = add(scheduler, 1, hopeless);
  const auto fine = add(scheduler, 2, good);
  while (scheduler.step()) {
  }
  ASSERT_FALSE(bad->result->status);
  EXPECT_EQ(bad->result->reason, FinishReason::kError);
  EXPECT_EQ(fine->tokens, alone(good)->tokens);
}

TEST_F(SchedulerTest, WhatCanNeverBeServedIsRefused) {
  const Scheduler scheduler(*rig_->executor, nullptr, nullptr, {});
  const auto message = [&](const ServiceRequest& request) {
    const Status status = scheduler.check(request);
    return status ? std::string() : status.error().message;
  };
  EXPECT_THAT(message({}), HasSubstr("no tokens"));
  EXPECT_THAT(message({.prompt = prompt(1, Rig::kContext)}), HasSubstr("the prompt has 512 tokens"));
  EXPECT_THAT(message({.prompt = {3, 384}}), HasSubstr("token id 384"));
  EXPECT_THAT(message({.prompt = {3}, .options = {.sampling = {.temperature = -1}}}), HasSubstr("temperature"));
  EXPECT_EQ(message({.prompt = {3}}), "");
}

}  // namespace
}  // namespace hadal::engine
