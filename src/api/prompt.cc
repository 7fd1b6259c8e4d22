#include "api/prompt.h"

#include <fmt/core.h>

#include <string_view>
#include <utility>

#include "text/chat_lines.h"
#include "text/chat_markers.h"

namespace hadal::api {
namespace {

text::RenderOptions options_of(const ChatRequest& request) {
  text::RenderOptions options;
  options.revision = request.model->revision;
  options.thinking_mode = request.thinking.on ? "thinking" : "chat";
  if (!request.thinking.on) return options;
  switch (request.thinking.effort) {
    case Effort::kLow:  // the first revision has no text for it
      options.reasoning_effort = options.revision == text::ChatRevision::k2604 ? "high" : "low";
      break;
    case Effort::kHigh:
      options.reasoning_effort = "high";
      break;
    case Effort::kMax:
      options.reasoning_effort = "max";
      break;
  }
  return options;
}

/// Tools stand on a first system message; one without text is put in front where there is none.
void place_tools(const ChatRequest& request, std::vector<text::Message>& messages) {
  if (request.tools.list.empty()) return;
  if (messages.front().role != "system") messages.insert(messages.begin(), text::Message{.role = "system"});
  messages.front().tools = request.tools.list;
}

void mark_continuation(const ChatRequest& request, text::Message& last) {
  const bool in_reasoning = request.thinking.on && !last.reasoning_content.empty() && last.content.text.empty();
  if (in_reasoning) {
    last.continue_reasoning = true;
  } else {
    last.wo_eos = true;
  }
}

}  // namespace

ApiResult<text::RenderedPrompt> render_prompt(const ChatRequest& request) {
  std::vector<text::Message> messages = request.messages;
  place_tools(request, messages);
  if (request.continues) mark_continuation(request, messages.back());
  auto prompt = text::render_chat(messages, options_of(request));
  if (!prompt) return refuse(Cause::kInvalidValue, prompt.error().sentence, "messages");
  const std::string& role = messages.back().role;
  if (!request.continues && role != "user" && role != "tool") {
    // The encoding opens the answer behind user turns only.
    prompt->text += text::marker::kAssistant;
    prompt->text += request.thinking.on ? text::marker::kThink : text::marker::kThinkEnd;
    prompt->inside_reasoning = request.thinking.on;
  }
  return std::move(*prompt);
}

text::RenderedPrompt render_prompt(const CompletionRequest& request, const CompletionPrompt& prompt) {
  constexpr std::string_view kFimBegin = "<｜fim▁begin｜>";
  constexpr std::string_view kFimHole = "<｜fim▁hole｜>";
  constexpr std::string_view kFimEnd = "<｜fim▁end｜>";
  text::RenderedPrompt out;
  const auto add_caller = [&out](std::string_view piece) {
    if (piece.empty()) return;
    const auto begin = static_cast<std::int64_t>(out.text.size());
    out.text += piece;
    out.caller_ranges.push_back({begin, static_cast<std::int64_t>(out.text.size())});
  };
  out.text = text::marker::kBos;
  if (!request.suffix) {
    add_caller(prompt.text);
    return out;
  }
  out.text += kFimBegin;
  add_caller(prompt.text);
  out.text += kFimHole;
  add_caller(*request.suffix);
  out.text += kFimEnd;
  return out;
}

ApiResult<std::vector<std::int32_t>> encode(const text::Tokenizer& tokenizer, const text::RenderedPrompt& prompt) {
  auto ids = text::encode_prompt(tokenizer, prompt, text::TextMode::kGuarded);
  if (ids) return std::move(*ids);
  const bool callers =
      ids.error().code == ErrorCode::kInvalidArgument || ids.error().code == ErrorCode::kResourceExhausted;
  return refuse(callers ? Cause::kInvalidValue : Cause::kInternal, "the prompt cannot be turned into tokens");
}

ApiResult<std::vector<std::int32_t>> encode(const text::Tokenizer& tokenizer, const CompletionRequest& request,
                                            const CompletionPrompt& prompt, bool raw) {
  if (!prompt.is_ids) return encode(tokenizer, render_prompt(request, prompt));
  for (const std::int32_t id : prompt.ids) {
    if (!tokenizer.has(id))
      return refuse(Cause::kInvalidValue, fmt::format("prompt: there is no token {}", id), "prompt");
    if (raw || !tokenizer.is_added(id)) continue;
    return refuse(Cause::kInvalidValue,
                  fmt::format("prompt: token {} is special; this key may send ordinary tokens only", id), "prompt");
  }
  return prompt.ids;
}

}  // namespace hadal::api
