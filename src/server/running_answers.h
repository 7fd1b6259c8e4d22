#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/error.h"
#include "server/answer_task.h"

namespace hadal::server {

/// The answers under way by the keys that they are made for, for servers that end those of a revoked key. Thread-safe.
class RunningAnswers {
 public:
  RunningAnswers() = default;
  RunningAnswers(const RunningAnswers&) = delete;
  RunningAnswers& operator=(const RunningAnswers&) = delete;

  void add(std::string key_id, std::weak_ptr<AnswerTask> answer);
  /// Ends all whose key may not go on; `error` is what their clients are told.
  void end_unless(const std::function<bool(std::string_view key_id)>& may_go_on, const api::ApiError& error);

 private:
  using Entry = std::pair<std::string, std::weak_ptr<AnswerTask>>;

  std::mutex mutex_;  // guards all below; nothing is called under it
  std::vector<Entry> entries_;
  std::size_t next_tidying_ = 0;  // entries at which those of ended answers are removed
};

}  // namespace hadal::server
