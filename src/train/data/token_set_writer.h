#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "base/output_file.h"
#include "base/result.h"
#include "train/data/document_tokens.h"
#include "train/data/token_set.h"

namespace hadal::train {

/// Writes a prepared set (docs/formats.md). Without finish() the folder has no meta.json and is no prepared set.
class TokenSetWriter {
 public:
  static constexpr std::int64_t kShardTokens = std::int64_t{1} << 24;  // a shard ends with the document that fills it

  /// Makes `folder`. `meta`: name, vocab_size, tokenizer_sha256, the ids and has_mask. Errors: kUnavailable,
  /// kResourceExhausted.
  [[nodiscard]] static Result<TokenSetWriter> create(const std::filesystem::path& folder, TokenSetMeta meta,
                                                     std::int64_t shard_tokens = kShardTokens);

  /// `document` has a token, ids below vocab_size, and a mask exactly if the set has one. Errors: kResourceExhausted (a
  /// full disk; a document of 2^32 tokens, more than 65,536 sources), kUnavailable.
  [[nodiscard]] Status add(const TokenDocument& document, const std::string& source);

  /// Syncs all files and writes meta.json.
  [[nodiscard]] Status finish();

  [[nodiscard]] const TokenSetMeta& meta() const { return meta_; }

 private:
  TokenSetWriter() = default;
  [[nodiscard]] Status begin_shard();
  [[nodiscard]] Status end_shard();
  [[nodiscard]] Status add_mask(std::span<const std::uint8_t> mask);

  std::filesystem::path folder_;
  TokenSetMeta meta_;
  std::int64_t shard_tokens_ = 0;
  std::map<std::string, std::size_t> source_numbers_;
  std::optional<OutputFile> tokens_;
  std::optional<OutputFile> index_;
  std::optional<OutputFile> mask_;
  std::uint8_t mask_byte_ = 0;  // bits of the shard's last tokens, not yet written
  std::vector<std::byte> bytes_;
};

}  // namespace hadal::train
