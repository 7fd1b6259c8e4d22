#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"
#include "engine/sampler.h"

namespace hadal::engine {

/// One token of an answer. Views are valid during the call.
struct TokenEvent {
  std::int64_t token = 0;
  std::int64_t position = 0;                 // absolute
  std::string_view text{};                   // what became showable with it; may be empty, never half a character
  std::span<const TokenLogprob> logprobs{};  // of the token, then the best ones; empty unless asked for
  bool ends = false;                         // it is a stop token
};

/// Receives a generation as it happens, on the thread that runs it. An error ends the generation and is returned by it.
class TokenSink {
 public:
  TokenSink() = default;
  TokenSink(const TokenSink&) = delete;
  TokenSink& operator=(const TokenSink&) = delete;
  virtual ~TokenSink() = default;

  /// `done` of `total` prompt tokens have been fed.
  [[nodiscard]] virtual Status prefilled(std::int64_t done, std::int64_t total) = 0;
  /// With GenerationOptions::prompt_logprobs: a token of the prompt that was fed, from the second one on, with
  /// logarithms as in TokenEvent.
  [[nodiscard]] virtual Status prompt_token(std::span<const TokenLogprob> /*logprobs*/) { return {}; }
  /// Called once a token, in order; also for the stop token, without text. True: the answer ends with this token, as
  /// with a stop string.
  [[nodiscard]] virtual Result<bool> token(const TokenEvent& event) = 0;
  /// Text that had been held back when the answer ended without a stop string.
  [[nodiscard]] virtual Status tail(std::string_view text) = 0;
};

}  // namespace hadal::engine
