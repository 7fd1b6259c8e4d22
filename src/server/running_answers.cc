#include "server/running_answers.h"

#include <algorithm>

namespace hadal::server {

void RunningAnswers::add(std::string key_id, std::weak_ptr<AnswerTask> answer) {
  const std::lock_guard lock(mutex_);
  if (entries_.size() >= next_tidying_) {
    std::erase_if(entries_, [](const Entry& entry) { return entry.second.expired(); });
    constexpr std::size_t kLeast = 64;
    next_tidying_ = std::max(kLeast, 2 * entries_.size());
  }
  entries_.emplace_back(std::move(key_id), std::move(answer));
}

void RunningAnswers::end_unless(const std::function<bool(std::string_view key_id)>& may_go_on,
                                const api::ApiError& error) {
  std::vector<Entry> entries;
  {
    const std::lock_guard lock(mutex_);
    entries = entries_;
  }
  for (const auto& [key_id, answer] : entries) {
    const auto alive = answer.lock();
    if (alive && !may_go_on(key_id)) alive->end(error);
  }
}

}  // namespace hadal::server
