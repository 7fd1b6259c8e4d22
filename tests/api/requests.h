#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/body.h"
#include "api/models.h"
#include "api/request.h"

// Bodies -> requests for tests, with the names that the two large models are served under.
namespace hadal::api {

inline const ModelTable& served() {
  static const ModelTable table = [] {
    std::vector<ServedModel> models{*official_model("flash"), *official_model("pro")};
    return *ModelTable::create(std::move(models));
  }();
  return table;
}

inline RequestSettings settings() { return {.models = &served()}; }

inline ApiResult<ChatRequest> chat(Family family, std::string_view body, const RequestSettings& with = settings()) {
  const auto json = read_body(body);
  if (!json) return tl::unexpected<ApiError>(json.error());
  return read_chat(family, *json, with);
}

inline ApiResult<CompletionRequest> completion(Family family, std::string_view body,
                                               const RequestSettings& with = settings()) {
  const auto json = read_body(body);
  if (!json) return tl::unexpected<ApiError>(json.error());
  return read_completion(family, *json, with);
}

/// A minimal chat with further members, each followed by a comma.
inline std::string chat_body(std::string_view members, std::string_view model = "deepseek-v4-flash") {
  return "{" + std::string(members) + R"("model":")" + std::string(model) +
         R"(","messages":[{"role":"user","content":"hi"}]})";
}

/// A chat of these messages.
inline std::string messages_body(std::string_view messages, std::string_view members = "") {
  return "{" + std::string(members) + R"("model":"deepseek-v4-flash","messages":[)" + std::string(messages) + "]}";
}

/// "STATUS message", or "read".
template <class Request>
std::string outcome(Family family, const ApiResult<Request>& request) {
  if (request) return "read";
  return std::to_string(http_status(family, request.error().cause)) + " " + request.error().message;
}

inline std::string chat_outcome(Family family, std::string_view body, const RequestSettings& with = settings()) {
  return outcome(family, chat(family, body, with));
}

}  // namespace hadal::api
