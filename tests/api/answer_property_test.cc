#include <gtest/gtest.h>

#include "api/outputs.h"
#include "text/transcripts.h"
#include "text/utf8.h"

namespace hadal::api {
namespace {

constexpr std::string_view kOther = "<｜User｜>";  // a special token that is no marker

/// What a model generated: ordinary text and special tokens.
struct Generated {
  std::string text;
  std::string_view special;  // behind the text
};

struct Transcript {
  std::vector<Generated> generated;
  std::string inert;  // the whole text with quoted markers made harmless, without kOther
  bool quoted = false;
  ChatChoiceOptions options;
  Family family = Family::kDeepSeek;
  Ending ending = Ending::kEos;
};

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

/// `text` without the beginning of a marker at its end: spelled out it may still become one, as tokens it cannot.
std::string without_open_marker(std::string text) {
  for (bool found = true; found;) {
    found = false;
    for (const std::string_view marker : kMarkers) {
      for (std::size_t size = marker.size() - 1; size > (marker == text::marker::kThinkEnd ? 2 : 1); --size) {
        if (!text.ends_with(marker.substr(0, size))) continue;
        text.resize(text.size() - size);
        found = true;
      }
    }
  }
  return text;
}

/// Turns the markers of a text into tokens; some of them stay characters when `quotes`.
Transcript tokens_of(const std::string& text, bool quotes, text::Choices& choices) {
  Transcript out;
  out.generated.emplace_back();
  std::size_t at = 0;
  while (true) {
    const auto [next, marker] = find_marker(text, at);
    const std::string plain = text.substr(at, next - at);
    out.generated.back().text += plain;
    out.inert += plain;
    if (next == std::string::npos) return out;
    at = next + marker.size();
    if (quotes && choices.one_in(2)) {
      out.generated.back().text += marker;
      out.inert += marker == text::marker::kDsml ? "｜DSMQ｜" : replaced(std::string(marker), "k>", "q>");
      out.quoted = true;
      continue;
    }
    out.generated.back().special = marker;
    out.generated.emplace_back();
    out.inert += marker;
    if (choices.one_in(16)) {
      out.generated.back().special = kOther;
      out.generated.emplace_back();
    }
  }
}

/// Text of the oracle as it is to be shown: markers that belong to no tag are dropped, quoted ones stand again.
std::string shown(std::string text) {
  for (const std::string_view marker : kMarkers) text = replaced(std::move(text), marker, "");
  return replaced(replaced(std::move(text), "DSMQ", "DSML"), "thinq>", "think>");
}

/// What a client makes of an answer, and the bytes of the tokens that its logprobs name.
struct Received {
  Assembled streamed, whole;
  std::string content_tokens, reasoning_tokens;
};

/// Cuts the text into pieces of next_size(bytes before) and sends them through whole characters, as tokens come.
template <class Size>
Received both_ways(const Transcript& transcript, const Size& next_size) {
  const RandomBits random = counter();
  ChatChoice choice(transcript.family, transcript.options, random);
  ChatStream stream(form(transcript.family, true));
  ChatBody body(form(transcript.family, true));
  text::Utf8Stream characters;
  Received out;
  std::string events;
  std::size_t before = 0;
  stream.begin(0, events);
  const auto add = [&](std::span<const Delta> deltas) {
    stream.add(0, deltas, events);
    body.add(0, deltas);
    for (const Delta& delta : deltas) {
      std::string& bytes = delta.kind == DeltaKind::kReasoning ? out.reasoning_tokens : out.content_tokens;
      for (const TokenLogprob& told : delta.tokens) bytes += told.bytes;
    }
  };
  for (const Generated& next : transcript.generated) {
    for (std::size_t at = 0; at < next.text.size() && !choice.ended();) {
      const std::string_view bytes = std::string_view(next.text).substr(at, next_size(before + at));
      std::string piece;
      characters.push(bytes, piece);
      add(choice.push({.text = piece}, token(std::string(bytes), -1)));
      at += bytes.size();
    }
    before += next.text.size();
    if (next.special.empty() || choice.ended()) continue;
    std::string piece;
    characters.finish(piece);
    add(choice.push({.text = piece, .special = next.special}, token(std::string(next.special), -1)));
  }
  std::string tail;
  characters.finish(tail);
  add(choice.finish(transcript.ending, tail));
  stream.finish(0, *choice.reason(), {}, events);
  body.finish(0, *choice.reason());
  out.streamed = assemble(events);
  out.whole = read_whole(body.text({}));
  return out;
}

Transcript transcript_of(std::uint32_t seed, text::Choices& choices) {
  Transcript out = tokens_of(without_open_marker(text::transcript(choices)), seed % 3 == 0, choices);
  out.options.inside_reasoning = choices.one_in(2);
  out.options.tools = true;
  out.options.logprobs = choices.one_in(2);
  out.family = choices.one_in(2) ? Family::kDeepSeek : Family::kOpenAi;
  out.ending = choices.one_in(2) ? Ending::kEos : Ending::kMaxTokens;
  if (choices.one_in(3)) out.options.stops = {"<b", "\n中", "ll"};
  return out;
}

struct Expected {
  std::string content, reasoning;
  std::vector<std::string> calls;  // "name arguments"
  bool stopped = false;
  bool exact_calls = true;
};

/// What a parser of the whole spelled text finds, with the stop strings looked for in its content.
Expected expected(const Transcript& transcript) {
  text::ChatParser parser({.thinking = transcript.options.inside_reasoning, .tools = true});
  (void)parser.push(transcript.inert);
  (void)parser.finish(transcript.ending == Ending::kEos ? text::StopReason::kStop : text::StopReason::kLength);
  const text::ParsedMessage& message = parser.message();
  Expected out;
  out.content = shown(message.content);
  out.reasoning = shown(message.reasoning_content);
  std::size_t cut = std::string::npos;
  std::size_t cut_end = std::string::npos;
  for (const std::string& stop : transcript.options.stops) {
    const std::size_t at = out.content.find(stop);
    if (at != std::string::npos && at + stop.size() < cut_end) cut_end = at + stop.size(), cut = at;
  }
  out.stopped = cut != std::string::npos;
  out.content = out.content.substr(0, cut);
  if (out.stopped) return out;
  for (const text::ParsedCall& call : message.tool_calls) {
    // A dropped marker may make a value JSON that is none with the marker spelled in it.
    if (find_marker(call.arguments).first != std::string::npos) out.exact_calls = false;
    out.calls.push_back(shown(call.name) + " " + shown(call.arguments));
  }
  return out;
}

void expect_whole(const Assembled& whole, const Expected& want) {
  EXPECT_EQ(whole.content, want.content);
  EXPECT_EQ(whole.reasoning, want.reasoning);
  ASSERT_EQ(whole.calls.size(), want.calls.size());
  for (std::size_t i = 0; want.exact_calls && i < want.calls.size(); ++i) {
    EXPECT_EQ(whole.calls[i].substr(whole.calls[i].find(' ') + 1), want.calls[i]);
  }
}

/// Nothing that only a token can say stands in the texts.
void expect_no_marker(const Transcript& transcript, const Assembled& whole) {
  std::string without;  // dropping a token may join the texts beside it to its characters
  for (const Generated& next : transcript.generated) without += next.text;
  for (const std::string_view marker : {kMarkers[0], kMarkers[1], kMarkers[2], kOther}) {
    if (without.find(marker) != std::string::npos) continue;
    EXPECT_EQ(whole.content.find(marker), std::string::npos) << marker;
    EXPECT_EQ(whole.reasoning.find(marker), std::string::npos) << marker;
    for (const std::string& call : whole.calls) EXPECT_EQ(call.find(marker), std::string::npos) << marker;
  }
}

TEST(ApiProperties, Check78_94_116To118_129_130_StreamedIsWholeForEveryCutAndNoMarkerLeaks) {
  int with_calls = 0;
  int stopped = 0;
  int quoted = 0;
  int cuts = 0;
  int token_by_token = 0;
  for (std::uint32_t seed = 0; seed < 2000; ++seed) {
    text::Choices choices(seed + 500'000);
    const Transcript transcript = transcript_of(seed, choices);
    SCOPED_TRACE(testing::Message() << "seed " << seed << ": " << transcript.inert);
    const Expected want = expected(transcript);
    std::size_t ordinary = 0;  // bytes of text, all of which may have been shown
    for (const Generated& next : transcript.generated) ordinary += next.text.size();
    const auto agree = [&](const auto& next_size) {
      const Received received = both_ways(transcript, next_size);
      ASSERT_EQ(received.streamed, received.whole);
      ASSERT_NO_FATAL_FAILURE(expect_whole(received.whole, want));
      expect_no_marker(transcript, received.whole);
      ++cuts;
      if (!transcript.options.logprobs || want.content.size() + want.reasoning.size() < ordinary) return;
      EXPECT_EQ(received.content_tokens, want.content);  // check 78
      EXPECT_EQ(received.reasoning_tokens, want.reasoning);
      ++token_by_token;
    };
    ASSERT_NO_FATAL_FAILURE(agree([](std::size_t) { return std::string::npos; }));
    ASSERT_NO_FATAL_FAILURE(agree([](std::size_t) { return std::size_t{1}; }));
    ASSERT_NO_FATAL_FAILURE(agree([&choices](std::size_t) { return 1 + choices.below(9); }));
    for (std::size_t at = 1; seed % 16 == 0 && at < transcript.inert.size(); ++at) {
      ASSERT_NO_FATAL_FAILURE(
          agree([at](std::size_t before) { return before < at ? at - before : std::string::npos; }));
    }
    ASSERT_FALSE(HasFailure());
    with_calls += want.calls.empty() ? 0 : 1;
    stopped += want.stopped ? 1 : 0;
    quoted += transcript.quoted ? 1 : 0;
  }
  EXPECT_GT(with_calls, 400);
  EXPECT_GT(stopped, 50);
  EXPECT_GT(quoted, 300);
  EXPECT_GT(token_by_token, 500);
  RecordProperty("transcripts", 2000);
  RecordProperty("with_calls", with_calls);
  RecordProperty("with_stop_string", stopped);
  RecordProperty("with_quoted_markers", quoted);
  RecordProperty("cuts", cuts);
  RecordProperty("cuts_with_all_logprobs", token_by_token);
}

}  // namespace
}  // namespace hadal::api
