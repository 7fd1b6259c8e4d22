#include "api/chat_answer.h"

#include <fmt/format.h>

#include <iterator>
#include <utility>

#include "text/json_text.h"

namespace hadal::api {
namespace {

void append_tokens(std::string& out, std::span<const TokenLogprob> tokens) {
  out += '[';
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) out += ',';
    append_token(out, tokens[i]);
  }
  out += ']';
}

/// {"name":"text"}: a member with a string.
void append_member(std::string& out, std::string_view name, std::string_view text) {
  text::append_json_string(out, name);
  out += ':';
  text::append_json_string(out, text);
}

}  // namespace

ChatForm chat_form(const ChatRequest& request, AnswerHead head) {
  return {.head = std::move(head),
          .choices = request.choices,
          .shows_reasoning = request.thinking.on && request.reasoning == ReasoningPlace::kField,
          .logprobs = request.logprobs.on,
          .include_usage = request.stream.include_usage};
}

ChatStream::ChatStream(ChatForm form) : form_(std::move(form)) {
  head_ = "data: {";
  append_member(head_, "id", form_.head.id);
  head_ += fmt::format(R"(,"object":"chat.completion.chunk","created":{},)", form_.head.created);
  append_member(head_, "model", form_.head.model);
  head_ += ',';
  append_member(head_, "system_fingerprint", form_.head.fingerprint);
}

void ChatStream::chunk(std::int64_t choice, std::string_view delta, std::string_view logprobs, std::string_view reason,
                       std::string_view usage, std::string& out) const {
  out += head_;
  fmt::format_to(std::back_inserter(out), R"(,"choices":[{{"index":{},"delta":{},"logprobs":{},"finish_reason":)",
                 choice, delta, logprobs);
  if (reason.empty()) {
    out += "null";
  } else {
    text::append_json_string(out, reason);
  }
  out += "}]";
  if (!usage.empty()) {
    out += R"(,"usage":)";
    out += usage;
  } else if (form_.include_usage) {
    out += R"(,"usage":null)";
  }
  out += "}\n\n";
}

void ChatStream::begin(std::int64_t choice, std::string& out) const {
  chunk(choice,
        form_.shows_reasoning ? R"({"role":"assistant","content":null,"reasoning_content":""})"
                              : R"({"role":"assistant","content":""})",
        "null", "", "", out);
}

void ChatStream::progress(std::int64_t choice, const PromptProgress& progress, std::string& out) const {
  chunk(choice, "{}", "null", "", "", out);
  out.resize(out.size() - std::string_view("}\n\n").size());
  fmt::format_to(std::back_inserter(out),
                 R"(,"prompt_progress":{{"total":{},"cache":{},"processed":{},"time_ms":{}}}}})"
                 "\n\n",
                 progress.total, progress.cached, progress.processed, progress.milliseconds);
}

void ChatStream::delta_text(const Delta& delta, std::string& out) const {
  switch (delta.kind) {
    case DeltaKind::kReasoning:
      out += R"({"content":null,)";
      append_member(out, "reasoning_content", delta.text);
      out += '}';
      return;
    case DeltaKind::kContent:
      out += '{';
      append_member(out, "content", delta.text);
      out += form_.shows_reasoning ? R"(,"reasoning_content":null})" : "}";
      return;
    case DeltaKind::kCallBegin:
      fmt::format_to(std::back_inserter(out), R"({{"tool_calls":[{{"index":{},)", delta.call);
      append_member(out, "id", delta.call_id);
      out += R"(,"type":"function","function":{)";
      append_member(out, "name", delta.text);
      out += R"(,"arguments":""}}]})";
      return;
    case DeltaKind::kArguments:
      fmt::format_to(std::back_inserter(out), R"({{"tool_calls":[{{"index":{},"function":{{)", delta.call);
      append_member(out, "arguments", delta.text);
      out += "}}]}";
      return;
  }
}

void ChatStream::add(std::int64_t choice, std::span<const Delta> deltas, std::string& out) const {
  std::string text;
  std::string logprobs;
  for (const Delta& delta : deltas) {
    text.clear();
    delta_text(delta, text);
    logprobs = "null";
    if (!delta.tokens.empty()) {
      const bool reasoning = delta.kind == DeltaKind::kReasoning;
      logprobs = R"({"content":)";
      if (reasoning) {
        logprobs += R"(null,"reasoning_content":)";
      }
      append_tokens(logprobs, delta.tokens);
      if (!reasoning && form_.shows_reasoning) logprobs += R"(,"reasoning_content":null)";
      if (form_.head.family == Family::kOpenAi) logprobs += R"(,"refusal":null)";
      logprobs += '}';
    }
    chunk(choice, text, logprobs, "", "", out);
  }
}

