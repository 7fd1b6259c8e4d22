// Any bytes as a tokenizer.json: read or refused, never worse; and what was read encodes and decodes any bytes.
// Input: the JSON up to the first NUL byte, then the text.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "text/tokenizer.h"

namespace {

// Aborts, so that the fuzzer keeps the input.
void require(bool condition) {
  if (!condition) std::abort();
}

void check(const hadal::text::Tokenizer& tokenizer, std::string_view bytes) {
  using namespace hadal::text;
  const EncodeOptions lenient{.ill_formed = IllFormedText::kReplace};
  const auto ids = tokenizer.encode(bytes, lenient);
  if (!ids) {
    // The only thing that may fail here is a split pattern that needs too many steps.
    require(ids.error().code == hadal::ErrorCode::kResourceExhausted);
    return;
  }
  require(*tokenizer.encode(bytes, lenient) == *ids);  // now from the cache
  require(tokenizer.encode(bytes).has_value() == !find_ill_formed(bytes).has_value());

  DetokenizingStream stream(tokenizer);
  std::string streamed;
  for (const std::int32_t id : *ids) require(stream.push(id, streamed).has_value());
  stream.finish(streamed);
  require(streamed == *tokenizer.decode(*ids));
  const auto plain =
      tokenizer.encode(bytes, {.added_tokens = AddedTokens::kOff, .ill_formed = IllFormedText::kReplace});
  if (plain) require(*tokenizer.decode(*plain) == replace_ill_formed(bytes));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string bytes(data, data + size);
  const std::size_t end = std::min(bytes.find('\0'), bytes.size());
  const auto tokenizer = hadal::text::Tokenizer::parse(std::string_view(bytes).substr(0, end), "input");
  if (tokenizer) {
    check(*tokenizer, std::string_view(bytes).substr(std::min(end + 1, bytes.size())));
  } else {
    require(!tokenizer.error().message.empty());
  }
  return 0;
}
