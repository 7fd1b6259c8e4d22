#include "api/token_bodies.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "api/base_fields.h"
#include "api/prompt.h"
#include "text/chat_markers.h"
#include "text/utf8.h"

namespace hadal::api {
namespace {

using text::JsonKind;
using text::JsonValue;
using Ids = std::vector<std::int32_t>;

void append_ids(std::string& out, const Ids& ids) { out += fmt::format("[{}]", fmt::join(ids, ",")); }

/// A token as a string, or as an array of its bytes when they are no text.
void append_piece(std::string& out, std::string_view bytes) {
  if (!text::find_ill_formed(bytes)) return text::append_json_string(out, bytes);
  out += '[';
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    fmt::format_to(std::back_inserter(out), "{}{}", i > 0 ? "," : "", static_cast<unsigned char>(bytes[i]));
  }
  out += ']';
}

ApiResult<Ids> encode_text(const text::Tokenizer& tokenizer, std::string_view text, bool special) {
  auto ids =
      tokenizer.encode(text, {.added_tokens = special ? text::AddedTokens::kRecognised : text::AddedTokens::kOff});
  if (!ids) return refuse(Cause::kInvalidValue, "the text cannot be turned into tokens");
  return std::move(*ids);
}

void add_bos(const text::Tokenizer& tokenizer, Ids& ids) {
  if (const auto bos = tokenizer.bos_id()) ids.insert(ids.begin(), *bos);
}

/// {"content"}: llama.cpp's form.
ApiResult<std::string> tokenize_content(Fields& fields, const text::Tokenizer& tokenizer) {
  const std::string content = fields.string("content").value_or("");
  const bool bos = fields.flag("add_special").value_or(false);
  const bool special = fields.flag("parse_special").value_or(false);
  const bool pieces = fields.flag("with_pieces").value_or(false);
  if (fields.error().any()) return fields.error().take();
  auto ids = encode_text(tokenizer, content, special);
  if (!ids) return tl::unexpected<ApiError>(ids.error());
  if (bos) add_bos(tokenizer, *ids);
  std::string out = R"({"tokens":)";
  if (!pieces) {
    append_ids(out, *ids);
    return out + "}";
  }
  std::string_view separator = "[";
  for (const std::int32_t id : *ids) {
    fmt::format_to(std::back_inserter(out), R"({}{{"id":{},"piece":)", separator, id);
    append_piece(out, tokenizer.token_bytes(id));
    out += '}';
    separator = ",";
  }
  return out + (ids->empty() ? "[]}" : "]}");
}

/// The rendered prompt of the chat in `body`; without the opening of an answer when the body says so.
ApiResult<text::RenderedPrompt> render_body(const JsonValue& body, const RequestSettings& settings) {
  JsonValue chat = JsonValue::object();
  bool opens = true;
  for (const text::JsonMember& member : body.members) {
    if (member.key == "add_generation_prompt" && member.value.is(JsonKind::kBool)) {
      opens = member.value.boolean;
    } else if (member.key != "return_token_strs" && member.key != "add_special_tokens") {
      chat.add(member.key, member.value);
    }
  }
  const auto request = read_chat(Family::kOpenAi, chat, settings);
  if (!request) return tl::unexpected<ApiError>(request.error());
  auto prompt = render_prompt(*request);
  if (!prompt || opens || request->continues) return prompt;
  const std::string_view think = prompt->inside_reasoning ? text::marker::kThink : text::marker::kThinkEnd;
  prompt->text.resize(prompt->text.size() - text::marker::kAssistant.size() - think.size());
  return prompt;
}

ApiResult<Ids> vllm_ids(const JsonValue& body, Fields& fields, const text::Tokenizer& tokenizer,
                        const RequestSettings& settings) {
  if (body.find("messages") != nullptr) {
    const auto prompt = render_body(body, settings);
    if (!prompt) return tl::unexpected<ApiError>(prompt.error());
    return encode(tokenizer, *prompt);
  }
  const auto prompt = fields.string("prompt");
  if (!prompt) fields.error().note(Cause::kMalformed, "prompt", "expected string; or messages, or content");
  const bool bos = fields.flag("add_special_tokens").value_or(true);
  if (fields.error().any()) return fields.error().take();
  auto ids = encode_text(tokenizer, *prompt, false);
  if (ids && bos) add_bos(tokenizer, *ids);
  return ids;
}

}  // namespace

ApiResult<std::string> tokenize_body(const JsonValue& body, const text::Tokenizer& tokenizer,
                                     const RequestSettings& settings) {
  FirstError error;
  Fields fields(body, "", error);
  if (fields.has("content")) return tokenize_content(fields, tokenizer);
  const ModelChoice choice = read_model(Family::kOpenAi, fields, settings);
  const bool strings = fields.flag("return_token_strs").value_or(false);
  if (error.any()) return error.take();
  const auto ids = vllm_ids(body, fields, tokenizer, settings);
  if (!ids) return tl::unexpected<ApiError>(ids.error());
  std::string out = fmt::format(R"({{"count":{},"max_model_len":{},"tokens":)", ids->size(), choice.model->context);
  append_ids(out, *ids);
  out += R"(,"token_strs":)";
  if (!strings) return out + "null}";
  out += '[';
  for (std::size_t i = 0; i < ids->size(); ++i) {
    if (i > 0) out += ',';
    text::append_json_string(out, text::replace_ill_formed(tokenizer.token_bytes((*ids)[i])));
  }
  return out + "]}";
}

ApiResult<std::string> detokenize_body(const JsonValue& body, const text::Tokenizer& tokenizer) {
  FirstError error;
  Fields fields(body, "", error);
  const JsonValue* list = fields.array("tokens");
  if (list == nullptr) error.note(Cause::kMalformed, "tokens", "expected array of token ids");
  Ids ids;
  for (std::size_t i = 0; list != nullptr && i < list->items.size() && !error.any(); ++i) {
    const auto id = to_integer(list->items[i]);
    if (id && *id >= 0 && *id < tokenizer.vocab_size() && tokenizer.has(static_cast<std::int32_t>(*id))) {
      ids.push_back(static_cast<std::int32_t>(*id));
    } else {
      error.note(Cause::kInvalidValue, fmt::format("tokens[{}]", i), "expected the id of a token");
    }
  }
  if (error.any()) return error.take();
  const auto text = tokenizer.decode(ids);
  if (!text) return refuse(Cause::kInternal, "the tokens cannot be turned into text");
  std::string out = R"({"prompt":)";
  text::append_json_string(out, *text);
  out += R"(,"content":)";
  text::append_json_string(out, *text);
  return out + "}";
}

ApiResult<std::string> template_body(const JsonValue& body, const RequestSettings& settings) {
  const auto prompt = render_body(body, settings);
  if (!prompt) return tl::unexpected<ApiError>(prompt.error());
  std::string out = R"({"prompt":)";
  text::append_json_string(out, prompt->text);
  return out + "}";
}

}  // namespace hadal::api
