#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "base/result.h"

namespace hadal::train {

/// Where a document of a prepared set came from ("pg", "wordnet"), with what it holds.
struct SourceTotals {
  std::string name;
  std::int64_t documents = 0;
  std::int64_t tokens = 0;       // with bos and eos
  std::int64_t loss_tokens = 0;  // tokens that are to be learned: all but bos, or those in the mask
  std::int64_t bytes = 0;        // of the texts as UTF-8, without any marker of the chat format
};

/// What meta.json of a prepared set says. Format: docs/formats.md, "Prepared documents".
struct TokenSetMeta {
  struct Shard {
    std::int64_t documents = 0;
    std::int64_t tokens = 0;
  };
  std::string name;              // of the group, "books-children"
  std::int64_t vocab_size = 0;   // ids lie below
  std::string tokenizer_sha256;  // of the tokenizer.json, lower-case hexadecimal
  std::int32_t bos_id = 0;       // first token of a document
  std::int32_t eos_id = 0;       // its last one
  std::int32_t pad_id = 0;       // fills rows
  bool has_mask = false;         // chats: which tokens are to be learned
  std::vector<SourceTotals> sources;
  std::vector<Shard> shards;

  [[nodiscard]] SourceTotals totals() const;
};

/// Errors: kCorrupt (not such a file), kUnsupported (another version of the format).
[[nodiscard]] Result<TokenSetMeta> parse_token_set_meta(std::string_view json, std::string_view where);
[[nodiscard]] std::string to_json(const TokenSetMeta& meta);

/// The prepared documents of one folder, mapped. A document is `bos, tokens..., eos`, or a chat. Immutable; any thread
/// may read. The files are not trusted: everything that is read is checked, so that no id is out of range.
class TokenSet {
 public:
  /// Errors: kNotFound, kCorrupt (sizes or places of documents disagree with meta.json), kUnsupported, kUnavailable.
  [[nodiscard]] static Result<TokenSet> open(const std::filesystem::path& folder);

  [[nodiscard]] const TokenSetMeta& meta() const { return meta_; }
  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }
  [[nodiscard]] std::int64_t documents() const { return shard_begins_.back(); }
  [[nodiscard]] std::int64_t tokens() const { return tokens_; }
  /// Tokens of a document in [0, documents()), at least 1.
  [[nodiscard]] std::int64_t length(std::int64_t document) const;
  /// Index in meta().sources.
  [[nodiscard]] int source(std::int64_t document) const;

  /// Tokens [offset, offset + out.size()) of a document into `out`. The range must lie inside the document.
  /// Error: kCorrupt (an id at or above vocab_size).
  [[nodiscard]] Status read(std::int64_t document, std::int64_t offset, std::span<std::int32_t> out) const;
  /// For the same tokens: 1 where the token is to be learned, else 0. Without a mask 1 for every token but the
  /// document's first.
  void read_mask(std::int64_t document, std::int64_t offset, std::span<std::uint8_t> out) const;

 private:
  struct Shard {
    MappedFile tokens;
    MappedFile index;
    MappedFile mask;
  };
  struct Place {
    const Shard* shard;
    std::int64_t start;  // first token in the shard
    std::int64_t length;
    int source;
  };
  [[nodiscard]] Status open_shard(std::size_t number);
  [[nodiscard]] Place place(std::int64_t document) const;

  std::filesystem::path folder_;
  TokenSetMeta meta_;
  std::vector<Shard> shards_;
  std::vector<std::int64_t> shard_begins_{0};  // first document of each shard; one more at the end
  std::int64_t tokens_ = 0;
};

}  // namespace hadal::train
