#include "text/token_lines.h"

#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

namespace hadal::text {
namespace {

using Json = nlohmann::ordered_json;

tl::unexpected<Error> refuse(std::string message) { return fail(ErrorCode::kInvalidArgument, std::move(message)); }

Result<Json> parse_object(std::string_view line) {
  Json object = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return refuse("is not a JSON object");
  return object;
}

// The object that the results are added to: the line's `id`, if it has one.
Result<Json> begin_answer(const Json& line) {
  Json answer = Json::object();
  const auto id = line.find("id");
  if (id == line.end()) return answer;
  if (id->is_structured()) return refuse("the field id is neither a string nor a number");
  answer["id"] = *id;
  return answer;
}

Result<std::string> repeated(const Json& repeat) {
  if (!repeat.is_array() || repeat.size() != 2 || !repeat[0].is_string() || !repeat[1].is_number_unsigned()) {
    return refuse("the field repeat is not a list of a string and a count");
  }
  const auto& unit = repeat[0].get_ref<const std::string&>();
  const auto count = repeat[1].get<std::uint64_t>();
  if (!unit.empty() && count > static_cast<std::uint64_t>(Tokenizer::kMaxTextBytes) / unit.size()) {
    return refuse(fmt::format("the field repeat makes more than {} bytes of text", Tokenizer::kMaxTextBytes));
  }
  std::string text;
  text.reserve(unit.size() * count);
  for (std::uint64_t i = 0; i < count && !unit.empty(); ++i) text += unit;
  return text;
}

Result<std::string> bytes_of_hex(std::string_view hex) {
  std::string bytes;
  bytes.reserve(hex.size() / 2);
  for (std::size_t at = 0; at < hex.size(); at += 2) {
    const std::string_view digits = hex.substr(at, 2);
    unsigned byte = 0;
    const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16);
    if (digits.size() != 2 || status != std::errc() || end != digits.data() + 2) {
      return refuse(fmt::format("the field hex is not a byte in two digits at character {}", at));
    }
    bytes.push_back(static_cast<char>(static_cast<unsigned char>(byte)));
  }
  return bytes;
}

Result<std::vector<std::int32_t>> ids_of(const Json& line) {
  const auto field = line.find("ids");
  if (field == line.end() || !field->is_array()) return refuse("the field ids is not a list");
  std::vector<std::int32_t> ids;
  ids.reserve(field->size());
  for (const Json& id : *field) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() > INT32_MAX) {
      return refuse(fmt::format("ids[{}] is not a token id", ids.size()));
    }
    ids.push_back(id.get<std::int32_t>());
  }
  return ids;
}

Status answer_bytes(const Tokenizer& tokenizer, std::string_view bytes, AddedTokens added_tokens, Json& answer) {
  const auto bad = find_ill_formed(bytes);
  answer["first_invalid"] = bad ? Json(bad->offset) : Json();
  answer["replaced"] = replace_ill_formed(bytes);
  HADAL_ASSIGN(answer["ids"],
               tokenizer.encode(bytes, {.added_tokens = added_tokens, .ill_formed = IllFormedText::kReplace}));
  return {};
}

Status answer_text(const Tokenizer& tokenizer, std::string_view text, AddedTokens added_tokens, Json& answer) {
  HADAL_ASSIGN(const std::vector<std::int32_t> ids, tokenizer.encode(text, {.added_tokens = added_tokens}));
  answer["ids"] = ids;
  if (added_tokens == AddedTokens::kOff) return {};
  HADAL_ASSIGN(const std::vector<std::int32_t> plain, tokenizer.encode(text, {.added_tokens = AddedTokens::kOff}));
  if (plain != ids) answer["ids_plain"] = plain;
  return {};
}

}  // namespace

Result<std::string> tokenize_line(const Tokenizer& tokenizer, std::string_view line, AddedTokens added_tokens) {
  HADAL_ASSIGN(const Json object, parse_object(line));
  HADAL_ASSIGN(Json answer, begin_answer(object));
  const auto text = object.find("text");
  const auto repeat = object.find("repeat");
  const auto hex = object.find("hex");
  const int forms = (text != object.end() ? 1 : 0) + (repeat != object.end() ? 1 : 0) + (hex != object.end() ? 1 : 0);
  if (forms != 1) return refuse("needs exactly one of the fields text, repeat and hex");
  if (hex != object.end()) {
    if (!hex->is_string()) return refuse("the field hex is not a string");
    HADAL_ASSIGN(const std::string bytes, bytes_of_hex(hex->get_ref<const std::string&>()));
    HADAL_TRY(answer_bytes(tokenizer, bytes, added_tokens, answer));
  } else if (repeat != object.end()) {
    HADAL_ASSIGN(const std::string unrolled, repeated(*repeat));
    HADAL_TRY(answer_text(tokenizer, unrolled, added_tokens, answer));
  } else {
    if (!text->is_string()) return refuse("the field text is not a string");
    HADAL_TRY(answer_text(tokenizer, text->get_ref<const std::string&>(), added_tokens, answer));
  }
  return answer.dump();
}

Result<std::string> detokenize_line(const Tokenizer& tokenizer, std::string_view line) {
  HADAL_ASSIGN(const Json object, parse_object(line));
  HADAL_ASSIGN(Json answer, begin_answer(object));
  HADAL_ASSIGN(const std::vector<std::int32_t> ids, ids_of(object));
  DecodeOptions options;
  if (const auto skip = object.find("skip_special"); skip != object.end()) {
    if (!skip->is_boolean()) return refuse("the field skip_special is not true or false");
    options.skip_special = skip->get<bool>();
  }
  DetokenizingStream stream(tokenizer, options);
  Json pieces = Json::array();
  std::string text;
  for (const std::int32_t id : ids) {
    const std::size_t before = text.size();
    HADAL_TRY(stream.push(id, text));
    pieces.push_back(text.substr(before));
  }
  const std::size_t before = text.size();
  stream.finish(text);
  answer["pieces"] = std::move(pieces);
  answer["tail"] = text.substr(before);
  answer["text"] = std::move(text);
  return answer.dump();
}

}  // namespace hadal::text
