#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "train/data/token_set_writer.h"

namespace hadal::train {

inline TokenSetMeta small_meta(bool has_mask = false, std::int64_t vocab_size = 512) {
  return {.name = "some",
          .vocab_size = vocab_size,
          .tokenizer_sha256 = std::string(64, 'a'),
          .bos_id = 0,
          .eos_id = 1,
          .pad_id = 2,
          .has_mask = has_mask,
          .sources = {},
          .shards = {}};
}

/// A text of `length` tokens: bos, numbers that tell the document and the place, eos.
inline TokenDocument numbered_document(std::int64_t document, std::int64_t length) {
  TokenDocument made;
  for (std::int64_t i = 0; i < length; ++i) {
    made.tokens.push_back(i == 0 ? 0 : i == length - 1 ? 1 : static_cast<std::int32_t>(3 + (document * 31 + i) % 500));
  }
  made.bytes = 4 * length;
  return made;
}

inline void write_set(const std::filesystem::path& folder, const std::vector<TokenDocument>& documents,
                      bool has_mask = false, std::int64_t shard_tokens = TokenSetWriter::kShardTokens) {
  auto writer = TokenSetWriter::create(folder, small_meta(has_mask), shard_tokens);
  ASSERT_TRUE(writer);
  for (const TokenDocument& document : documents) ASSERT_TRUE(writer->add(document, "source"));
  ASSERT_TRUE(writer->finish());
}

inline void write_texts(const std::filesystem::path& folder, const std::vector<std::int64_t>& lengths) {
  std::vector<TokenDocument> documents;
  documents.reserve(lengths.size());
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    documents.push_back(numbered_document(static_cast<std::int64_t>(i), lengths[i]));
  }
  write_set(folder, documents);
}

}  // namespace hadal::train
