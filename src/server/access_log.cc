#include "server/access_log.h"

#include <string_view>

#include "server/json_line.h"

namespace hadal::server {
namespace {

std::string_view ending_name(RequestRecord::Ending ending) {
  switch (ending) {
    case RequestRecord::Ending::kComplete:
      return "";
    case RequestRecord::Ending::kClientLeft:
      return "client";
    case RequestRecord::Ending::kClientStalled:
      return "stalled client";
    case RequestRecord::Ending::kBrokenOff:
      break;
  }
  return "server";
}

}  // namespace

std::string access_line(const RequestRecord& record) {
  const RequestNotes& notes = record.notes;
  JsonLine line;
  line.time("time", record.time);
  line.text("request_id", record.request_id);
  if (!record.client_id.empty()) line.text("client_id", record.client_id);
  if (!record.key_id.empty()) line.text("key", record.key_id);
  line.text("address", record.address);
  line.text("family", record.family == api::Family::kDeepSeek ? "deepseek" : "openai");
  line.text("method", record.method);
  line.text("route", record.route);
  line.number("status", record.status);
  if (!record.refusal.empty()) line.text("refused_by", record.refusal);
  if (!notes.model.empty()) {
    line.text("model", notes.model);
    line.text("finish", notes.finish);
    line.number("prompt_tokens", notes.prompt_tokens);
    line.number("cached_tokens", notes.cached_tokens);
    line.number("completion_tokens", notes.answer_tokens);
    line.number("reasoning_tokens", notes.reasoning_tokens);
    line.milliseconds("queue_ms", notes.queue_seconds);
    if (notes.first_token_seconds >= 0) line.milliseconds("first_token_ms", notes.first_token_seconds);
  }
  line.milliseconds("total_ms", record.seconds);
  line.number("request_bytes", record.request_bytes);
  line.number("answer_bytes", record.answer_bytes);
  if (const auto ending = ending_name(record.ending); !ending.empty()) line.text("ended_by", ending);
  return line.take();
}

}  // namespace hadal::server
