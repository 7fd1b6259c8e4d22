#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hadal::text {

/// What is read of a tokenizer_config.json; the rest of it (its class among that) is ignored.
struct TokenizerConfig {
  std::optional<std::string> bos_token;  // content of the added token
  std::optional<std::string> eos_token;
  std::optional<std::string> pad_token;
  bool add_bos_token = false;
  std::optional<std::int64_t> model_max_length;  // tokens; absent when the file gives none or one beyond 64 bits
};

/// Errors, naming the field: kCorrupt.
[[nodiscard]] Result<TokenizerConfig> read_tokenizer_config(std::string_view json);

}  // namespace hadal::text
