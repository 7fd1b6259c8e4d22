#include "api/prompt.h"

#include <fmt/core.h>

#include <cstddef>
#include <optional>
#include <span>
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

ApiResult<std::vector<std::int32_t>> checked(Result<std::vector<std::int32_t>> ids) {
  if (ids) return std::move(*ids);
  const bool callers =
      ids.error().code == ErrorCode::kInvalidArgument || ids.error().code == ErrorCode::kResourceExhausted;
  return refuse(callers ? Cause::kInvalidValue : Cause::kInternal, "the prompt cannot be turned into tokens");
}

/// Encodes a prompt stretch by stretch. Stretches end at markers of the encoding, which no token spans.
class ChatEncoder {
 public:
  ChatEncoder(const text::Tokenizer& tokenizer, const text::RenderedPrompt& prompt)
      : tokenizer_(tokenizer), prompt_(prompt) {}

  /// Appends the ids of the text from where it is up to `end`. False after an error.
  bool encode_to(std::int64_t end) {
    std::vector<text::ByteRange> own;
    for (; range_ < prompt_.caller_ranges.size() && prompt_.caller_ranges[range_].begin < end; ++range_) {
      own.push_back({prompt_.caller_ranges[range_].begin - at_, prompt_.caller_ranges[range_].end - at_});
    }
    const std::string_view text = std::string_view(prompt_.text).substr(at(at_), at(end - at_));
    const auto ids = checked(tokenizer_.encode(text, {.untrusted = own}));
    at_ = end;
    if (!ids) {
      error_ = ids.error();
      return false;
    }
    append(*ids);
    return true;
  }

  /// Appends known ids instead of the text up to `end`.
  void replay(std::span<const std::int32_t> ids, std::int64_t end) {
    while (range_ < prompt_.caller_ranges.size() && prompt_.caller_ranges[range_].begin < end) ++range_;
    at_ = end;
    append(ids);
  }

  [[nodiscard]] Hash128 name() const { return hash_.value(); }
  [[nodiscard]] std::vector<std::int32_t>& ids() { return ids_; }
  [[nodiscard]] const ApiError& error() const { return error_; }

 private:
  static std::size_t at(std::int64_t offset) { return static_cast<std::size_t>(offset); }

  void append(std::span<const std::int32_t> ids) {
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    hash_.add(ids);
  }

  const text::Tokenizer& tokenizer_;
  const text::RenderedPrompt& prompt_;
  std::int64_t at_ = 0;
  std::size_t range_ = 0;  // the first one behind at_
  std::vector<std::int32_t> ids_;
  IdHash hash_;
  ApiError error_;
};

constexpr std::string_view kFimBegin = "<｜fim▁begin｜>";
constexpr std::string_view kFimHole = "<｜fim▁hole｜>";
constexpr std::string_view kFimEnd = "<｜fim▁end｜>";

/// Whether prompts with a hole in the middle are more than text to the model.
bool knows_holes(const text::Tokenizer& tokenizer) {
  return tokenizer.added_token_id(kFimBegin) && tokenizer.added_token_id(kFimHole) && tokenizer.added_token_id(kFimEnd);
}

/// Where the first user turn begins; 0 without one.
std::int64_t first_user(const text::RenderedPrompt& prompt) {
  auto range = prompt.caller_ranges.begin();
  for (std::size_t at = 0; (at = prompt.text.find(text::marker::kUser, at)) != std::string::npos; ++at) {
    const auto place = static_cast<std::int64_t>(at);
    while (range != prompt.caller_ranges.end() && range->end <= place) ++range;
    if (range == prompt.caller_ranges.end() || range->begin > place) return place;
  }
  return 0;
}

}  // namespace

ApiResult<text::RenderedPrompt> render_prompt(const ChatRequest& request) {
  std::vector<text::Message> messages = request.messages;
  place_tools(request, messages);
  if (request.continues) mark_continuation(request, messages.back());
  auto prompt = text::render_chat(messages, options_of(request));
  if (!prompt) return refuse(Cause::kInvalidValue, prompt.error().sentence, "messages");
  const auto added = static_cast<int>(messages.size() - request.messages.size());
  for (text::AnswerRange& answer : prompt->answers) answer.message -= added;
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
  return checked(text::encode_prompt(tokenizer, prompt, text::TextMode::kGuarded));
}

ApiResult<ChatPrompt> encode_chat(const text::Tokenizer& tokenizer, const ChatRequest& request,
                                  const text::RenderedPrompt& prompt, ReplayMap* replays, std::string_view domain) {
  ChatEncoder encoder(tokenizer, prompt);
  ChatPrompt out;
  if (const std::int64_t user = first_user(prompt); user > 0) {
    if (!encoder.encode_to(user)) return tl::unexpected<ApiError>(encoder.error());
    out.marks.push_back(std::ssize(encoder.ids()));
  }
  const auto end = std::ssize(prompt.text);
  std::optional<std::size_t> open;  // where the turn begins that the answer continues
  for (const text::AnswerRange& answer : prompt.answers) {
    if (!encoder.encode_to(answer.bytes.begin)) return tl::unexpected<ApiError>(encoder.error());
    out.name = encoder.name();
    if (answer.bytes.end == end) open = encoder.ids().size();
    // Reasoning that goes on is no turn yet: a turn of the same text would close it.
    const bool whole = !open || !prompt.inside_reasoning;
    const text::Message& message = request.messages[static_cast<std::size_t>(answer.message)];
    std::vector<std::int32_t> known;
    if (replays != nullptr && whole) {
      known = replays->find(domain, out.name, turn_name(message, answer.has_reasoning));
    }
    if (known.empty()) {
      ++out.rendered;
      continue;
    }
    encoder.replay(known, answer.bytes.end);
    ++out.replayed;
  }
  if (!encoder.encode_to(end)) return tl::unexpected<ApiError>(encoder.error());
  out.ids = std::move(encoder.ids());
  if (open) {
    out.opened.assign(out.ids.begin() + static_cast<std::ptrdiff_t>(*open), out.ids.end());
  } else {
    out.name = encoder.name();
  }
  return out;
}

ApiResult<std::vector<std::int32_t>> encode(const text::Tokenizer& tokenizer, const CompletionRequest& request,
                                            const CompletionPrompt& prompt, bool raw) {
  if (request.suffix && !knows_holes(tokenizer)) {
    return refuse(Cause::kInvalidValue,
                  fmt::format("suffix: the model {} has no tokens for filling in the middle", request.model->id),
                  "suffix");
  }
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
