#include "train/data/token_set.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/units.h"
#include "formats/json.h"
#include "train/data/token_set_files.h"

namespace hadal::train {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kMaxMetaBytes = std::int64_t{64} << 20;
constexpr std::int64_t kMost = std::int64_t{1} << 48;  // of anything that is counted; products with 16 fit

// Typed access to one object of meta.json. The first wrong member is kept as an error.
class Members {
 public:
  Members(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object()) refuse("is not an object");
  }

  std::int64_t number(const char* key, std::int64_t most = kMost) {
    const Json* const value = find(key);
    if (value == nullptr) return 0;
    if (!value->is_number_unsigned() || value->get<std::uint64_t>() > static_cast<std::uint64_t>(most)) {
      refuse(fmt::format("'{}' is not a whole number from 0 to {}", key, most));
      return 0;
    }
    return value->get<std::int64_t>();
  }
  std::string text(const char* key) {
    const Json* const value = find(key);
    if (value == nullptr) return {};
    if (!value->is_string()) {
      refuse(fmt::format("'{}' is not a text", key));
      return {};
    }
    return value->get<std::string>();
  }
  bool truth(const char* key) {
    const Json* const value = find(key);
    if (value != nullptr && !value->is_boolean()) refuse(fmt::format("'{}' is not true or false", key));
    return value != nullptr && value->is_boolean() && value->get<bool>();
  }
  const Json& list(const char* key) {
    static const Json kNone = Json::array();
    const Json* const value = find(key);
    if (value != nullptr && !value->is_array()) refuse(fmt::format("'{}' is not a list", key));
    return value != nullptr && value->is_array() ? *value : kNone;
  }
  [[nodiscard]] const Status& status() const { return status_; }

 private:
  const Json* find(const char* key) {
    if (!object_.is_object()) return nullptr;
    const auto found = object_.find(key);
    if (found != object_.end()) return &*found;
    refuse(fmt::format("lacks '{}'", key));
    return nullptr;
  }
  void refuse(const std::string& what) {
    if (status_) status_ = fail(ErrorCode::kCorrupt, where_ + ": " + what);
  }

  const Json& object_;
  std::string where_;
  Status status_;
};

tl::unexpected<Error> disagrees(const std::filesystem::path& path, std::string_view what) {
  return fail(ErrorCode::kCorrupt,
              fmt::format("{}: {}; the set is damaged or incomplete, prepare it again", path.string(), what));
}

Status check_size(const MappedFile& file, std::int64_t expected) {
  const auto size = static_cast<std::int64_t>(file.bytes().size());
  if (size == expected) return {};
  return disagrees(file.path(),
                   fmt::format("has {} bytes, meta.json says {}", with_separators(size), with_separators(expected)));
}

}  // namespace

SourceTotals TokenSetMeta::totals() const {
  SourceTotals sum{.name = name};
  for (const SourceTotals& source : sources) {
    sum.documents += source.documents;
    sum.tokens += source.tokens;
    sum.loss_tokens += source.loss_tokens;
    sum.bytes += source.bytes;
  }
  return sum;
}

