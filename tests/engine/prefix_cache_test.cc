#include "engine/prefix_cache.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <random>

#include "engine/request_recorder.h"
#include "engine/rig.h"
#include "engine/scheduler.h"
#include "testing/temp_directory.h"

namespace hadal::engine {
namespace {

using hadal::testing::RequestRecorder;
using hadal::testing::Rig;
using hadal::testing::state_bytes;
using hadal::testing_support::TempDirectory;

class PrefixCacheTest : public ::testing::Test {
 protected:
  void SetUp() override {
    rig_ = Rig::open("tiny-dspark", 3);
    ASSERT_NE(rig_, nullptr);
  }

  std::unique_ptr<PrefixCache> cache(PrefixCacheOptions options = {}) const {
    auto made = PrefixCache::create(*rig_->executor, options);
    EXPECT_TRUE(made) << made.error().message;
    return made ? std::move(*made) : nullptr;
  }
  std::vector<std::int64_t> tokens(std::uint32_t seed, std::size_t size) const {
    std::mt19937 random(seed);
    std::vector<std::int64_t> result(size);
    const auto vocab = static_cast<std::uint32_t>(rig_->model->config().vocab_size);
    for (std::int64_t& token : result) token = static_cast<std::int64_t>(random() % vocab);
    return result;
  }
  /// The state of these tokens, computed in pieces of `chunk`.
  model::SequenceState computed(std::span<const std::int64_t> ids, std::int64_t chunk) const {
    auto state = rig_->pool->new_sequence();
    EXPECT_TRUE(state);
    while (!ids.empty()) {
      const auto piece = ids.first(std::min(ids.size(), static_cast<std::size_t>(chunk)));
      const std::vector<model::StepSequence> rows = {{.state = &*state, .tokens = piece}};
      EXPECT_TRUE(rig_->executor->forward({.sequences = rows, .logits_rows = {}}));
      const std::int64_t count = static_cast<std::int64_t>(piece.size());
      EXPECT_TRUE(rig_->executor->commit(std::span(&count, 1)));
      ids = ids.subspan(piece.size());
    }
    rig_->executor->stream().wait();
    return std::move(*state);
  }
  std::vector<std::byte> bytes(const model::SequenceState& state) const {
    return state_bytes(*rig_->pool, state, rig_->model->config().compress_ratios);
  }
  std::int64_t used_pages() const { return rig_->pool->max_pages() - rig_->pool->free_pages(); }

  /// One request through a scheduler of its own.
  std::shared_ptr<RequestRecorder> serve(PrefixCache* cache, const ServiceRequest& request,
                                         ServiceOptions options = {}) const {
    Scheduler scheduler(*rig_->executor, cache, nullptr, options);
    auto sink = std::make_shared<RequestRecorder>();
    scheduler.add(1, request, sink);
    while (scheduler.step()) {
    }
    return sink;
  }

