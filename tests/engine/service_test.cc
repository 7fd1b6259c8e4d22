#include "engine/service.h"

#include <gmock/gmock.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "engine/request_recorder.h"
#include "engine/rig.h"

namespace hadal::engine {
namespace {

using hadal::testing::RequestRecorder;
using hadal::testing::Rig;
using ::testing::HasSubstr;

/// Waits for things that other threads do.
class Latch {
 public:
  void count() {
    const std::lock_guard lock(mutex_);
    ++count_;
    changed_.notify_all();
  }
  void wait_for(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return count_ >= count; });
  }

 private:
  std::mutex mutex_;  // guards count_
  std::condition_variable changed_;
  int count_ = 0;
};

class ServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    rig_ = Rig::open("tiny-dspark", 3);
    ASSERT_NE(rig_, nullptr);
  }
  std::unique_ptr<Service> start(const ServiceOptions& options = {}) {
    auto service = Service::start(*rig_->executor, nullptr, nullptr, options);
    EXPECT_TRUE(service) << service.error().message;
    return service ? std::move(*service) : nullptr;
  }
  ServiceRequest request(std::uint64_t seed, std::int64_t max_tokens) const {
    ServiceRequest made{.prompt = {rig_->tokens.begin(), rig_->tokens.begin() + 20 + static_cast<long>(seed)}};
    made.options.max_tokens = max_tokens;
    made.options.sampling = {.temperature = 1, .seed = seed};
    return made;
  }

  std::unique_ptr<Rig> rig_;
};

TEST_F(ServiceTest, ManyThreadsGetTheAnswersOfOne) {
  constexpr int kThreads = 4;
  constexpr int kEach = 5;
  std::vector<std::vector<std::int64_t>> expected;
  {
    const auto service = start();
    for (int i = 0; i < kThreads * kEach; ++i) {
      Latch done;
      const auto sink = std::make_shared<RequestRecorder>();
      sink->on_finished = [&] { done.count(); };
      ASSERT_TRUE(service->submit(request(static_cast<std::uint64_t>(i), 10), sink));
      done.wait_for(1);
      expected.push_back(sink->tokens);
    }
  }
  const auto service = start();
  Latch done;
  std::vector<std::shared_ptr<RequestRecorder>> sinks(kThreads * kEach);
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&, thread] {
        for (int i = thread * kEach; i < (thread + 1) * kEach; ++i) {
          auto& sink = sinks[static_cast<std::size_t>(i)];
          sink = std::make_shared<RequestRecorder>();
          sink->on_finished = [&] { done.count(); };
          EXPECT_TRUE(service->submit(request(static_cast<std::uint64_t>(i), 10), sink));
          static_cast<void>(service->figures());
        }
      });
    }
  }
  done.wait_for(kThreads * kEach);
  for (std::size_t i = 0; i < sinks.size(); ++i) EXPECT_EQ(sinks[i]->tokens, expected[i]) << i;
}

TEST_F(ServiceTest, CancelsBeforeTheNextStep) {
  const auto service = start({.step_delay = std::chrono::hours(1)});
  Latch done;
  const auto sink = std::make_shared<RequestRecorder>();
  sink->on_finished = [&] { done.count(); };
  const auto id = service->submit(request(1, 100), sink);
  ASSERT_TRUE(id);
  service->cancel(*id);
  service->cancel(12345);
  done.wait_for(1);
  EXPECT_EQ(sink->result->reason, FinishReason::kCancelled);
  EXPECT_TRUE(sink->tokens.empty());
}

TEST_F(ServiceTest, DrainsAndThenEndsWhatIsLeft) {
  {
    const auto service = start();
    const auto sink = std::make_shared<RequestRecorder>();
    ASSERT_TRUE(service->submit(request(1, 50), sink));
    service->drain(std::chrono::steady_clock::now() + std::chrono::hours(1));
    ASSERT_TRUE(sink->result.has_value());
    EXPECT_EQ(sink->tokens.size(), 50U);
    const auto late = service->submit(request(2, 5), std::make_shared<RequestRecorder>());
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, ErrorCode::kUnavailable);
  }
  const auto slow = start({.step_delay = std::chrono::hours(1)});
  const auto sink = std::make_shared<RequestRecorder>();
  ASSERT_TRUE(slow->submit(request(1, 50), sink));
  slow->drain(std::chrono::steady_clock::now());
  ASSERT_TRUE(sink->result.has_value());
  EXPECT_EQ(sink->result->status.error().code, ErrorCode::kUnavailable);
}

TEST_F(ServiceTest, EndingTheServiceEndsItsRequests) {
  const auto sink = std::make_shared<RequestRecorder>();
  {
    const auto service = start({.step_delay = std::chrono::hours(1)});
    ASSERT_TRUE(service->submit(request(1, 50), sink));
  }
  ASSERT_TRUE(sink->result.has_value());
  EXPECT_EQ(sink->result->status.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(rig_->pool->free_slots(), Rig::kSequences);
}

TEST_F(ServiceTest, AFullQueueAndWrongRequestsAreRefusedAtOnce) {
  const auto service = start({.queue_length = 2, .step_delay = std::chrono::hours(1)});
  ASSERT_TRUE(service->submit(request(1, 5), std::make_shared<RequestRecorder>()));
  ASSERT_TRUE(service->submit(request(2, 5), std::make_shared<RequestRecorder>()));
  const auto third = service->submit(request(3, 5), std::make_shared<RequestRecorder>());
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(third.error().message, HasSubstr("2 requests are waiting"));
  EXPECT_EQ(service->submit({}, nullptr).error().code, ErrorCode::kInvalidArgument);
  const auto wrong = Service::start(*rig_->executor, nullptr, nullptr, {.keep_every = 100});
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().message, HasSubstr("every 100 tokens"));
}

}  // namespace
}  // namespace hadal::engine
