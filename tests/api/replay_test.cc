#include <gtest/gtest.h>

#include <numeric>
#include <optional>

#include "api/outputs.h"
#include "api/prompt.h"
#include "api/replay_map.h"
#include "api/requests.h"
#include "text/golden_text.h"
#include "text/transcripts.h"

namespace hadal::api {
namespace {

using Ids = std::vector<std::int32_t>;

Hash128 name_of(std::initializer_list<std::int32_t> ids) {
  IdHash hash;
  hash.add(Ids(ids));
  return hash.value();
}

Ids found(ReplayMap& map, std::string_view domain, const Hash128& prompt, const TurnName& turn) {
  const auto ids = map.find(domain, prompt, turn);
  return {ids.begin(), ids.end()};
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
  EXPECT_EQ(found(map, "mine", name_of({1, 2}), said("a")), Ids({7, 8}));
  EXPECT_EQ(found(map, "mine", name_of({1, 3}), said("a")), Ids());
  EXPECT_EQ(found(map, "mine", name_of({1, 2}), said("b")), Ids());
  EXPECT_EQ(found(map, "other", name_of({1, 2}), said("a")), Ids());
  EXPECT_EQ(map.figures().hits, 1);
  EXPECT_EQ(map.figures().misses, 3);
  map.forget("mine");
  EXPECT_EQ(found(map, "mine", name_of({1, 2}), said("a")), Ids());
  EXPECT_EQ(map.figures().turns, 0U);
  EXPECT_EQ(map.figures().bytes, 0U);
}

TEST(ApiReplayMap, CallIdsDecideBetweenEqualTexts) {
  ReplayMap map;
  map.remember("d", name_of({1}), said("a", {"one"}), Ids{7});
  map.remember("d", name_of({1}), said("a", {"two"}), Ids{8});
  EXPECT_EQ(found(map, "d", name_of({1}), said("a", {"one"})), Ids({7}));
  EXPECT_EQ(found(map, "d", name_of({1}), said("a", {"two"})), Ids({8}));
  EXPECT_EQ(found(map, "d", name_of({1}), said("a", {"rewritten"})), Ids({8}));  // the latest
  map.remember("d", name_of({1}), said("a", {"three"}), Ids{7});
  EXPECT_EQ(map.figures().turns, 2U);  // equal ids are one turn
  EXPECT_EQ(found(map, "d", name_of({1}), said("a", {"rewritten"})), Ids({7}));
}

TEST(ApiReplayMap, BoundsHoldAndTheLeastRecentlyUsedGoes) {
  ReplayMap map({.bytes = 40'000, .domain_bytes = 20'000});
  const Ids ids(500);  // 2,000 bytes
  const auto fill = [&](std::string_view domain, int count) {
    for (std::int32_t i = 0; i < count; ++i) {
      map.remember(domain, name_of({i}), said("a"), ids);
      EXPECT_EQ(found(map, domain, name_of({0}), said("a")), ids);  // stays in use
      EXPECT_LE(map.figures().bytes, 40'000U);
    }
  };
  fill("one", 20);
  EXPECT_EQ(map.figures().turns, 8U);  // of the domain's bound
  EXPECT_EQ(found(map, "one", name_of({1}), said("a")), Ids());
  EXPECT_EQ(found(map, "one", name_of({19}), said("a")), ids);
  fill("two", 20);
  EXPECT_EQ(found(map, "one", name_of({19}), said("a")), ids);  // one domain cannot push out another
  fill("three", 20);
  EXPECT_EQ(found(map, "three", name_of({0}), said("a")), ids);
  EXPECT_GT(map.figures().evictions, 24);
  map.remember("four", name_of({0}), said("a"), Ids(5'000));  // too long by itself
  EXPECT_EQ(found(map, "four", name_of({0}), said("a")), Ids());
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
  EXPECT_EQ(found(again, "one", name_of({0}), said("a", {"c"})), Ids(500, 0));
  EXPECT_EQ(found(again, "one", name_of({4}), said("a")), Ids(500, 4));
  EXPECT_EQ(found(again, "one", name_of({3}), said("a")), Ids());
  EXPECT_EQ(found(again, "two", name_of({1}), said("b")), Ids({1, 2, 3}));
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

TEST(ApiChoiceTurn, OnlyACompleteTurnHasAName) {
  const RandomBits random = counter();
  const auto name = [&random](std::string_view text, ChatChoiceOptions options, Ending ending = Ending::kEos) {
    ChatChoice choice(Family::kDeepSeek, std::move(options), random);
    (void)say(choice, text);
    (void)choice.finish(ending);
    return choice.turn();
  };
  EXPECT_EQ(name("a", {.inside_reasoning = false}), said("a"));
  EXPECT_EQ(name("a", {.inside_reasoning = false}, Ending::kMaxTokens), said("a"));
  EXPECT_EQ(name("why</think>a", {}),
            turn_name({.role = "assistant", .content = {.text = "a"}, .reasoning_content = "why"}, true));
  EXPECT_FALSE(name("why", {}));                                           // still thinking
  EXPECT_FALSE(name("aXb", {.inside_reasoning = false, .stops = {"X"}}));  // cut
  EXPECT_FALSE(name("a<think>b", {.inside_reasoning = false}));            // a marker was dropped
  EXPECT_FALSE(name("a", {.inside_reasoning = false}, Ending::kAborted));
  EXPECT_FALSE(name("a", {.inside_reasoning = false, .continues = true}));
  EXPECT_FALSE(name("why</think>a", {.reasoning = ReasoningPlace::kNowhere}));
  constexpr std::string_view kOne = "<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n</｜DSML｜invoke>\n";
  const ChatChoiceOptions one_call{.inside_reasoning = false, .tools = true, .one_call = true};
  EXPECT_TRUE(name(std::string(kOne) + "</｜DSML｜tool_calls>", one_call));
  EXPECT_FALSE(name(std::string(kOne) + "<｜DSML｜invoke name=\"g\">\n</｜DSML｜invoke>", one_call));
  EXPECT_FALSE(name("<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">", {.inside_reasoning = false, .tools = true},
                    Ending::kMaxTokens));
}

const text::Tokenizer& tokenizer() { return text::v4_tokenizer(); }

/// Ids of a model's text as a model may sample them: ordinary text cut at random characters, so that the tokens are
/// mostly others than those of the whole text.
Ids sampled(std::string_view text, text::Choices& choices) {
  Ids out;
  const auto add = [&](std::string_view piece) {
    const auto ids = tokenizer().encode(piece, {.added_tokens = text::AddedTokens::kOff});
    out.insert(out.end(), ids->begin(), ids->end());
  };
  while (!text.empty()) {
    const auto [next, marker] = find_marker(text);
    std::string_view plain = text.substr(0, next);
    text.remove_prefix(std::min(text.size(), plain.size() + marker.size()));
    while (!plain.empty()) {
      std::size_t size = 1 + choices.below(5);
      while (size < plain.size() && (static_cast<unsigned char>(plain[size]) & 0xC0) == 0x80) ++size;
      add(plain.substr(0, size));
      plain.remove_prefix(std::min(size, plain.size()));
    }
    if (!marker.empty()) out.push_back(*tokenizer().added_token_id(marker));
  }
  return out;
}

/// A client that sends back what it was given.
class Client {
 public:
  Client(Family family, bool thinking) : family_(family), thinking_(thinking) { user("q"); }

  [[nodiscard]] ChatRequest request() const {
    const std::string thinks = thinking_ ? "" : R"("thinking":{"type":"disabled"},)";
    const auto read =
        chat(family_, messages_body(messages_, thinks + R"("tools":[{"type":"function","function":{"name":"f"}}],)"));
    EXPECT_TRUE(read) << read.error().message << messages_;
    return *read;
  }

  /// Adds the answer's message and what has to follow it. `respaced`: arguments are written again, as some clients do.
  void answer(std::string_view body, bool respaced) {
    const auto json = text::parse_json(body);
    text::JsonValue message = *json->find("choices")->items[0].find("message");
    std::string results;
    for (text::JsonMember& member : message.members) {
      if (member.key != "tool_calls") continue;
      for (text::JsonValue& call : member.value.items) {
        text::JsonValue& arguments = call.members[2].value.members[1].value;
        if (respaced) {
          std::string again;
          text::append_compact_json(again, *text::parse_json(arguments.text));
          arguments.text = again;
        }
        results += R"(,{"role":"tool","tool_call_id":")" + call.members[0].value.text + R"(","content":"r"})";
      }
    }
    messages_ += ",";
    text::append_compact_json(messages_, message);
    messages_ += results;
    if (results.empty()) user("next");
  }

 private:
  void user(std::string_view text) {
    if (!messages_.empty()) messages_ += ",";
    messages_ += R"({"role":"user","content":")" + std::string(text) + R"("})";
  }

  Family family_;
  bool thinking_;
  std::string messages_;
};

struct Answered {
  std::string body;
  std::optional<TurnName> turn;
};

Answered answered(const ChatRequest& request, bool inside_reasoning, const Ids& ids) {
  const RandomBits random = counter();
  ChatChoice choice(request.family, choice_options(request, inside_reasoning), random);
  ChatBody body(chat_form(request, {.family = request.family}));
  PieceReader pieces(tokenizer());
  for (const std::int32_t id : ids) body.add(0, choice.push(pieces.read(id)));
  body.add(0, choice.finish(Ending::kEos, pieces.finish()));
  body.finish(0, *choice.reason());
  return {body.text({}), choice.turn()};
}

TEST(ApiReplay, Check131_132_OwnTurnsComeBackAsTheSampledIds) {
  const std::int32_t eos = *tokenizer().eos_id();
  int replayed = 0;
  int others = 0;  // turns whose tokens would have been others
  for (std::uint32_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(seed);
    text::Choices choices(seed + 900'000);
    const bool thinking = choices.one_in(2);
    Client client(choices.one_in(2) ? Family::kDeepSeek : Family::kOpenAi, thinking);
    ReplayMap map;
    Ids before;  // what the next prompt must begin with
    for (int turn = 0; turn < 4; ++turn) {
      const ChatRequest request = client.request();
      const auto rendered = render_prompt(request);
      ASSERT_TRUE(rendered);
      const auto prompt = encode_chat(tokenizer(), request, *rendered, &map, "domain");
      ASSERT_TRUE(prompt);
      ASSERT_GE(prompt->ids.size(), before.size());
      ASSERT_TRUE(std::equal(before.begin(), before.end(), prompt->ids.begin()));
      EXPECT_EQ(prompt->replayed + prompt->rendered, turn);
      EXPECT_EQ(*tokenizer().decode(prompt->ids), rendered->text);
      replayed += static_cast<int>(prompt->replayed);
      const auto plain = encode(tokenizer(), *rendered);
      ASSERT_EQ(encode_chat(tokenizer(), request, *rendered, &map, "other")->ids, *plain);
      others += *plain == prompt->ids ? 0 : 1;

      const text::Message message = text::assistant_message(choices);
      const text::Output output = text::output_of(message, {.thinking_mode = thinking ? "thinking" : "chat"});
      const Ids ids = sampled(output.text, choices);
      const Answered answer = answered(request, rendered->inside_reasoning, ids);
      client.answer(answer.body, choices.one_in(2));
      before = prompt->ids;
      if (!answer.turn) continue;
      map.remember("domain", prompt->name, *answer.turn, ids);
      before.insert(before.end(), ids.begin(), ids.end());
      before.push_back(eos);
    }
  }
  EXPECT_GT(replayed, 300);  // of 360
  EXPECT_GT(others, 150);
  RecordProperty("replayed_turns", replayed);
}

TEST(ApiReplay, AnAlteredTurnIsRendered) {
  ReplayMap map;
  const auto request = [](std::string_view answer) {
    return *chat(Family::kDeepSeek, messages_body(R"({"role":"user","content":"q"},{"role":"assistant","content":")" +
                                                      std::string(answer) + R"("},{"role":"user","content":"r"})",
                                                  R"("thinking":{"type":"disabled"},)"));
  };
  const ChatRequest first =
      *chat(Family::kDeepSeek, messages_body(R"({"role":"user","content":"q"})", R"("thinking":{"type":"disabled"},)"));
  const auto prompt = encode_chat(tokenizer(), first, *render_prompt(first), &map, "d");
  ASSERT_TRUE(prompt);
  EXPECT_EQ(prompt->name, [&] {
    IdHash hash;
    hash.add(prompt->ids);
    return hash.value();
  }());
  map.remember("d", prompt->name, said("Hello"), *tokenizer().encode("H"));
  const auto encoded = [&](std::string_view answer, ReplayMap* replays) {
    const ChatRequest again = request(answer);
    return *encode_chat(tokenizer(), again, *render_prompt(again), replays, "d");
  };
  EXPECT_EQ(encoded("Hello", &map).replayed, 1);
  EXPECT_NE(encoded("Hello", &map).ids, encoded("Hello", nullptr).ids);
  EXPECT_EQ(encoded("Hello!", &map).rendered, 1);
  EXPECT_EQ(encoded("Hello!", &map).ids, encoded("Hello!", nullptr).ids);
}

TEST(ApiPromptIds, TheEndOfSystemAndToolsIsMarked) {
  const ChatRequest request =
      *chat(Family::kDeepSeek,
            messages_body(R"({"role":"system","content":"a <｜User｜> b"},{"role":"user","content":"q"})"));
  const auto rendered = render_prompt(request);
  const auto prompt = encode_chat(tokenizer(), request, *rendered, nullptr, "");
  ASSERT_EQ(prompt->marks.size(), 1U);
  const auto mark = static_cast<std::size_t>(prompt->marks[0]);
  EXPECT_EQ(prompt->ids[mark], *tokenizer().added_token_id("<｜User｜>"));
  EXPECT_EQ(std::ranges::count(prompt->ids, prompt->ids[mark]), 1);  // the client's spelling is text
  EXPECT_EQ(prompt->ids, *encode(tokenizer(), *rendered));
}

}  // namespace
}  // namespace hadal::api
