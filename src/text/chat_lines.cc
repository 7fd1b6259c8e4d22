#include "text/chat_lines.h"

#include <fmt/core.h>

#include <utility>
#include <vector>

#include "text/chat_json.h"
#include "text/chat_parser.h"
#include "text/json_text.h"

namespace hadal::text {
namespace {

Result<JsonValue> parse_object(std::string_view line) {
  HADAL_ASSIGN(JsonValue value, parse_json(line));
  if (!value.is(JsonKind::kObject)) return fail(ErrorCode::kInvalidArgument, "the line is not a JSON object");
  return value;
}

/// An answer that begins with the line's id, if it has one.
JsonValue answer_to(const JsonValue& line) {
  JsonValue answer = JsonValue::object();
  if (const JsonValue* id = line.find("id")) answer.add("id", *id);
  return answer;
}

Result<StopReason> stop_reason(const JsonValue& line) {
  const JsonValue* value = line.find("finish");
  if (value == nullptr || value->text == "stop") return StopReason::kStop;
  if (value->text == "length") return StopReason::kLength;
  return fail(ErrorCode::kInvalidArgument, "finish: expected \"stop\" or \"length\"");
}

}  // namespace

Result<ChatRevision> chat_revision_from(std::string_view text) {
  if (text == "2604") return ChatRevision::k2604;
  if (text == "0731" || text == "any") return ChatRevision::k0731;
  return fail(ErrorCode::kInvalidArgument, fmt::format("revision: '{}' is unknown; use 2604, 0731 or any", text));
}

Result<std::vector<std::int32_t>> encode_prompt(const Tokenizer& tokenizer, const RenderedPrompt& prompt,
                                                TextMode mode) {
  EncodeOptions options;
  if (mode == TextMode::kGuarded) options.untrusted = prompt.caller_ranges;
  return tokenizer.encode(prompt.text, options);
}

Result<std::string> render_line(std::string_view line, const RenderLineOptions& options) {
  HADAL_ASSIGN(const JsonValue value, parse_object(line));
  const JsonValue* list = value.find("messages");
  if (list == nullptr) return fail(ErrorCode::kInvalidArgument, "the line has no 'messages'");
  HADAL_ASSIGN(const std::vector<Message> messages, messages_from_json(*list, "messages"));
  std::vector<Message> context;
  if (const JsonValue* earlier = value.find("context"); earlier != nullptr && !earlier->is(JsonKind::kNull)) {
    HADAL_ASSIGN(context, messages_from_json(*earlier, "context"));
  }
  RenderOptions render;
  if (const JsonValue* given = value.find("options")) {
    HADAL_ASSIGN(render, render_options_from_json(*given, render));
  }
  render.revision = options.default_revision;
  const JsonValue* revision = value.find("revision");
  if (options.revision) {
    render.revision = *options.revision;
  } else if (revision != nullptr && revision->text != "any") {
    HADAL_ASSIGN(render.revision, chat_revision_from(revision->text));
  }

  JsonValue answer = answer_to(value);
  const auto prompt = render_chat(messages, render, context);
  if (!prompt) {
    answer.add("error", JsonValue::of(std::string(name(prompt.error().problem))));
    return to_json(answer);
  }
  answer.add("prompt", JsonValue::of(prompt->text));
  if (options.tokenizer != nullptr) {
    HADAL_ASSIGN(const std::vector<std::int32_t> ids, encode_prompt(*options.tokenizer, *prompt, options.mode));
    JsonValue id_list = JsonValue::array();
    for (const std::int32_t id : ids) id_list.items.push_back(JsonValue::of(std::int64_t{id}));
    answer.add("ids", std::move(id_list));
  }
  return to_json(answer);
}

Result<std::string> parse_line(std::string_view line) {
  HADAL_ASSIGN(const JsonValue value, parse_object(line));
  ParserOptions options;
  if (const JsonValue* given = value.find("options")) {
    HADAL_ASSIGN(options, parser_options_from_json(*given, options));
  }
  HADAL_ASSIGN(const StopReason reason, stop_reason(value));
  ChatParser parser(options);
  JsonValue answer = answer_to(value);
  if (const JsonValue* feeds = value.find("feeds"); feeds != nullptr) {
    JsonValue emits = JsonValue::array();
    for (const JsonValue& feed : feeds->items) {
      if (!feed.is(JsonKind::kString)) return fail(ErrorCode::kInvalidArgument, "feeds: expected a list of strings");
      emits.items.push_back(events_to_json(parser.push(feed.text)));
    }
    answer.add("emits", std::move(emits)).add("at_finish", events_to_json(parser.finish(reason)));
    return to_json(answer);
  }
  const JsonValue* text = value.find("text");
  if (text == nullptr || !text->is(JsonKind::kString)) {
    return fail(ErrorCode::kInvalidArgument, "the line has neither 'text' (a string) nor 'feeds' (a list of strings)");
  }
  static_cast<void>(parser.push(text->text));
  static_cast<void>(parser.finish(reason));
  answer.add("expected", parsed_to_json(parser.message()));
  return to_json(answer);
}

}  // namespace hadal::text
