#include "api/error.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "text/json_text.h"
#include "text/utf8.h"

namespace hadal::api {
namespace {

struct Entry {
  int status = 500;
  std::string_view type;
  std::string_view code;  // "" is null
};

constexpr std::string_view kRequest = "invalid_request_error";

/// DeepSeek repeats one code for all of its errors.
Entry deepseek(Cause cause) {
  const auto entry = [](int status, std::string_view type) { return Entry{status, type, kRequest}; };
  switch (cause) {
    case Cause::kMalformed:
    case Cause::kInvalidValue:
    case Cause::kPromptTooLong:
    case Cause::kUnknownModel:
      return entry(400, kRequest);
    case Cause::kWrongKey:
    case Cause::kNoKey:
      return entry(401, "authentication_error");
    case Cause::kNoBalance:
      return entry(402, "unknown_error");
    case Cause::kNotPermitted:
      return entry(403, "permission_error");
    case Cause::kUnknownPath:
      return entry(404, kRequest);
    case Cause::kWrongMethod:
      return entry(405, kRequest);
    case Cause::kSlowBody:
      return entry(408, kRequest);
    case Cause::kBodyTooLarge:
      return entry(413, kRequest);
    case Cause::kWrongMediaType:
      return entry(415, kRequest);
    case Cause::kTooManyRequests:
    case Cause::kTooManyTokens:
      return entry(429, "rate_limit_error");
    case Cause::kOverloaded:
      return entry(503, "server_error");
    case Cause::kTimeLimit:
      return entry(504, "server_error");
    case Cause::kInternal:
      break;
  }
  return entry(500, "server_error");
}

Entry openai(Cause cause) {
  switch (cause) {
    case Cause::kMalformed:
      return {400, kRequest, ""};
    case Cause::kInvalidValue:
      return {400, kRequest, "invalid_value"};
    case Cause::kPromptTooLong:
      return {400, kRequest, "context_length_exceeded"};
    case Cause::kUnknownModel:
      return {404, kRequest, "model_not_found"};
    case Cause::kWrongKey:
      return {401, kRequest, "invalid_api_key"};
    case Cause::kNoKey:
      return {401, kRequest, ""};
    case Cause::kNoBalance:
      return {429, "insufficient_quota", "insufficient_quota"};
    case Cause::kNotPermitted:
      return {403, kRequest, "model_not_allowed"};
    case Cause::kUnknownPath:
      return {404, kRequest, ""};
    case Cause::kWrongMethod:
      return {405, kRequest, ""};
    case Cause::kSlowBody:
      return {408, kRequest, ""};
    case Cause::kBodyTooLarge:
      return {413, kRequest, "request_too_large"};
    case Cause::kWrongMediaType:
      return {415, kRequest, ""};
    case Cause::kTooManyRequests:
      return {429, "requests", "rate_limit_exceeded"};
    case Cause::kTooManyTokens:
      return {429, "tokens", "rate_limit_exceeded"};
    case Cause::kOverloaded:
      return {503, "server_error", "server_overloaded"};
    case Cause::kTimeLimit:
      return {504, "server_error", "timeout"};
    case Cause::kInternal:
      break;
  }
  return {500, "server_error", ""};
}

Entry entry_of(Family family, Cause cause) { return family == Family::kDeepSeek ? deepseek(cause) : openai(cause); }

}  // namespace

std::string excerpt(std::string_view text, std::size_t most) {
  std::size_t size = std::min(text.size(), most);
  while (size > 0 && size < text.size() && (static_cast<unsigned char>(text[size]) & 0xC0) == 0x80) --size;
  std::string out(text.substr(0, size));
  std::ranges::replace_if(out, [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  if (size < text.size()) out += "...";
  return out;
}

int http_status(Family family, Cause cause) { return entry_of(family, cause).status; }

std::optional<bool> should_retry(Family family, Cause cause) {
  if (cause == Cause::kNoBalance) return false;
  constexpr std::array<int, 6> kFinal{400, 401, 402, 403, 404, 413};
  const int status = http_status(family, cause);
  for (const int final : kFinal) {
    if (status == final) return false;
  }
  return std::nullopt;
}

bool names_retry_time(Family family, Cause cause) {
  const int status = http_status(family, cause);
  return status == 503 || (status == 429 && cause != Cause::kNoBalance);
}

std::string error_body(Family family, const ApiError& error) {
  const Entry entry = entry_of(family, error.cause);
  const auto append_or_null = [](std::string& out, std::string_view text) {
    if (text.empty()) {
      out += "null";
    } else {
      text::append_json_string(out, text);
    }
  };
  std::string param = error.param;
  if (param.empty() && family == Family::kOpenAi) {
    if (error.cause == Cause::kPromptTooLong) param = "messages";
    if (error.cause == Cause::kUnknownModel) param = "model";
  }
  std::string out = R"({"error":{"message":)";
  text::append_json_string(out, error.message);
  out += R"(,"type":)";
  text::append_json_string(out, entry.type);
  out += R"(,"param":)";
  append_or_null(out, param);
  out += R"(,"code":)";
  append_or_null(out, entry.code);
  return out + "}}";
}

std::string error_event(Family family, const ApiError& error) {
  return fmt::format("data: {}\n\n", error_body(family, error));
}

std::string no_key_message(Family family) {
  if (family == Family::kDeepSeek) return "Authentication Fails (governor)";
  return "No API key was sent; expected the header 'Authorization: Bearer KEY'";
}

std::string wrong_key_message(Family family, std::string_view key) {
  if (family == Family::kOpenAi) return "Incorrect API key provided";
  const std::string_view tail = key.size() > 8 ? key.substr(key.size() - 4) : std::string_view();
  return fmt::format("Authentication Fails, Your api key: ****{} is invalid", text::replace_ill_formed(tail));
}

}  // namespace hadal::api
