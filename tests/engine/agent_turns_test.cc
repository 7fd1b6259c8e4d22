// An agent's conversation of fifty turns with scripted reasoning and calls, with a restart in the middle: how many
// tokens are computed again beyond those that each turn adds.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/philox.h"
#include "engine/ask_service.h"
#include "engine/rig.h"
#include "testing/temp_directory.h"

namespace hadal::engine {
namespace {

using testing::Rig;

constexpr std::int64_t kContext = 4096;
constexpr std::size_t kTurns = 50;
constexpr std::size_t kRestartBefore = 25;  // turn
constexpr std::int64_t kSystem = 300, kReasoning = 9, kCall = 8, kResult = 24;
constexpr std::int64_t kEndOfReasoning = 262;

std::vector<std::int64_t> text(std::uint32_t seed, std::int64_t size) {
  std::vector<std::int64_t> tokens;
  tokens.reserve(static_cast<std::size_t>(size));
  for (std::uint32_t i = 0; i < static_cast<std::uint32_t>(size); ++i) {
    tokens.push_back(3 + philox({i, 0, 0, 0}, {seed, 31})[0] % 256);  // no marker
  }
  return tokens;
}

void append(std::vector<std::int64_t>& tokens, const std::vector<std::int64_t>& more) {
  tokens.insert(tokens.end(), more.begin(), more.end());
}

/// Reasoning, its end, and a call.
std::vector<std::int64_t> scripted_turn(std::uint32_t turn) {
  std::vector<std::int64_t> tokens = text(1000 + turn, kReasoning);
  tokens.push_back(kEndOfReasoning);
  append(tokens, text(2000 + turn, kCall));
  return tokens;
}

/// What one conversation needed.
struct Needed {
  std::vector<std::int64_t> again{};  // tokens of each turn beyond the new ones
  std::int64_t added = 0;             // tokens that were new when they came
  std::int64_t length = 0;            // of the last prompt
};

class AgentTurns : public ::testing::Test {
 protected:
  void SetUp() override {
    rig_ = Rig::open("tiny-dspark", 3, kContext);
    plain_ = Rig::open("tiny-dspark", 3, kContext);
    ASSERT_NE(rig_, nullptr);
    ASSERT_NE(plain_, nullptr);
  }

  void begin(const ServiceOptions& options) {
    service_.reset();
    cache_.reset();
    auto made = PrefixCache::create(*rig_->executor, {.fingerprint = "test", .directory = files_.path()});
    ASSERT_TRUE(made) << made.error().message;
    cache_ = std::move(*made);
    auto started = Service::start(*rig_->executor, cache_.get(), nullptr, options);
    ASSERT_TRUE(started) << started.error().message;
    service_ = std::move(*started);
  }

  /// The answer's logprobs are those of a service that computes the whole prompt.
  void compare(const ServiceRequest& request, const testing::RequestRecorder& answer) const {
    const auto fresh = Service::start(*plain_->executor, nullptr, nullptr, {}).value();
    const auto expected = testing::answer_of(*fresh, request);
    EXPECT_EQ(answer.tokens, expected->tokens);
    EXPECT_EQ(answer.logprobs, expected->logprobs);
  }

  Needed converse(const ServiceOptions& options) {
    Needed needed;
    begin(options);
    ServiceRequest request{.prompt = text(0, kSystem), .marks = {kSystem}};
    append(request.prompt, text(1, kResult));
    std::int64_t added = std::ssize(request.prompt);
    for (std::size_t turn = 0; turn < kTurns; ++turn) {
      SCOPED_TRACE(turn);
      if (turn == kRestartBefore) begin(options);
      request.options = {.forced = scripted_turn(static_cast<std::uint32_t>(turn)),
                         .reasoning = {.inside = true, .end_token = kEndOfReasoning}};
      request.options.sampling = {.temperature = 1, .seed = turn, .logprobs = 1};
      request.options.max_tokens = std::ssize(request.options.forced);
      const auto answer = testing::answer_of(*service_, request);
      EXPECT_TRUE(answer->admission.has_value());
      if (!answer->admission) return needed;
      EXPECT_EQ(answer->tokens, request.options.forced);
      EXPECT_EQ(answer->result->statistics.reasoning_tokens, kReasoning + 1);
      const PrefixTier tier = turn == 0                ? PrefixTier::kNone
                              : turn == kRestartBefore ? PrefixTier::kDisk
                                                       : PrefixTier::kMemory;
      EXPECT_EQ(answer->admission->tier, tier);
      if (turn == kRestartBefore || turn + 1 == kTurns) compare(request, *answer);
      needed.again.push_back(answer->admission->prompt_tokens - answer->admission->cached_tokens - added);
      needed.added += added;
      needed.length = std::ssize(request.prompt);
      append(request.prompt, answer->tokens);
      append(request.prompt, text(static_cast<std::uint32_t>(3000 + turn), kResult));
      added = kResult;
    }
    return needed;
  }

  const testing_support::TempDirectory files_;
  std::unique_ptr<Rig> rig_, plain_;
  std::unique_ptr<PrefixCache> cache_;
  std::unique_ptr<Service> service_;
};

TEST_F(AgentTurns, WithoutTailsEachComputesAtMostAPageAgain) {
  const Needed needed = converse({.keep_tails = false});
  ASSERT_EQ(needed.again.size(), kTurns);
  EXPECT_EQ(needed.length, kSystem + kResult + std::int64_t{kTurns - 1} * (kReasoning + 1 + kCall + kResult));
  EXPECT_EQ(needed.again.front(), 0);
  std::int64_t sum = 0;
  for (std::size_t turn = 1; turn < kTurns; ++turn) {
    EXPECT_GE(needed.again[turn], 1) << "turn " << turn << ": the last token of an answer is chosen, not fed";
    EXPECT_LE(needed.again[turn], 128) << "turn " << turn << ", also after the restart";
    sum += needed.again[turn];
  }
  // The states stand at whole pages, so that it is half a page in the mean.
  EXPECT_NEAR(static_cast<double>(sum) / (kTurns - 1), 64.5, 10);
  RecordProperty("again", std::to_string(sum));
}

TEST_F(AgentTurns, WithTailsEachComputesOneTokenAgain) {
  const Needed needed = converse({});
  ASSERT_EQ(needed.again.size(), kTurns);
  EXPECT_EQ(needed.again.front(), 0);
  EXPECT_EQ(std::count(needed.again.begin() + 1, needed.again.end(), 1), std::int64_t{kTurns - 1});
}

}  // namespace
}  // namespace hadal::engine
