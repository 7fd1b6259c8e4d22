#include <gtest/gtest.h>

#include <optional>

#include "api/outputs.h"
#include "api/prompt.h"
#include "api/requests.h"
#include "text/golden_text.h"
#include "text/transcripts.h"

namespace hadal::api {
namespace {

using Ids = std::vector<std::int32_t>;

TurnName said(std::string content) {
  text::ParsedMessage message;
  message.content = std::move(content);
  return turn_name(message, {});
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

Answered answered(const ChatRequest& request, bool inside_reasoning, const Ids& ids, Ending ending = Ending::kEos) {
  const RandomBits random = counter();
  ChatChoice choice(request.family, choice_options(request, inside_reasoning), random);
  ChatBody body(chat_form(request, {.family = request.family}));
  PieceReader pieces(tokenizer());
  for (const std::int32_t id : ids) body.add(0, choice.push(pieces.read(id)));
  body.add(0, choice.finish(ending, pieces.finish()));
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

TEST(ApiReplay, AContinuedTurnIsReplayedAndRememberedWhole) {
  for (const bool thinking : {false, true}) {
    SCOPED_TRACE(thinking);
    ReplayMap map;
    const std::string members =
        std::string(thinking ? "" : R"("thinking":{"type":"disabled"},)") + R"("tools":[{"function":{"name":"f"}}],)";
    const auto encoded = [&](const ChatRequest& request) {
      return *encode_chat(tokenizer(), request, *render_prompt(request), &map, "d");
    };
    const auto with = [&](std::string_view messages) {
      return *chat(Family::kDeepSeek,
                   messages_body(R"({"role":"user","content":"q"})" + std::string(messages), members));
    };
    const auto ids_of = [](std::initializer_list<std::string_view> pieces) {
      Ids out;
      for (const std::string_view piece : pieces)
        std::ranges::copy(*tokenizer().encode(piece), std::back_inserter(out));
      return out;
    };
    const auto assistant = [&](std::string_view content, std::string_view more) {
      return R"(,{"role":"assistant",)" + std::string(thinking ? R"("reasoning_content":"why",)" : "") +
             R"("content":")" + std::string(content) + "\"" + std::string(more) + "}";
    };
    // The first answer is cut by max_tokens.
    const ChatRequest first = with("");
    const ChatPrompt prompt = encoded(first);
    EXPECT_TRUE(prompt.opened.empty());
    const Ids cut = thinking ? ids_of({"w", "hy", "</think>", "Hel"}) : ids_of({"H", "el"});
    const Answered answer = answered(first, thinking, cut, Ending::kMaxTokens);
    ASSERT_TRUE(answer.turn);
    map.remember("d", prompt.name, *answer.turn, cut);

    const ChatRequest second = with(assistant("Hel", R"(,"prefix":true)"));
    const ChatPrompt open = encoded(second);
    EXPECT_EQ(open.replayed, 1);
    EXPECT_EQ(open.opened, cut);
    EXPECT_EQ(open.name, prompt.name);
    const Ids rest = ids_of({"l", "o"});
    const Answered continued = answered(second, false, rest, Ending::kEos);
    ASSERT_TRUE(continued.turn);
    Ids all = open.opened;
    all.insert(all.end(), rest.begin(), rest.end());
    map.remember("d", open.name, *continued.turn, all);

    const ChatPrompt third = encoded(with(assistant("Hello", "") + R"(,{"role":"user","content":"r"})"));
    Ids expected = prompt.ids;
    expected.insert(expected.end(), all.begin(), all.end());
    expected.push_back(*tokenizer().eos_id());
    EXPECT_EQ(third.replayed, 1);
    ASSERT_GT(third.ids.size(), expected.size());
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), third.ids.begin()));
  }
}

TEST(ApiReplay, ContinuedReasoningIsNotTakenForAClosedTurn) {
  ReplayMap map;
  const std::string members = R"("tools":[{"function":{"name":"f"}}],)";
  const ChatRequest first = *chat(Family::kDeepSeek, messages_body(R"({"role":"user","content":"q"})", members));
  const ChatPrompt prompt = *encode_chat(tokenizer(), first, *render_prompt(first), &map, "d");
  text::ParsedMessage closed;
  closed.reasoning_content = "hm";
  map.remember("d", prompt.name, turn_name(closed, {}), *tokenizer().encode("hm</think>"));
  const ChatRequest open = *chat(
      Family::kDeepSeek,
      messages_body(R"({"role":"user","content":"q"},{"role":"assistant","reasoning_content":"hm","prefix":true})",
                    members));
  const auto rendered = render_prompt(open);
  const ChatPrompt continued = *encode_chat(tokenizer(), open, *rendered, &map, "d");
  EXPECT_EQ(continued.ids, *encode(tokenizer(), *rendered));
  EXPECT_EQ(continued.opened, *tokenizer().encode("hm"));
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
