#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "server/log_file.h"
#include "text/tokenizer.h"

namespace hadal::server {

/// Writes what a model was asked and what it answered, as the text of its tokens, special ones included: one line of
/// JSON a request, for servers that were told to.
class ContentNote {
 public:
  struct Request {
    std::chrono::system_clock::time_point time{};
    std::string id{}, key{}, model{};
  };

  /// `log` and `tokenizer` must outlive it.
  ContentNote(LogFile& log, const text::Tokenizer& tokenizer, Request request)
      : log_(&log), tokenizer_(&tokenizer), request_(std::move(request)) {}

  void prompt(std::span<const std::int64_t> ids) { prompts_.push_back(text_of(ids)); }
  /// Of one choice, whole or cut.
  void answer(std::size_t choice, std::span<const std::int64_t> ids);
  /// Hands the line to the log.
  void write();

 private:
  [[nodiscard]] std::string text_of(std::span<const std::int64_t> ids) const;

  LogFile* log_;
  const text::Tokenizer* tokenizer_;
  Request request_;
  std::vector<std::string> prompts_;
  std::vector<std::string> answers_;
};

}  // namespace hadal::server
