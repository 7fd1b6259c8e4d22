// Model output assembled from fragments of the call markup that the bytes choose: streamed and whole must agree, the
// arguments of a complete call must be a JSON object, no marker that fires may be shown, and rendering the calls again
// must give text that parses to the same calls.
#include <algorithm>
#include <array>
#include <cstdint>
#include <source_location>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "text/chat_json.h"
#include "text/chat_parser.h"
#include "text/chat_render.h"
#include "text/utf8.h"

namespace {

using namespace std::string_view_literals;

constexpr std::array kFragments{
    "<｜DSML｜tool_calls>"sv,
    "\n\n<｜DSML｜tool_calls>\n"sv,
    "<｜DSML｜tool_calls\u3000>"sv,
    "</｜DSML｜tool_calls>"sv,
    "</｜DSML｜tool_calls \n>"sv,
    "<｜DSML｜invoke name=\"f\">\n"sv,
    "<｜DSML｜invoke\u00a0name=\"g\" x>"sv,
    "<｜DSML｜invoke"sv,
    "<｜DSML｜invoke name=\""sv,
    " name=\""sv,
    "</｜DSML｜invoke>\n"sv,
    "</｜DSML｜invoke >"sv,
    "<｜DSML｜parameter name=\"a\" string=\"true\">"sv,
    "<｜DSML｜parameter name=\"b\" string=\"false\">"sv,
    "<｜DSML｜parameter name=\"c\">"sv,
    "<｜DSML｜parameter name=\""sv,
    "\" string=\"true\">"sv,
    "\" string=\"false\" >"sv,
    " string=\"maybe\">"sv,
    "</｜DSML｜parameter>\n"sv,
    "</｜DSML｜parameter\u2003>"sv,
    "<｜DSML｜"sv,
    "</｜DSML｜"sv,
    "｜DSML｜"sv,
    "<｜｜DSML｜｜invoke name=\"h\">"sv,
    "<DSML｜tool_calls>"sv,
    "tool_calls>"sv,
    "<think>"sv,
    "</think>"sv,
    "</thin"sv,
    "<"sv,
    "</"sv,
    ">"sv,
    "\""sv,
    "\\"sv,
    "\n"sv,
    "\n\n"sv,
    " "sv,
    "text"sv,
    "12"sv,
    "[1, {\"a\": \"b\"}]"sv,
    "{'a': 1}"sv,
    "NaN"sv,
    "\xE2\x80"sv,
};

void require(bool condition, std::source_location at = std::source_location::current()) {
  if (!condition)
    hadal::check_failed(at.file_name(), static_cast<int>(at.line()), "require", "the law above does not hold");
}

hadal::text::ParsedMessage parse(const std::vector<std::string_view>& pieces, const hadal::text::ParserOptions& options,
                                 hadal::text::StopReason reason) {
  hadal::text::ChatParser parser(options);
  for (const std::string_view piece : pieces) static_cast<void>(parser.push(piece));
  static_cast<void>(parser.finish(reason));
  return std::move(parser).take_message();
}

/// Renders the complete calls of `message` alone and reads them back.
void check_round_trip(const hadal::text::ParsedMessage& message) {
  hadal::text::ParsedMessage calls;
  for (const auto& call : message.tool_calls) {
    // A marker inside a value or a key changes the structure of a prompt; the format has no escape for it.
    if (!call.complete || call.arguments.find("DSML") != std::string::npos) return;
    if (call.name.find("DSML") != std::string::npos || hadal::text::find_ill_formed(call.name + call.arguments)) return;
    // So does a quote inside a key.
    const auto value = hadal::text::parse_json(call.arguments).value_or(hadal::text::JsonValue{});
    for (const auto& member : value.members) {
      if (member.key.find('"') != std::string::npos) return;
    }
    // A number beyond all doubles is rendered as the official code does, by a word that is no JSON.
    if (to_json(value).find("Infinity") != std::string::npos) return;
    calls.tool_calls.push_back(call);
  }
  if (calls.tool_calls.empty()) return;
  const std::array chat{hadal::text::to_message(calls)};
  const auto prompt = hadal::text::render_chat(chat, {.thinking_mode = "chat", .add_bos = false});
  require(prompt.has_value());
  const auto again = parse({std::string_view(prompt->text).substr(0, prompt->text.find("<｜end▁of▁sentence｜>"))},
                           {.thinking = false}, hadal::text::StopReason::kStop);
  require(again.tool_calls.size() == calls.tool_calls.size() && again.warnings.empty());
  for (std::size_t i = 0; i < calls.tool_calls.size(); ++i) {
    require(again.tool_calls[i].name == calls.tool_calls[i].name);
    const auto value = hadal::text::parse_json(calls.tool_calls[i].arguments);
    require(value && again.tool_calls[i].arguments == to_json(*value));
  }
}

}  // namespace

// First byte: options. Then a byte each: below 0xC0 the next fragment, 0xC0..0xFE a literal byte that follows, 0xFF a
// cut.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::uint8_t flags = data[0];
  const hadal::text::ParserOptions options{.thinking = (flags & 1) != 0,
                                           .tools = (flags & 2) == 0,
                                           .trim_newlines = (flags & 4) != 0,
                                           .lenient_dsml = (flags & 8) != 0};
  const auto reason = (flags & 16) != 0 ? hadal::text::StopReason::kLength : hadal::text::StopReason::kStop;
  std::string text;
  std::vector<std::size_t> cuts;
  for (std::size_t i = 1; i < size && text.size() < 8192; ++i) {
    if (data[i] == 0xFF) {
      cuts.push_back(text.size());
    } else if (data[i] < 0xC0) {
      text += kFragments[data[i] % kFragments.size()];
    } else if (i + 1 < size) {
      text += static_cast<char>(data[++i]);
    }
  }
  cuts.push_back(text.size());
  std::vector<std::string_view> pieces;
  std::size_t begin = 0;
  for (const std::size_t end : cuts) {
    pieces.push_back(std::string_view(text).substr(begin, end - begin));
    begin = end;
  }

  const auto whole = parse({text}, options, reason);
  require(parse(pieces, options, reason) == whole);
  for (const auto& call : whole.tool_calls) {
    const auto value = hadal::text::parse_json(call.arguments);
    const bool object = value && value->is(hadal::text::JsonKind::kObject);
    require(!call.complete || object || hadal::text::find_ill_formed(call.arguments));
  }
  // Dropping a stray `</think>` may join two harmless halves.
  const bool joined = std::ranges::count(whole.warnings, hadal::text::ChatWarning::kExtraThinkEnd) > 0;
  if (options.tools && !joined) {
    require(whole.content.find("<｜DSML｜invoke name=\"") == std::string::npos);
    require(whole.reasoning_content.find("<｜DSML｜invoke name=\"") == std::string::npos);
  }
  check_round_trip(whole);
  return 0;
}
