// Any bytes as the body of a chat or completion: what is read renders, every refusal is one JSON object with a message,
// and an answer made of the client's own text is the same streamed and whole.
#include <cstdint>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>

#include "api/body.h"
#include "api/chat_answer.h"
#include "api/completion_answer.h"
#include "api/prompt.h"
#include "base/check.h"
#include "text/chat_markers.h"
#include "text/utf8.h"

namespace {

using namespace hadal::api;
namespace marker = hadal::text::marker;

void require(bool condition, std::source_location at = std::source_location::current()) {
  if (!condition)
    hadal::check_failed(at.file_name(), static_cast<int>(at.line()), "require", "the law above does not hold");
}

const ModelTable& models() {
  static const ModelTable table = *ModelTable::create({*official_model("flash"), *official_model("nano")});
  return table;
}

void check_refusal(Family family, const ApiError& error) {
  require(!error.message.empty());
  const std::string body = error_body(family, error);
  require(body.find('\n') == std::string::npos);
  const auto json = hadal::text::parse_json(body);
  require(json && json->find("error")->find("message")->text == error.message);
}

/// The first marker in `text`: where it stands, npos without one, and which one it is.
std::pair<std::size_t, std::string_view> find_marker(std::string_view text) {
  std::pair<std::size_t, std::string_view> first{std::string_view::npos, {}};
  for (const std::string_view candidate : {marker::kThink, marker::kThinkEnd, marker::kDsml}) {
    if (const std::size_t at = text.find(candidate); at < first.first) first = {at, candidate};
  }
  return first;
}

/// One choice that says `text`, whose markers are tokens, in pieces of `step` bytes; the whole body.
std::string answer(const ChatRequest& request, std::string_view text, std::size_t step) {
  const RandomBits random = [n = std::uint64_t{0}]() mutable { return ++n; };
  ChatChoice choice(request.family, choice_options(request, request.thinking.on), random);
  const ChatForm form = chat_form(request, {.family = request.family, .id = "i", .model = request.model->id});
  ChatBody body(form);
  ChatStream stream(form);
  hadal::text::Utf8Stream characters;
  std::string events;
  const auto push = [&](const Piece& piece) {
    const auto deltas = choice.push(piece);
    body.add(0, deltas);
    stream.add(0, deltas, events);
  };
  while (!text.empty() && !choice.ended()) {
    const auto [end, token] = find_marker(text);
    const std::string_view plain = text.substr(0, end);
    for (std::size_t at = 0; at < plain.size() && !choice.ended(); at += step) {
      std::string piece;
      characters.push(plain.substr(at, step), piece);
      push({.text = piece});
    }
    text.remove_prefix(plain.size() + token.size());
    if (!token.empty()) push({.special = token});
  }
  std::string tail;
  characters.finish(tail);
  body.add(0, choice.finish(Ending::kEos, tail));
  for (std::int64_t i = 0; i < form.choices; ++i) body.finish(i, "stop");
  require(hadal::text::find_ill_formed(events) == std::nullopt);
  return body.text({});
}

void check_chat(const ChatRequest& request) {
  const auto prompt = render_prompt(request);
  if (!prompt) return check_refusal(request.family, prompt.error());
  std::int64_t end = 0;
  for (const auto& range : prompt->caller_ranges) {
    require(end <= range.begin && range.begin < range.end);
    end = range.end;
  }
  require(end <= std::ssize(prompt->text));
  end = 0;
  for (const auto& turn : prompt->answers) {
    require(end <= turn.bytes.begin && turn.bytes.begin <= turn.bytes.end);
    end = turn.bytes.end;
    const auto& message = request.messages.at(static_cast<std::size_t>(turn.message));
    require(message.role == "assistant");
    require(turn_name(message, turn.has_reasoning) == turn_name(message, turn.has_reasoning));
  }
  require(end <= std::ssize(prompt->text));
  const std::string& said = request.messages.back().content.text;
  require(hadal::text::parse_json(answer(request, said, 3)).has_value());
  ChatRequest plain = request;
  plain.logprobs = {};  // their number is that of the pieces
  require(answer(plain, said, 1) == answer(plain, said, said.size() + 1));
}

void check_completion(const CompletionRequest& request) {
  for (const CompletionPrompt& prompt : request.prompts) {
    if (!prompt.is_ids) require(render_prompt(request, prompt).text.find(prompt.text) != std::string::npos);
    TextChoice choice(request, prompt.text);
    TextBody body(text_form(request, {.family = request.family}));
    body.add(0, choice.push({.text = prompt.text}));
    body.add(0, choice.finish(Ending::kEos));
    require(hadal::text::parse_json(body.text({})).has_value());
  }
}

}  // namespace

// First byte: family, kind, strictness. The rest is the body.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const Family family = (data[0] & 1) != 0 ? Family::kOpenAi : Family::kDeepSeek;
  const RequestSettings settings{
      .models = &models(), .strict_fields = (data[0] & 4) != 0, .strict_reasoning = (data[0] & 8) != 0};
  const auto json = read_body(std::string(data + 1, data + size));
  if (!json) {
    check_refusal(family, json.error());
  } else if ((data[0] & 2) == 0) {
    const auto request = read_chat(family, *json, settings);
    request ? check_chat(*request) : check_refusal(family, request.error());
  } else {
    const auto request = read_completion(family, *json, settings);
    request ? check_completion(*request) : check_refusal(family, request.error());
  }
  return 0;
}
