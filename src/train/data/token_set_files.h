#pragma once

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

// What writer and reader of prepared sets share: docs/formats.md, "Prepared documents".
namespace hadal::train {

inline constexpr std::string_view kTokenSetFormat = "hadal-prepared-documents";
inline constexpr std::int64_t kTokenSetVersion = 1;
inline constexpr std::int64_t kIndexRecord = 16;  // bytes
inline constexpr std::int64_t kShortIds = 65536;  // vocabularies up to this size take two bytes a token

[[nodiscard]] inline std::string shard_file(std::string_view kind, std::size_t number) {
  return fmt::format("{}-{:04}.{}", kind, number, kind == "documents" ? "idx" : "bin");
}

[[nodiscard]] constexpr std::int64_t token_bytes(std::int64_t vocab_size) { return vocab_size <= kShortIds ? 2 : 4; }

/// An unsigned number of `size` bytes, little-endian.
[[nodiscard]] inline std::uint64_t load_number(const std::byte* bytes, int size) {
  std::uint64_t value = 0;
  for (int i = size - 1; i >= 0; --i) value = value << 8 | std::to_integer<std::uint64_t>(bytes[i]);
  return value;
}

template <class Bytes>
void append_number(Bytes& out, std::uint64_t value, int size) {
  for (int i = 0; i < size; ++i) out.push_back(static_cast<std::byte>(value >> (8 * i) & 0xFF));
}

}  // namespace hadal::train