void ChatStream::finish(std::int64_t choice, std::string_view reason, const Usage& usage, std::string& out) {
  const bool last = ++finished_ == form_.choices;
  const bool apart = form_.head.family == Family::kOpenAi && form_.include_usage;
  std::string figures;
  if (last) append_usage(figures, usage);
  chunk(choice, form_.shows_reasoning ? R"({"content":"","reasoning_content":null})" : R"({"content":""})", "null",
        reason, apart ? "" : figures, out);
  if (!last) return;
  if (apart) fmt::format_to(std::back_inserter(out), R"({},"choices":[],"usage":{}}})", head_, figures);
  if (apart) out += "\n\n";
  out += kDone;
}

ChatBody::ChatBody(ChatForm form) : form_(std::move(form)), choices_(static_cast<std::size_t>(form_.choices)) {}

void ChatBody::add(std::int64_t choice, std::span<const Delta> deltas) {
  Choice& target = choices_[static_cast<std::size_t>(choice)];
  for (const Delta& delta : deltas) {
    switch (delta.kind) {
      case DeltaKind::kReasoning:
        target.reasoning += delta.text;
        target.reasoning_tokens.insert(target.reasoning_tokens.end(), delta.tokens.begin(), delta.tokens.end());
        break;
      case DeltaKind::kContent:
        target.content += delta.text;
        target.content_tokens.insert(target.content_tokens.end(), delta.tokens.begin(), delta.tokens.end());
        break;
      case DeltaKind::kCallBegin:
        target.calls.push_back({.id = delta.call_id, .name = delta.text, .arguments = {}});
        break;
      case DeltaKind::kArguments:
        target.calls.back().arguments += delta.text;
        break;
    }
  }
}

void ChatBody::finish(std::int64_t choice, std::string_view reason) {
  choices_[static_cast<std::size_t>(choice)].reason = reason;
}

void ChatBody::append_choice(std::size_t index, std::string& out) const {
  const Choice& choice = choices_[index];
  const bool openai = form_.head.family == Family::kOpenAi;
  fmt::format_to(std::back_inserter(out), R"({{"index":{},)", index);
  append_member(out, "finish_reason", choice.reason);
  out += R"(,"logprobs":)";
  if (form_.logprobs) {
    out += R"({"content":)";
    append_tokens(out, choice.content_tokens);
    if (form_.shows_reasoning) {
      out += R"(,"reasoning_content":)";
      append_tokens(out, choice.reasoning_tokens);
    }
    out += openai ? R"(,"refusal":null})" : "}";
  } else {
    out += "null";
  }
  out += R"(,"message":{"role":"assistant",)";
  if (openai && choice.content.empty() && !choice.calls.empty()) {
    out += R"("content":null)";
  } else {
    append_member(out, "content", choice.content);
  }
  if (form_.shows_reasoning) {
    out += ',';
    append_member(out, "reasoning_content", choice.reasoning);
  }
  for (std::size_t i = 0; i < choice.calls.size(); ++i) {
    out += i == 0 ? R"(,"tool_calls":[{)" : ",{";
    append_member(out, "id", choice.calls[i].id);
    out += R"(,"type":"function","function":{)";
    append_member(out, "name", choice.calls[i].name);
    out += ',';
    append_member(out, "arguments", choice.calls[i].arguments);
    out += "}}";
  }
  if (!choice.calls.empty()) out += ']';
  out += openai ? R"(,"refusal":null,"annotations":[]}})" : "}}";
}

std::string ChatBody::text(const Usage& usage) const {
  std::string out = "{";
  append_member(out, "id", form_.head.id);
  out += fmt::format(R"(,"object":"chat.completion","created":{},)", form_.head.created);
  append_member(out, "model", form_.head.model);
  out += R"(,"choices":[)";
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    if (i > 0) out += ',';
    append_choice(i, out);
  }
  out += R"(],"usage":)";
  append_usage(out, usage);
  out += ',';
  append_member(out, "system_fingerprint", form_.head.fingerprint);
  return out + "}";
}

}  // namespace hadal::api
