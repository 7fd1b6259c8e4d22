#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/service_request.h"

namespace hadal::testing {

/// Keeps all that a request is sent. Read it after the request has ended, or on the thread that steps.
class RequestRecorder final : public engine::RequestSink {
 public:
  Status prefilled(std::int64_t done, std::int64_t total) override {
    progress.emplace_back(done, total);
    return {};
  }
  Result<bool> token(const engine::TokenEvent& event) override {
    tokens.push_back(event.token);
    text += event.text;
    for (const engine::TokenLogprob& entry : event.logprobs) logprobs.push_back(entry.logprob);
    if (on_token) on_token(*this);
    return static_cast<std::int64_t>(tokens.size()) == end_after;
  }
  Status tail(std::string_view rest) override {
    text += rest;
    return {};
  }
  void admitted(const engine::Admission& given) override { admission = given; }
  bool ready() const override { return is_ready; }
  void finished(const engine::RequestResult& given) override {
    result = given;
    if (on_finished) on_finished();
  }

  std::vector<std::pair<std::int64_t, std::int64_t>> progress;
  std::vector<std::int64_t> tokens;
  std::vector<double> logprobs;
  std::string text;
  std::optional<engine::Admission> admission;
  std::optional<engine::RequestResult> result;
  bool is_ready = true;
  std::int64_t end_after = -1;  // tokens after which the sink ends the answer
  std::function<void(RequestRecorder&)> on_token;
  std::function<void()> on_finished;
};

}  // namespace hadal::testing