  std::unique_ptr<Rig> rig_;
};

TEST_F(PrefixCacheTest, GivesBackTheStateThatWasKept) {
  TempDirectory directory;
  std::mt19937 random(3);
  for (const bool on_disk : {false, true}) {
    const PrefixCacheOptions options{.directory = on_disk ? directory.path() : std::filesystem::path()};
    auto live = cache(options);
    for (std::uint32_t round = 0; round < 6; ++round) {
      const auto ids = tokens(round, 2 + random() % 400);
      const std::size_t length = round % 2 == 0 && ids.size() > 128 ? (ids.size() - 1) / 128 * 128 : ids.size() - 1;
      const auto kept = std::span(ids).first(length);
      std::vector<std::byte> expected;
      {
        const model::SequenceState state = computed(kept, 1 + static_cast<std::int64_t>(random() % 128));
        expected = bytes(state);
        if (length % 128 == 0) {
          live->keep_anchor({}, kept, state);
        } else {
          live->keep_tail({}, kept, state, 0);
        }
      }
      if (on_disk) {  // as after a restart: nothing is in memory
        live->flush();
        live.reset();
        live = cache(options);
      }
      EXPECT_EQ(live->longest({}, ids), static_cast<std::int64_t>(length));
      auto match = live->find({}, ids);
      ASSERT_TRUE(match) << match.error().message;
      ASSERT_TRUE(match->has_value());
      EXPECT_EQ((*match)->tier, on_disk ? PrefixTier::kDisk : PrefixTier::kMemory);
      EXPECT_EQ((*match)->state.length(), static_cast<std::int64_t>(length));
      EXPECT_TRUE(bytes((*match)->state) == expected) << "length " << length << ", disk " << on_disk;
      EXPECT_EQ(live->longest({}, kept), 0) << "one token must be left to feed";
      EXPECT_EQ(live->longest({.hash = {1, 2}}, ids), 0) << "another domain";
    }
    live.reset();
    EXPECT_EQ(used_pages(), 0);
    EXPECT_EQ(rig_->pool->free_slots(), Rig::kSequences);
  }
}

TEST_F(PrefixCacheTest, TakesTheDeepestStateAndAnotherModelsNothing) {
  const auto live = cache();
  const auto ids = tokens(1, 400);
  for (const std::size_t length : {128U, 256U}) {
    const auto kept = std::span(ids).first(length);
    live->keep_anchor({}, kept, computed(kept, 128));
  }
  const auto tail = std::span(ids).first(300);
  live->keep_tail({}, tail, computed(tail, 128), 256);
  EXPECT_EQ(live->figures().held_pages, 2) << "one page for each name";
  EXPECT_EQ(live->figures().pages_compared, 3);
  EXPECT_EQ(live->figures().pages_different, 0);
  auto other = ids;
  EXPECT_EQ(live->longest({}, ids), 300);
  other[299] ^= 1;
  EXPECT_EQ(live->longest({}, other), 256);
  other[200] ^= 1;
  EXPECT_EQ(live->longest({}, other), 128);
  other[0] ^= 1;
  EXPECT_EQ(live->longest({}, other), 0);
  // A longer state of the same conversation replaces the tail, not the anchors.
  live->keep_tail({}, ids, computed(ids, 128), 300);
  EXPECT_EQ(live->longest({}, std::span(ids).first(320)), 256);
}

TEST_F(PrefixCacheTest, GivesUpTheEndsOfChainsFirst) {
  const auto live = cache();
  const auto ids = tokens(1, 500);
  for (const std::size_t length : {384U, 128U, 256U}) {
    const auto kept = std::span(ids).first(length);
    live->keep_anchor({}, kept, computed(kept, 128));
  }
  {
    auto match = live->find({}, ids);
  }
  const std::int64_t pages = rig_->pool->max_pages();
  live->free_pages(pages - 2);
  EXPECT_EQ(live->longest({}, ids), 256);
  live->free_pages(pages - 1);
  EXPECT_EQ(live->longest({}, ids), 128);
  live->free_pages(pages);
  EXPECT_EQ(live->longest({}, ids), 0);
  EXPECT_EQ(live->figures().evictions, 3);

  const auto small = cache({.memory_bytes = 2 * rig_->pool->layout().slot_bytes});
  for (std::uint32_t seed = 0; seed < 5; ++seed) {
    const auto kept = tokens(seed, 128);
    small->keep_anchor({}, kept, computed(kept, 128));
  }
  EXPECT_EQ(small->figures().entries, 2);
  EXPECT_LE(small->figures().memory_bytes, 2 * rig_->pool->layout().slot_bytes);
}

TEST_F(PrefixCacheTest, APageThatDiffersIsGivenUp) {
  const auto live = cache();
  const auto ids = tokens(1, 129);
  const auto kept = std::span(ids).first(128);
  {
    const model::SequenceState state = computed(kept, 128);
    live->keep_anchor({}, kept, state);
    // Damage in memory: a bit of the page that is kept.
    const auto& layers = rig_->pool->layout().layers;
    const auto compressed =
        std::find_if(layers.begin(), layers.end(), [](const auto& l) { return l.entries.rows > 0; });
    const TensorView page = rig_->pool->page_rows(compressed->entries);
    std::byte* const row = page.bytes() + state.pages()[0] * page.stride(0) * size_of(compressed->entries.type);
    row[1] ^= std::byte{4};
  }
  const model::SequenceState again = computed(kept, 64);
  const auto expected = bytes(again);
  live->keep_anchor({}, kept, again);
  EXPECT_EQ(live->figures().pages_different, 1);
  auto match = live->find({}, ids);
  ASSERT_TRUE(match && match->has_value());
  EXPECT_TRUE(bytes((*match)->state) == expected) << "the page computed last is served";
}

TEST_F(PrefixCacheTest, ADamagedFileIsPassedOver) {
  TempDirectory directory;
  const auto ids = tokens(1, 400);
  {
    const auto live = cache({.directory = directory.path()});
    for (const std::size_t length : {128U, 384U}) {
      const auto kept = std::span(ids).first(length);
      live->keep_anchor({}, kept, computed(kept, 128));
    }
    live->flush();
    EXPECT_EQ(live->figures().disk.files, 2);
  }
  std::filesystem::path largest;
  for (const auto& entry : std::filesystem::directory_iterator(directory.path())) {
    if (largest.empty() || entry.file_size() > std::filesystem::file_size(largest)) largest = entry.path();
  }
  {
    std::fstream file(largest, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-5, std::ios::end);
    const int byte = file.peek();
    file.put(static_cast<char>(byte ^ 1));
  }
  const auto live = cache({.directory = directory.path()});
  EXPECT_EQ(live->longest({}, ids), 384) << "headers alone are read at the start";
  auto match = live->find({}, ids);
  ASSERT_TRUE(match && match->has_value());
  EXPECT_EQ((*match)->state.length(), 128);
  EXPECT_EQ(live->figures().disk.corrupt, 1);
}

TEST_F(PrefixCacheTest, TurnsOfAConversationComputeOnlyWhatIsNew) {
  TempDirectory directory;
  const PrefixCacheOptions options{.directory = directory.path()};
  for (const bool tails : {true, false}) {
    for (const bool restart : {false, true}) {
      auto live = cache(options);
      ServiceRequest request{.prompt = tokens(tails ? 1 : 2, 150), .options = {.max_tokens = 25}};
      request.domain.hash = {restart ? 1U : 0U, tails ? 1U : 0U};
      request.options.sampling.temperature = 0.8;
      for (std::uint32_t turn = 0; turn < 4; ++turn) {
        request.options.sampling.seed = turn;
        request.options.drafts = turn % 2 == 0 ? DraftMode::kOn : DraftMode::kOff;
        const auto answer = serve(live.get(), request, {.keep_tails = tails});
        ASSERT_TRUE(answer->result.has_value());
        EXPECT_EQ(answer->tokens, serve(nullptr, request)->tokens) << "turn " << turn;
        const std::int64_t computed_tokens = answer->admission->prompt_tokens - answer->admission->cached_tokens;
        const std::int64_t new_tokens = turn == 0 ? 150 : 31;  // the last token of an answer is not in its state
        EXPECT_LE(computed_tokens, new_tokens + (tails ? 0 : 128)) << "turn " << turn;
        request.prompt.insert(request.prompt.end(), answer->tokens.begin(), answer->tokens.end());
        const auto user = tokens(100 + turn, 30);
        request.prompt.insert(request.prompt.end(), user.begin(), user.end());
        if (restart) {
          live->flush();
          live.reset();
          live = cache(options);
        }
      }
    }
  }
}

TEST_F(PrefixCacheTest, EqualPromptsAreComputedOnce) {
  const auto live = cache();
  Scheduler scheduler(*rig_->executor, live.get(), nullptr, {});
  std::vector<std::shared_ptr<RequestRecorder>> sinks;
  std::vector<ServiceRequest> requests;
  for (std::uint32_t choice = 0; choice < 6; ++choice) {
    ServiceRequest request{.prompt = tokens(9, 300), .options = {.max_tokens = 10}};
    request.options.sampling = {.temperature = 1, .seed = 5, .choice = choice};
    if (choice == 5) request.prompt.push_back(3);  // shares all but one
    requests.push_back(request);
    sinks.push_back(std::make_shared<RequestRecorder>());
    scheduler.add(choice + 1, request, sinks.back());
  }
  ASSERT_TRUE(scheduler.step());
  EXPECT_EQ(scheduler.figures().deferred, 5) << "until the first one has computed the prompt";
  while (scheduler.step()) {
  }
  EXPECT_EQ(scheduler.figures().deferred, 0);
  EXPECT_EQ(scheduler.figures().queried_tokens, 6 * 300 + 1);
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(sinks[i]->tokens, serve(nullptr, requests[i])->tokens) << i;
  EXPECT_NE(sinks[0]->tokens, sinks[1]->tokens);
  EXPECT_EQ(scheduler.figures().prompt_tokens, 300 + 5) << "the others compute the last token";
}

TEST_F(PrefixCacheTest, AnInterruptedPromptKeepsWhatItHasDone) {
  const auto live = cache();
  const ServiceRequest request{.prompt = tokens(4, 450), .options = {.max_tokens = 4}};
  {
    Scheduler scheduler(*rig_->executor, live.get(), nullptr, {});
    const auto sink = std::make_shared<RequestRecorder>();
    scheduler.add(1, request, sink);
    ASSERT_TRUE(scheduler.step());
    ASSERT_TRUE(scheduler.step());
    scheduler.cancel(1);
    EXPECT_EQ(sink->result->reason, FinishReason::kCancelled);
  }
  const auto second = serve(live.get(), request);
  EXPECT_EQ(second->admission->cached_tokens, 256);
  EXPECT_EQ(second->tokens, serve(nullptr, request)->tokens);
}

TEST_F(PrefixCacheTest, GivesWayToRunningSequences) {
  const auto live = cache();
  std::mt19937 random(11);
  Scheduler scheduler(*rig_->executor, live.get(), nullptr, {});
  std::vector<ServiceRequest> requests;
  std::vector<std::shared_ptr<RequestRecorder>> sinks;
  for (std::uint32_t i = 0; i < 30; ++i) {
    // A few beginnings, continued in many ways, so that states are found, crowded out and kept again.
    ServiceRequest request{.prompt = tokens(i % 4, 100 + random() % 150),
                           .options = {.max_tokens = 1 + static_cast<std::int64_t>(random() % 60)}};
    const auto own = tokens(1000 + i, random() % 150);
    request.prompt.insert(request.prompt.end(), own.begin(), own.end());
    request.options.sampling = {.temperature = 0.9, .seed = i};
    request.options.drafts = i % 2 == 0 ? DraftMode::kOn : DraftMode::kOff;
    requests.push_back(request);
    sinks.push_back(std::make_shared<RequestRecorder>());
    scheduler.add(i + 1, request, sinks.back());
    for (auto step = random() % 6; step > 0; --step) static_cast<void>(scheduler.step());
  }
  while (scheduler.step()) {
  }
  EXPECT_GT(scheduler.figures().cached_tokens, 0);
  EXPECT_GT(live->figures().evictions, 0);
  EXPECT_EQ(live->figures().pages_different, 0);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    live->free_pages(rig_->pool->max_pages());
    EXPECT_EQ(sinks[i]->tokens, serve(nullptr, requests[i])->tokens) << i;
  }
  EXPECT_EQ(used_pages(), 0);
}

}  // namespace
}  // namespace hadal::engine
