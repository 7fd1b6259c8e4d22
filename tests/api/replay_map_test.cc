#include "api/replay_map.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

namespace hadal::api {
namespace {

using Ids = std::vector<std::int32_t>;

Hash128 name_of(std::initializer_list<std::int32_t> ids) {
  IdHash hash;
  hash.add(Ids(ids));
  return hash.value();
}

TurnName said(std::string content, std::vector<std::string> call_ids = {}) {
  text::ParsedMessage message;
  message.content = std::move(content);
  return turn_name(message, call_ids);
}

TEST(ApiIdHash, ValuesDoNotDependOnTheCut) {
  Ids ids(1000);
  std::iota(ids.begin(), ids.end(), 0);
  IdHash whole;
  whole.add(ids);
  IdHash pieces;
  for (std::size_t at = 0; at < ids.size(); at += 7) {
    pieces.add(std::span(ids).subspan(at, std::min<std::size_t>(7, ids.size() - at)));
  }
  EXPECT_EQ(pieces.value(), whole.value());
  whole.add(Ids{0});
  EXPECT_NE(pieces.value(), whole.value());
  EXPECT_NE(name_of({1, 2}), name_of({2, 1}));
}

text::Message calling(std::string arguments, std::string id = "x") {
  text::Message message{.role = "assistant"};
  message.tool_calls.push_back({.id = std::move(id), .name = "f", .arguments = std::move(arguments)});
  return message;
}

TEST(ApiTurnName, Check132_ArgumentsAreComparedAsValues) {
  const TurnName name = turn_name(calling(R"({"a": 1, "b": [1.0, "x"], "c": {"d": null, "e": 1e3}})"), false);
  EXPECT_EQ(turn_name(calling(R"({"c":{"e":1000,"d":null},"b":[1,"\u0078"],"a":1})"), false), name);
  EXPECT_NE(turn_name(calling(R"({"a": 2, "b": [1.0, "x"], "c": {"d": null, "e": 1e3}})"), false), name);
  EXPECT_NE(turn_name(calling(R"({"a": "1", "b": [1.0, "x"], "c": {"d": null, "e": 1e3}})"), false).message,
            name.message);
  EXPECT_NE(turn_name(calling("[1,[2]]"), false).message, turn_name(calling("[[1],2]"), false).message);
  EXPECT_NE(turn_name(calling("9007199254740993"), false), turn_name(calling("9007199254740992"), false));
  EXPECT_EQ(turn_name(calling("no json"), false), turn_name(calling("no json"), false));
  EXPECT_NE(turn_name(calling("{}", "y"), false).calls, turn_name(calling("{}"), false).calls);
  EXPECT_EQ(turn_name(calling("{}", "y"), false).message, turn_name(calling("{}"), false).message);
}

TEST(ApiTurnName, ReasoningCountsOnlyWhereThePromptShowsIt) {
  text::Message message{.role = "assistant", .content = {.text = "a"}, .reasoning_content = "why"};
  EXPECT_EQ(turn_name(message, false), said("a"));
  EXPECT_NE(turn_name(message, true), said("a"));
  message.content = {.parts = {{.type = "text", .text = "a"}}, .is_list = true};
  EXPECT_EQ(turn_name(message, false), said("a"));
}

TEST(ApiReplayMap, FindsATurnBehindItsOwnPromptAndInItsOwnDomainOnly) {
  ReplayMap map;
  map.remember("mine", name_of({1, 2}), said("a"), Ids{7, 8});
  EXPECT_EQ(map.find("mine", name_of({1, 2}), said("a")), Ids({7, 8}));
  EXPECT_EQ(map.find("mine", name_of({1, 3}), said("a")), Ids());
  EXPECT_EQ(map.find("mine", name_of({1, 2}), said("b")), Ids());
  EXPECT_EQ(map.find("other", name_of({1, 2}), said("a")), Ids());
  EXPECT_EQ(map.figures().hits, 1);
  EXPECT_EQ(map.figures().misses, 3);
  map.forget("mine");
  EXPECT_EQ(map.find("mine", name_of({1, 2}), said("a")), Ids());
  EXPECT_EQ(map.figures().turns, 0U);
  EXPECT_EQ(map.figures().bytes, 0U);
}

TEST(ApiReplayMap, CallIdsDecideBetweenEqualTexts) {
  ReplayMap map;
  map.remember("d", name_of({1}), said("a", {"one"}), Ids{7});
  map.remember("d", name_of({1}), said("a", {"two"}), Ids{8});
  EXPECT_EQ(map.find("d", name_of({1}), said("a", {"one"})), Ids({7}));
  EXPECT_EQ(map.find("d", name_of({1}), said("a", {"two"})), Ids({8}));
  EXPECT_EQ(map.find("d", name_of({1}), said("a", {"rewritten"})), Ids({8}));  // the latest
  map.remember("d", name_of({1}), said("a", {"three"}), Ids{7});
  EXPECT_EQ(map.figures().turns, 2U);  // equal ids are one turn
  EXPECT_EQ(map.find("d", name_of({1}), said("a", {"rewritten"})), Ids({7}));
}

TEST(ApiReplayMap, BoundsHoldAndTheLeastRecentlyUsedGoes) {
  ReplayMap map({.bytes = 40'000, .domain_bytes = 20'000});
  const Ids ids(500);  // 2,000 bytes
  const auto fill = [&](std::string_view domain, int count) {
    for (std::int32_t i = 0; i < count; ++i) {
      map.remember(domain, name_of({i}), said("a"), ids);
      EXPECT_EQ(map.find(domain, name_of({0}), said("a")), ids);  // stays in use
      EXPECT_LE(map.figures().bytes, 40'000U);
    }
  };
  fill("one", 20);
  EXPECT_EQ(map.figures().turns, 8U);  // of the domain's bound
  EXPECT_EQ(map.find("one", name_of({1}), said("a")), Ids());
  EXPECT_EQ(map.find("one", name_of({19}), said("a")), ids);
  fill("two", 20);
  EXPECT_EQ(map.find("one", name_of({19}), said("a")), ids);  // one domain cannot push out another
  fill("three", 20);
  EXPECT_EQ(map.find("three", name_of({0}), said("a")), ids);
  EXPECT_GT(map.figures().evictions, 24);
  map.remember("four", name_of({0}), said("a"), Ids(5'000));  // too long by itself
  EXPECT_EQ(map.find("four", name_of({0}), said("a")), Ids());
}

TEST(ApiReplayMap, ASavedMapComesBackInItsOrder) {
  ReplayMap map({.bytes = 40'000, .domain_bytes = 20'000});
  for (std::int32_t i = 0; i < 5; ++i) map.remember("one", name_of({i}), said("a", {"c"}), Ids(500, i));
  map.remember("two", name_of({1}), said("b"), Ids{1, 2, 3});
  (void)map.find("one", name_of({0}), said("a"));  // now the last one to go
  const Hash128 identity = name_of({42});
  const std::string bytes = map.save(identity);
  ReplayMap again({.bytes = 40'000, .domain_bytes = 6'000});  // for two turns of the first domain
  ASSERT_TRUE(again.load(bytes, identity));
  EXPECT_EQ(again.figures().turns, 3U);
  EXPECT_EQ(again.find("one", name_of({0}), said("a", {"c"})), Ids(500, 0));
  EXPECT_EQ(again.find("one", name_of({4}), said("a")), Ids(500, 4));
  EXPECT_EQ(again.find("one", name_of({3}), said("a")), Ids());
  EXPECT_EQ(again.find("two", name_of({1}), said("b")), Ids({1, 2, 3}));
  ReplayMap whole;
  ASSERT_TRUE(whole.load(bytes, identity));
  EXPECT_EQ(whole.save(identity), bytes);

  ReplayMap none;
  EXPECT_EQ(none.load(bytes, name_of({43})).error().code, ErrorCode::kUnsupported);
  for (const std::size_t at : {std::size_t{0}, std::size_t{9}, std::size_t{40}, bytes.size() / 2, bytes.size() - 1}) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    EXPECT_EQ(none.load(damaged, identity).error().code, ErrorCode::kCorrupt) << at;
    EXPECT_EQ(none.load(std::string_view(bytes).substr(0, at), identity).error().code, ErrorCode::kCorrupt) << at;
  }
  EXPECT_EQ(none.figures().turns, 0U);
}

TEST(ApiReplayMap, ManyThreadsUseOneMap) {
  ReplayMap map({.bytes = 60'000, .domain_bytes = 20'000});
  std::atomic<int> wrong = 0;
  {
    std::vector<std::jthread> threads;
    threads.reserve(4);
    for (std::int32_t thread = 0; thread < 4; ++thread) {
      threads.emplace_back([&map, &wrong, thread] {
        const std::string domain = std::to_string(thread % 2);
        for (std::int32_t i = 0; i < 300; ++i) {
          map.remember(domain, name_of({i % 20}), said("a"), Ids(100, i % 20));
          const Ids ids = map.find(domain, name_of({(i + thread) % 20}), said("a"));
          if (!ids.empty() && ids != Ids(100, (i + thread) % 20)) ++wrong;
          if (i % 50 == 0) (void)map.save(name_of({1}));
        }
      });
    }
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_LE(map.figures().bytes, 60'000U);
  map.forget("0");
  map.forget("1");
  EXPECT_EQ(map.figures().bytes, 0U);
}

}  // namespace
}  // namespace hadal::api
