#include "server/answer_script.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "text/json_text.h"

namespace hadal::server {
namespace {

Result<std::vector<std::int64_t>> read_answer(std::string_view line, const text::Tokenizer& tokenizer) {
  HADAL_ASSIGN(const text::JsonValue value, text::parse_json(line));
  std::vector<std::int64_t> ids;
  if (value.is(text::JsonKind::kString)) {
    HADAL_ASSIGN(const std::vector<std::int32_t> encoded, tokenizer.encode(value.text));
    ids.assign(encoded.begin(), encoded.end());
    if (const auto eos = tokenizer.eos_id()) ids.push_back(*eos);
    return ids;
  }
  if (!value.is(text::JsonKind::kArray)) {
    return fail(ErrorCode::kInvalidArgument, "expected a string or an array of token ids");
  }
  for (const text::JsonValue& item : value.items) {
    std::int64_t id = -1;
    const char* const end = item.text.data() + item.text.size();
    const bool whole = item.is(text::JsonKind::kNumber) && std::from_chars(item.text.data(), end, id).ptr == end;
    if (!whole || id < 0 || id >= tokenizer.vocab_size()) {
      return fail(ErrorCode::kInvalidArgument, fmt::format("'{}' is no token id of this tokenizer", item.text));
    }
    ids.push_back(id);
  }
  return ids;
}

}  // namespace

Result<std::shared_ptr<AnswerScript>> AnswerScript::parse(std::string_view lines, std::string_view where,
                                                          const text::Tokenizer& tokenizer) {
  auto script = std::make_shared<AnswerScript>();
  for (std::size_t number = 1; !lines.empty(); ++number) {
    const std::string_view line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(std::min(line.size() + 1, lines.size()));
    if (line.empty()) continue;
    auto answer = read_answer(line, tokenizer);
    if (!answer) {
      return fail(ErrorCode::kInvalidArgument, fmt::format("{}:{}: {}", where, number, answer.error().message));
    }
    script->answers_.push_back(std::move(*answer));
  }
  if (script->answers_.empty()) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("{}: holds no answer; write one JSON string a line", where));
  }
  return script;
}

}  // namespace hadal::server
