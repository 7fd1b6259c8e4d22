#include "engine/prefix_hits.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/philox.h"
#include "engine/ask_service.h"
#include "formats/presets.h"
#include "formats/random_checkpoint.h"
#include "testing/temp_directory.h"

namespace hadal::testing {
namespace {

constexpr std::int64_t kDrafts = 3;
constexpr std::int64_t kMostDrafts = 5;  // of DSpark's block

std::int64_t whole_pages(std::int64_t tokens) { return tokens / ops::kPageTokens * ops::kPageTokens; }

}  // namespace

std::vector<HitCase> hit_cases(std::int64_t every) {
  std::vector<HitCase> cases;
  cases.push_back({.name = "end of system and tools",
                   .options = {.keep_tails = false},
                   .marks = {300},
                   .prompts = {{400, 400, 0}, {300, 390, 256}, {300, 450, 256}, {300, 500, 256}}});
  cases.push_back({.name = "end of a prompt",
                   .options = {.keep_tails = false},
                   .first_prompt = 300,
                   .answer = 20,  // too short to fill a page
                   .added = 100,
                   .cached = {0, 256, 384, 512}});
  cases.push_back({.name = "end of an answer",
                   .options = {.keep_tails = false},
                   .first_prompt = 200,
                   .answer = 100,
                   .added = 30,
                   .cached = {0, 256, 384, 512}});
  // The last whole page of a prompt is kept anyway: those here go other ways before it.
  const std::int64_t end = 4 * every - 24;
  cases.push_back({.name = "long prefill",
                   .options = {.keep_every = every, .keep_tails = false},
                   .prompts = {{end, end, 0},
                               {2 * every + 188, 2 * every + 300, 2 * every},
                               {3 * every + 70, 3 * every + 200, 3 * every},
                               {every + 44, every + 190, every}}});
  cases.push_back(
      {.name = "divergence seen twice",
       .options = {.keep_tails = false},
       .prompts = {{450, 450, 0}, {300, 460, 0}, {300, 470, 0}, {300, 480, 256}, {300, 500, 256}, {300, 440, 256}},
       .teaching = 3});
  cases.push_back({.name = "live tail", .first_prompt = 200, .answer = 21, .added = 30, .cached = {0, 220, 271, 322}});
  return cases;
}

std::vector<HitCase> cases_without_their_kind() {
  std::vector<HitCase> cases;
  for (HitCase& made : hit_cases(256)) {
    if (made.name == "end of system and tools") {
      made.marks.clear();
      made.prompts = {{400, 400, 0}, {300, 390, 0}};
    } else if (made.name == "long prefill") {
      made.options.keep_every = 2048;
      made.prompts.resize(2);
      made.prompts[1].cached = 0;
    } else if (made.name == "live tail") {
      made.options.keep_tails = false;
      made.cached = {0, 128};
    } else {
      continue;  // always kept; "divergence" has prompts that find nothing yet
    }
    cases.push_back(std::move(made));
  }
  return cases;
}

/// A service that caches, on a rig of its own.
struct HitBench::Served {
  std::unique_ptr<Rig> rig;
  engine::ServiceOptions options;
  std::filesystem::path directory;  // empty: memory only
  std::int64_t chunk = 0;
  bool restarts = false;  // before every request
  std::unique_ptr<engine::PrefixCache> cache;
  std::unique_ptr<engine::Service> service;

