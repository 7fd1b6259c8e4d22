#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "api/request.h"
#include "engine/service_request.h"
#include "server/served_model.h"

// From what a client asks to what the engine does.
namespace hadal::server {

/// A prompt and how the answer to it begins.
struct PromptIds {
  std::vector<std::int64_t> ids{};
  bool inside_reasoning = false;
  std::vector<std::int64_t> marks{};  // positions whose state is worth keeping
};

/// Who asks, as far as the engine is concerned.
struct Caller {
  engine::PrefixDomain domain{};
  std::string client{};       // takes turns with others
  std::int64_t priority = 0;  // added to the request's
};

/// The form that the answer is held to; null: none. Error: kInvalidValue for a JSON object whose given beginning is
/// none.
[[nodiscard]] api::ApiResult<std::shared_ptr<const engine::AnswerConstraint>> answer_constraint(
    const ServedEngine& served, const api::ChatRequest& request);

/// One choice of a chat, without its constraint. `max_tokens` fits into the context, `seed` is that of the request.
[[nodiscard]] engine::ServiceRequest engine_request(const ServedEngine& served, const api::ChatRequest& request,
                                                    const PromptIds& prompt, const Caller& caller,
                                                    std::int64_t max_tokens, std::uint64_t seed, std::int64_t choice);

/// One choice of a text completion.
[[nodiscard]] engine::ServiceRequest engine_request(const ServedEngine& served, const api::CompletionRequest& request,
                                                    const PromptIds& prompt, const Caller& caller,
                                                    std::int64_t max_tokens, std::uint64_t seed, std::int64_t choice);

}  // namespace hadal::server
