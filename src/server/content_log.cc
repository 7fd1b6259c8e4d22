#include "server/content_log.h"

#include "server/json_line.h"

namespace hadal::server {

std::string ContentNote::text_of(std::span<const std::int64_t> ids) const {
  const std::vector<std::int32_t> narrow(ids.begin(), ids.end());
  return tokenizer_->decode(narrow).value_or(std::string());
}

void ContentNote::answer(std::size_t choice, std::span<const std::int64_t> ids) {
  if (answers_.size() <= choice) answers_.resize(choice + 1);
  answers_[choice] = text_of(ids);
}

void ContentNote::write() {
  JsonLine line;
  line.time("time", request_.time);
  line.text("request_id", request_.id);
  line.text("key", request_.key);
  line.text("model", request_.model);
  line.texts("prompts", prompts_);
  line.texts("answers", answers_);
  log_->write(line.take());
}

}  // namespace hadal::server