  void begin() {
    auto made = engine::PrefixCache::create(*rig->executor, {.fingerprint = "test", .directory = directory});
    ASSERT_TRUE(made) << made.error().message;
    cache = std::move(*made);
    auto started = engine::Service::start(*rig->executor, cache.get(), nullptr, options);
    ASSERT_TRUE(started) << started.error().message;
    service = std::move(*started);
  }
  /// All that it knows afterwards is in its files.
  void begin_again() {
    service.reset();
    cache.reset();
    ASSERT_EQ(rig->pool->free_pages(), rig->pool->max_pages());
    ASSERT_EQ(rig->pool->free_slots(), rig->pool->max_sequences());
    begin();
  }
};

HitBench::HitBench(const std::string& checkpoint, std::int64_t context) : context_(context) {
  if (checkpoint == "tiny-mtp") {
    const auto temporary = std::make_shared<testing_support::TempDirectory>();
    temporary_ = temporary;
    directory_ = *temporary / checkpoint;
    const auto config = formats::with_drafter(*formats::preset("tiny"), formats::DrafterFields::kMtp);
    EXPECT_TRUE(
        formats::write_random_checkpoint({.directory = directory_, .config = config, .formats = {}, .seed = 3}));
  } else {
    directory_ = golden_path(checkpoint + "/checkpoint").value();
  }
  plain_ = Rig::open_checkpoint(directory_, kDrafts, context, Rig::kRows);
}

std::vector<std::int64_t> HitBench::text(std::uint32_t seed, std::int64_t size) const {
  std::vector<std::int64_t> tokens;
  tokens.reserve(static_cast<std::size_t>(size));
  for (std::uint32_t i = 0; i < static_cast<std::uint32_t>(size); ++i) {
    tokens.push_back(philox({i, 0, 0, 0}, {seed, 21})[0] % plain_->model->config().vocab_size);
  }
  return tokens;
}

const HitBench::Answer& HitBench::fresh(const engine::ServiceRequest& request) {
  const auto& options = request.options;
  const auto [at, is_new] = answers_.try_emplace({request.prompt, options.sampling.seed, options.max_tokens});
  if (is_new) {
    const auto service = engine::Service::start(*plain_->executor, nullptr, nullptr, {}).value();
    engine::ServiceRequest alone = request;
    alone.options.drafts = engine::DraftMode::kOff;
    const auto sink = answer_of(*service, alone);
    at->second = {.tokens = sink->tokens, .logprobs = sink->logprobs};
  }
  return at->second;
}

std::vector<std::int64_t> HitBench::ask(Served& served, engine::ServiceRequest request, std::int64_t cached) {
  if (served.restarts) served.begin_again();
  // A round of drafts is one step.
  const bool drafts = request.options.sampling.seed % 2 == 0 && served.chunk > kMostDrafts;
  request.options.drafts = drafts ? engine::DraftMode::kOn : engine::DraftMode::kOff;
  const auto sink = answer_of(*served.service, request);
  const Answer& expected = fresh(request);
  EXPECT_EQ(sink->tokens, expected.tokens);
  EXPECT_EQ(sink->logprobs, expected.logprobs);
  EXPECT_EQ(static_cast<std::int64_t>(sink->tokens.size()), request.options.max_tokens);
  if (!sink->admission) {
    ADD_FAILURE() << "never admitted";
    return sink->tokens;
  }
  EXPECT_EQ(sink->admission->cached_tokens, cached);
  const auto tier = served.restarts ? engine::PrefixTier::kDisk : engine::PrefixTier::kMemory;
  EXPECT_EQ(sink->admission->tier, cached > 0 ? tier : engine::PrefixTier::kNone);
  EXPECT_EQ(sink->result->statistics.prompt_tokens, static_cast<std::int64_t>(request.prompt.size()) - cached);
  (served.restarts ? hits_from_disk_ : hits_from_memory_) += cached > 0 ? 1 : 0;
  return sink->tokens;
}

std::vector<std::int64_t> HitBench::ask_twice(Served& served, const engine::ServiceRequest& request,
                                              std::int64_t cached) {
  const std::vector<std::int64_t> first = ask(served, request, cached);
  SCOPED_TRACE("the second answer");
  engine::ServiceRequest again = request;
  ++again.options.sampling.seed;
  // By now the end of the prompt is kept, and a tail that was gone on from is not.
  const std::int64_t kept = whole_pages(static_cast<std::int64_t>(request.prompt.size()) - 1);
  const bool from_tail = cached % ops::kPageTokens != 0;
  EXPECT_NE(ask(served, again, from_tail ? kept : std::max(cached, kept)), first);
  return first;
}

void HitBench::run(const HitCase& given, std::int64_t chunk, bool on_disk) {
  const testing_support::TempDirectory files;
  Served served{.rig = Rig::open_checkpoint(directory_, kDrafts, context_, chunk),
                .options = given.options,
                .directory = on_disk ? files.path() : std::filesystem::path(),
                .chunk = chunk,
                .restarts = false,
                .cache = nullptr,
                .service = nullptr};
  ASSERT_NE(served.rig, nullptr);
  ASSERT_NO_FATAL_FAILURE(served.begin());
  engine::ServiceRequest request{.prompt = {}, .options = {.max_tokens = given.answer}, .marks = given.marks};
  request.options.sampling = {.temperature = 1, .logprobs = 2};
  const std::size_t turns = given.prompts.empty() ? given.cached.size() : given.prompts.size();
  const std::vector<std::int64_t> base =
      text(0, given.prompts.empty() ? given.first_prompt : given.prompts.front().size);
  request.prompt = base;
  for (std::size_t turn = 0; turn < turns; ++turn) {
    SCOPED_TRACE(fmt::format("{}, steps of {}, {}, turn {}", given.name, chunk, on_disk ? "disk" : "memory", turn));
    served.restarts = on_disk && turn >= given.teaching;
    request.options.sampling.seed = 10 + 3 * turn;  // both seeds of a turn differ from all others
    if (!given.prompts.empty()) {
      const SharedPrompt& prompt = given.prompts[turn];
      request.prompt.assign(base.begin(), base.begin() + prompt.shared);
      const auto own = text(static_cast<std::uint32_t>(turn + 1), prompt.size - prompt.shared);
      request.prompt.insert(request.prompt.end(), own.begin(), own.end());
      static_cast<void>(ask_twice(served, request, prompt.cached));
      continue;
    }
    const auto answer = ask_twice(served, request, given.cached[turn]);
    request.prompt.insert(request.prompt.end(), answer.begin(), answer.end());
    const auto user = text(static_cast<std::uint32_t>(turn + 1), given.added);
    request.prompt.insert(request.prompt.end(), user.begin(), user.end());
  }
  EXPECT_EQ(served.cache->figures().pages_different, 0);
  EXPECT_EQ(served.cache->figures().disk.corrupt, 0);
}

}  // namespace hadal::testing
