#include "train/data/token_set_writer.h"

#include <limits>
#include <system_error>

#include "base/check.h"
#include "base/mapped_file.h"
#include "train/data/token_set_files.h"

namespace hadal::train {

Result<TokenSetWriter> TokenSetWriter::create(const std::filesystem::path& folder, TokenSetMeta meta,
                                              std::int64_t shard_tokens) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    return fail(ErrorCode::kUnavailable, fmt::format("{}: cannot be made: {}", folder.string(), error.message()));
  }
  TokenSetWriter writer;
  writer.folder_ = folder;
  writer.meta_ = std::move(meta);
  writer.shard_tokens_ = shard_tokens;
  return writer;
}

Status TokenSetWriter::begin_shard() {
  const std::size_t number = meta_.shards.size();
  meta_.shards.emplace_back();
  const auto open = [this, number](std::string_view kind, std::optional<OutputFile>& file) -> Status {
    HADAL_ASSIGN(OutputFile made, OutputFile::create(folder_ / shard_file(kind, number)));
    file.emplace(std::move(made));
    return {};
  };
  HADAL_TRY(open("tokens", tokens_));
  HADAL_TRY(open("documents", index_));
  return meta_.has_mask ? open("mask", mask_) : Status{};
}

Status TokenSetWriter::end_shard() {
  if (mask_) {
    if (meta_.shards.back().tokens % 8 != 0) HADAL_TRY(mask_->append(std::as_bytes(std::span(&mask_byte_, 1))));
    mask_byte_ = 0;
  }
  for (std::optional<OutputFile>* file : {&tokens_, &index_, &mask_}) {
    if (!*file) continue;
    HADAL_TRY((*file)->close());
    file->reset();
  }
  return {};
}

Status TokenSetWriter::add_mask(std::span<const std::uint8_t> mask) {
  bytes_.clear();
  std::int64_t at = meta_.shards.back().tokens;
  for (const std::uint8_t learn : mask) {
    mask_byte_ = static_cast<std::uint8_t>(mask_byte_ | learn << at % 8);
    if (++at % 8 == 0) {
      bytes_.push_back(static_cast<std::byte>(mask_byte_));
      mask_byte_ = 0;
    }
  }
  return mask_->append(bytes_);
}

Status TokenSetWriter::add(const TokenDocument& document, const std::string& source) {
  HADAL_CHECK(!document.tokens.empty(), "a document has a token");
  HADAL_CHECK(document.mask.size() == (meta_.has_mask ? document.tokens.size() : 0), "a set of chats has masks");
  const auto length = static_cast<std::int64_t>(document.tokens.size());
  const auto [found, is_new] = source_numbers_.emplace(source, source_numbers_.size());
  if (found->second > std::numeric_limits<std::uint16_t>::max() || length > std::numeric_limits<std::uint32_t>::max()) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("{}: more than 65,536 sources, or a document of 2^32 tokens", folder_.string()));
  }
  if (is_new) meta_.sources.push_back({.name = source});
  if (!tokens_) HADAL_TRY(begin_shard());

  const int width = static_cast<int>(token_bytes(meta_.vocab_size));
  bytes_.clear();
  for (const std::int32_t id : document.tokens) {
    HADAL_CHECK(id >= 0 && id < meta_.vocab_size, "ids lie in the vocabulary");
    append_number(bytes_, static_cast<std::uint64_t>(id), width);
  }
  HADAL_TRY(tokens_->append(bytes_));
  TokenSetMeta::Shard& shard = meta_.shards.back();
  bytes_.clear();
  append_number(bytes_, static_cast<std::uint64_t>(shard.tokens), 8);
  append_number(bytes_, static_cast<std::uint64_t>(length), 4);
  append_number(bytes_, found->second, 2);
  append_number(bytes_, 0, 2);
  HADAL_TRY(index_->append(bytes_));
  if (meta_.has_mask) HADAL_TRY(add_mask(document.mask));

  SourceTotals& totals = meta_.sources[found->second];
  ++totals.documents;
  totals.tokens += length;
  totals.bytes += document.bytes;
  totals.loss_tokens += meta_.has_mask ? std::count(document.mask.begin(), document.mask.end(), 1) : length - 1;
  ++shard.documents;
  shard.tokens += length;
  return shard.tokens >= shard_tokens_ ? end_shard() : Status{};
}

Status TokenSetWriter::finish() {
  if (tokens_) HADAL_TRY(end_shard());
  return write_file_atomically(folder_ / "meta.json", to_json(meta_));
}

}  // namespace hadal::train
