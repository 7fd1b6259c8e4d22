// Any bytes as model output, cut where the input says: streamed and whole must give the same message, and what is
// shown must add up to it.
#include <algorithm>
#include <cstdint>
#include <source_location>
#include <span>
#include <string>
#include <string_view>

#include "base/check.h"
#include "text/chat_parser.h"
#include "text/json_text.h"
#include "text/utf8.h"

namespace {

using hadal::text::ChatEventKind;
using hadal::text::ChatParser;

void require(bool condition, std::source_location at = std::source_location::current()) {
  if (!condition)
    hadal::check_failed(at.file_name(), static_cast<int>(at.line()), "require", "the law above does not hold");
}

/// Adds up the events of one parse, to be compared with the message that the parser kept.
struct Shown {
  std::string reasoning;
  std::string content;
  std::string arguments;
  std::size_t begun = 0;
  std::size_t ended = 0;

  void add(std::span<const hadal::text::ChatEvent> events) {
    for (const auto& event : events) {
      require(event.kind == ChatEventKind::kCallEnd || event.kind == ChatEventKind::kCallBegin || !event.text.empty());
      if (event.kind == ChatEventKind::kReasoning) reasoning += event.text;
      if (event.kind == ChatEventKind::kContent) content += event.text;
      if (event.kind == ChatEventKind::kArguments) arguments += event.text;
      if (event.kind == ChatEventKind::kCallBegin) require(static_cast<std::size_t>(event.call) == begun++);
      if (event.kind == ChatEventKind::kCallEnd) require(static_cast<std::size_t>(event.call) == ended++);
    }
  }

  void compare(const hadal::text::ParsedMessage& message) const {
    std::string all_arguments;
    std::size_t complete = 0;
    for (const auto& call : message.tool_calls) {
      all_arguments += call.arguments;
      complete += call.complete ? 1 : 0;
      // Input need not be UTF-8; arguments of a complete call are JSON whenever they are.
      if (call.complete && !hadal::text::find_ill_formed(call.arguments)) {
        const auto value = hadal::text::parse_json(call.arguments);
        require(value && value->is(hadal::text::JsonKind::kObject));
      }
    }
    require(reasoning == message.reasoning_content && content == message.content && arguments == all_arguments);
    require(begun == message.tool_calls.size() && ended == complete);
  }
};

}  // namespace

// First byte: options. Second byte: number of cuts, each one byte (distance from the cut before). The rest is text.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::uint8_t flags = data[0];
  const hadal::text::ParserOptions options{.thinking = (flags & 1) != 0,
                                           .tools = (flags & 2) == 0,
                                           .trim_newlines = (flags & 4) != 0,
                                           .lenient_dsml = (flags & 8) != 0};
  const auto reason = (flags & 16) != 0 ? hadal::text::StopReason::kLength : hadal::text::StopReason::kStop;
  const std::size_t cuts = std::min<std::size_t>(data[1], size - 2);
  const std::string text(data + 2 + cuts, data + size);

  ChatParser whole(options);
  Shown at_once;
  at_once.add(whole.push(text));
  at_once.add(whole.finish(reason));
  at_once.compare(whole.message());

  ChatParser cut(options);
  Shown streamed;
  std::string_view rest = text;
  for (std::size_t i = 0; i < cuts; ++i) {
    const std::size_t length = std::min<std::size_t>(data[2 + i], rest.size());
    streamed.add(cut.push(rest.substr(0, length)));
    rest.remove_prefix(length);
  }
  streamed.add(cut.push(rest));
  streamed.add(cut.finish(reason));
  streamed.compare(cut.message());
  require(whole.message() == cut.message());

  if (text.size() <= 4096) {
    ChatParser bytes(options);
    for (const char& byte : text) static_cast<void>(bytes.push({&byte, 1}));
    static_cast<void>(bytes.finish(reason));
    require(whole.message() == bytes.message());
  }
  return 0;
}