std::string to_json(const TokenSetMeta& meta) {
  Json sources = Json::array();
  for (const SourceTotals& source : meta.sources) {
    sources.push_back({{"name", source.name},
                       {"documents", source.documents},
                       {"tokens", source.tokens},
                       {"loss_tokens", source.loss_tokens},
                       {"bytes", source.bytes}});
  }
  Json shards = Json::array();
  for (const TokenSetMeta::Shard& shard : meta.shards) {
    shards.push_back({{"documents", shard.documents}, {"tokens", shard.tokens}});
  }
  const Json file = {{"format", kTokenSetFormat},
                     {"version", kTokenSetVersion},
                     {"name", meta.name},
                     {"vocab_size", meta.vocab_size},
                     {"tokenizer_sha256", meta.tokenizer_sha256},
                     {"bos_id", meta.bos_id},
                     {"eos_id", meta.eos_id},
                     {"pad_id", meta.pad_id},
                     {"mask", meta.has_mask},
                     {"sources", std::move(sources)},
                     {"shards", std::move(shards)}};
  return file.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<TokenSetMeta> parse_token_set_meta(std::string_view json, std::string_view where) {
  HADAL_ASSIGN(const Json file, formats::parse_json(json, where, kMaxMetaBytes));
  Members members(file, std::string(where));
  const std::string format = members.text("format");
  const std::int64_t version = members.number("version");
  HADAL_TRY(members.status());
  if (format != kTokenSetFormat || version != kTokenSetVersion) {
    return fail(ErrorCode::kUnsupported,
                fmt::format("{}: has the format '{}' of version {}, this program reads '{}' of version {}; prepare the "
                            "data again",
                            where, format, version, kTokenSetFormat, kTokenSetVersion));
  }
  TokenSetMeta meta;
  meta.name = members.text("name");
  meta.vocab_size = members.number("vocab_size", std::int64_t{1} << 24);
  const std::int64_t highest = std::max<std::int64_t>(meta.vocab_size - 1, 0);
  meta.tokenizer_sha256 = members.text("tokenizer_sha256");
  meta.bos_id = static_cast<std::int32_t>(members.number("bos_id", highest));
  meta.eos_id = static_cast<std::int32_t>(members.number("eos_id", highest));
  meta.pad_id = static_cast<std::int32_t>(members.number("pad_id", highest));
  meta.has_mask = members.truth("mask");
  for (const Json& entry : members.list("sources")) {
    Members source(entry, fmt::format("{}: sources[{}]", where, meta.sources.size()));
    meta.sources.push_back({.name = source.text("name"),
                            .documents = source.number("documents"),
                            .tokens = source.number("tokens"),
                            .loss_tokens = source.number("loss_tokens"),
                            .bytes = source.number("bytes")});
    HADAL_TRY(source.status());
  }
  for (const Json& entry : members.list("shards")) {
    Members shard(entry, fmt::format("{}: shards[{}]", where, meta.shards.size()));
    meta.shards.push_back({.documents = shard.number("documents"), .tokens = shard.number("tokens")});
    HADAL_TRY(shard.status());
  }
  HADAL_TRY(members.status());
  return meta;
}

Result<TokenSet> TokenSet::open(const std::filesystem::path& folder) {
  TokenSet set;
  set.folder_ = folder;
  const std::filesystem::path meta_file = folder / "meta.json";
  auto json = read_file(meta_file, kMaxMetaBytes);
  if (!json) {
    if (json.error().code != ErrorCode::kNotFound) return tl::unexpected(json.error());
    return fail(ErrorCode::kNotFound,
                fmt::format("{}: is not a prepared set (it has no meta.json); `hadal data prepare` makes one",
                            folder.string()));
  }
  HADAL_ASSIGN(set.meta_, parse_token_set_meta(*json, meta_file.string()));
  for (std::size_t number = 0; number < set.meta_.shards.size(); ++number) HADAL_TRY(set.open_shard(number));
  return set;
}

Status TokenSet::open_shard(std::size_t number) {
  const TokenSetMeta::Shard& said = meta_.shards[number];
  Shard shard;
  HADAL_ASSIGN(shard.tokens, MappedFile::open(folder_ / shard_file("tokens", number)));
  HADAL_ASSIGN(shard.index, MappedFile::open(folder_ / shard_file("documents", number)));
  HADAL_TRY(check_size(shard.tokens, said.tokens * token_bytes(meta_.vocab_size)));
  HADAL_TRY(check_size(shard.index, said.documents * kIndexRecord));
  if (meta_.has_mask) {
    HADAL_ASSIGN(shard.mask, MappedFile::open(folder_ / shard_file("mask", number)));
    HADAL_TRY(check_size(shard.mask, (said.tokens + 7) / 8));
  }
  for (std::int64_t document = 0; document < said.documents; ++document) {
    const std::byte* const record = shard.index.bytes().data() + document * kIndexRecord;
    const std::uint64_t start = load_number(record, 8);
    const std::uint64_t length = load_number(record + 8, 4);
    const auto tokens = static_cast<std::uint64_t>(said.tokens);
    if (length == 0 || start > tokens || length > tokens - start ||
        load_number(record + 12, 2) >= meta_.sources.size()) {
      return disagrees(shard.index.path(),
                       fmt::format("document {} lies outside of its shard or has no source", document));
    }
  }
  tokens_ += said.tokens;
  shards_.push_back(std::move(shard));
  shard_begins_.push_back(shard_begins_.back() + said.documents);
  return {};
}

TokenSet::Place TokenSet::place(std::int64_t document) const {
  HADAL_CHECK(document >= 0 && document < documents(), "the document exists");
  const auto next = std::upper_bound(shard_begins_.begin(), shard_begins_.end(), document);
  const auto number = static_cast<std::size_t>(next - shard_begins_.begin()) - 1;
  const Shard& shard = shards_[number];
  const std::byte* const record = shard.index.bytes().data() + (document - shard_begins_[number]) * kIndexRecord;
  return {.shard = &shard,
          .start = static_cast<std::int64_t>(load_number(record, 8)),
          .length = static_cast<std::int64_t>(load_number(record + 8, 4)),
          .source = static_cast<int>(load_number(record + 12, 2))};
}

std::int64_t TokenSet::length(std::int64_t document) const { return place(document).length; }

int TokenSet::source(std::int64_t document) const { return place(document).source; }

Status TokenSet::read(std::int64_t document, std::int64_t offset, std::span<std::int32_t> out) const {
  const Place at = place(document);
  const auto count = static_cast<std::int64_t>(out.size());
  HADAL_CHECK(offset >= 0 && count <= at.length - offset, "the range lies inside the document");
  const int width = static_cast<int>(token_bytes(meta_.vocab_size));
  const std::byte* bytes = at.shard->tokens.bytes().data() + (at.start + offset) * width;
  for (std::int32_t& id : out) {
    const std::uint64_t value = load_number(bytes, width);
    if (value >= static_cast<std::uint64_t>(meta_.vocab_size)) {
      return disagrees(at.shard->tokens.path(), fmt::format("document {} holds the token {}, the vocabulary has {}",
                                                            document, value, meta_.vocab_size));
    }
    id = static_cast<std::int32_t>(value);
    bytes += width;
  }
  return {};
}

void TokenSet::read_mask(std::int64_t document, std::int64_t offset, std::span<std::uint8_t> out) const {
  const Place at = place(document);
  HADAL_CHECK(offset >= 0 && static_cast<std::int64_t>(out.size()) <= at.length - offset,
              "the range lies inside the document");
  if (!meta_.has_mask) {
    std::fill(out.begin(), out.end(), std::uint8_t{1});
    if (offset == 0 && !out.empty()) out.front() = 0;
    return;
  }
  std::int64_t token = at.start + offset;
  for (std::uint8_t& learn : out) {
    const auto byte = std::to_integer<unsigned>(at.shard->mask.bytes()[static_cast<std::size_t>(token / 8)]);
    learn = static_cast<std::uint8_t>(byte >> token % 8 & 1);
    ++token;
  }
}

}  // namespace hadal::train
