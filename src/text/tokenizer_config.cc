#include "text/tokenizer_config.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace hadal::text {
namespace {

using Json = nlohmann::json;

// A token is given as its content, or as an object that holds it.
Result<std::optional<std::string>> token(const Json& document, const char* key) {
  const auto found = document.find(key);
  if (found == document.end() || found->is_null()) return std::nullopt;
  const Json* content = &*found;
  if (content->is_object()) {
    const auto inside = content->find("content");
    if (inside != content->end()) content = &*inside;
  }
  if (!content->is_string()) {
    return fail(ErrorCode::kCorrupt, fmt::format("{} is neither a string nor an object with a content", key));
  }
  return content->get<std::string>();
}

}  // namespace

Result<TokenizerConfig> read_tokenizer_config(std::string_view json) {
  const Json document = Json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) return fail(ErrorCode::kCorrupt, "is not a JSON object");
  TokenizerConfig config;
  HADAL_ASSIGN(config.bos_token, token(document, "bos_token"));
  HADAL_ASSIGN(config.eos_token, token(document, "eos_token"));
  HADAL_ASSIGN(config.pad_token, token(document, "pad_token"));
  const auto add_bos = document.find("add_bos_token");
  if (add_bos != document.end() && !add_bos->is_null()) {
    if (!add_bos->is_boolean()) return fail(ErrorCode::kCorrupt, "add_bos_token is not true or false");
    config.add_bos_token = add_bos->get<bool>();
  }
  const auto length = document.find("model_max_length");
  if (length != document.end() && length->is_number_integer()) config.model_max_length = length->get<std::int64_t>();
  return config;
}

}  // namespace hadal::text
