#include "formats/checkpoint.h"

#include <fmt/core.h>

#include <algorithm>
#include <system_error>
#include <unordered_map>
#include <utility>

#include "base/mapped_file.h"
#include "base/problems.h"
#include "base/sha256.h"
#include "base/units.h"
#include "formats/shard_index.h"

namespace hadal::formats {
namespace {

constexpr std::string_view kSingle = "model.safetensors";
constexpr std::string_view kIndex = "model.safetensors.index.json";
constexpr std::int64_t kMaxIndexBytes = std::int64_t{512} << 20;

std::string_view official_part(std::string_view part) {
  constexpr std::pair<std::string_view, std::string_view> kParts[] = {
      {"self_attn", "attn"},     {"mlp", "ffn"},     {"weight_scale_inv", "scale"}, {"e_score_correction_bias", "bias"},
      {"embed_tokens", "embed"}, {"lm_head", "head"}};
  for (const auto& [from, to] : kParts) {
    if (part == from) return to;
  }
  return part;
}

/// Messages about shards name the directory once, in front.
std::string without_prefix(const std::string& message, const std::string& prefix) {
  return message.starts_with(prefix) ? message.substr(prefix.size()) : message;
}

/// The shards that belong to the checkpoint and, from an index, which tensor it promises in which of them.
struct Layout {
  std::vector<std::string> files;
  ShardIndex index;  // no tensors for a single file
};

Result<Layout> read_layout(const std::filesystem::path& directory, std::vector<std::string>& warnings) {
  std::error_code ignored;
  Layout layout;
  const bool single = std::filesystem::exists(directory / kSingle, ignored);
  if (std::filesystem::exists(directory / kIndex, ignored)) {
    const std::filesystem::path path = directory / kIndex;
    HADAL_ASSIGN(const std::string text, read_file(path, kMaxIndexBytes));
    HADAL_ASSIGN(layout.index, parse_shard_index(text, path.string()));
    layout.files = layout.index.files;
    std::sort(layout.files.begin(), layout.files.end());
    if (single && std::find(layout.files.begin(), layout.files.end(), kSingle) == layout.files.end()) {
      warnings.push_back(fmt::format("{} is ignored, because {} does not name it", kSingle, kIndex));
    }
    return layout;
  }
  if (!single) {
    return fail(ErrorCode::kNotFound,
                fmt::format("{}: holds neither {} nor {}; this is not a checkpoint, or its download "
                            "is incomplete",
                            directory.string(), kSingle, kIndex));
  }
  layout.files.emplace_back(kSingle);
  return layout;
}

}  // namespace

std::string official_name(std::string_view name) {
  if (name.starts_with("model.")) name.remove_prefix(6);
  std::string result;
  result.reserve(name.size());
  while (true) {
    const std::size_t dot = name.find('.');
    result += official_part(name.substr(0, dot));
    if (dot == std::string_view::npos) return result;
    result += '.';
    name.remove_prefix(dot + 1);
  }
}

Result<std::unique_ptr<Checkpoint>> Checkpoint::open(const std::filesystem::path& directory) {
  std::error_code ignored;
  if (!std::filesystem::exists(directory, ignored)) {
    return fail(ErrorCode::kNotFound,
                fmt::format("{}: there is no such directory; name the one that holds config.json and the weights",
                            directory.string()));
  }
  if (!std::filesystem::is_directory(directory, ignored)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: is a file; a checkpoint is the directory with config.json and the weights in it",
                            directory.string()));
  }
  if (!std::filesystem::exists(directory / "config.json", ignored)) {
    return fail(ErrorCode::kNotFound,
                fmt::format("{}: holds no config.json; this is not a checkpoint, or its download is incomplete",
                            directory.string()));
  }
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint);
  checkpoint->directory_ = directory;
  HADAL_ASSIGN(checkpoint->config_, read_model_config(directory / "config.json"));
  HADAL_TRY(checkpoint->load());
  return checkpoint;
}

Result<std::string> Checkpoint::fingerprint() const {
  std::string all;
  HADAL_ASSIGN(all, read_file(directory_ / "config.json", kMaxIndexBytes));
  for (const Shard& shard : shards_) {
    std::error_code error;
    const auto time = std::filesystem::last_write_time(directory_ / shard.file, error);
    if (error) {
      return fail(ErrorCode::kUnavailable, fmt::format("{}: {}", (directory_ / shard.file).string(), error.message()));
    }
    all += fmt::format("\n{} {} {}", shard.file, shard.file_bytes, time.time_since_epoch().count());
  }
  for (const Entry& entry : tensors_) {
    all += fmt::format("\n{} {} {} {} {}", entry.name, entry.shard, static_cast<int>(entry.info->type),
                       entry.info->begin, entry.info->end);
  }
  return sha256_hex(all);
}

Status Checkpoint::load() {
  HADAL_ASSIGN(const Layout layout, read_layout(directory_, warnings_));
  Problems problems;
  bool only_missing = true;
  std::vector<bool> readable;  // by shard
  std::unordered_map<std::string_view, std::uint32_t> shard_numbers;
  for (const std::string& file : layout.files) {
    const auto number = static_cast<std::uint32_t>(shards_.size());
    shard_numbers.emplace(file, number);
    auto opened = SafetensorsFile::open(directory_ / file);
    readable.push_back(opened.has_value());
    shards_.push_back({file, 0, 0});
    files_.push_back(nullptr);
    if (!opened) {
      only_missing = only_missing && opened.error().code == ErrorCode::kNotFound;
      problems.add(opened.error().code == ErrorCode::kNotFound
                       ? fmt::format("{}: is missing; the download is incomplete, fetch it again", file)
                       : without_prefix(opened.error().message, (directory_ / "").string()));
      continue;
    }
    const SafetensorsHeader& header = (*opened)->header();
    shards_.back().file_bytes = (*opened)->file_bytes();
    shards_.back().tensors = static_cast<std::int64_t>(header.tensors.size());
    if (header.unused_bytes != 0) {
      warnings_.push_back(fmt::format("{}: {} bytes belong to no tensor", file, with_separators(header.unused_bytes)));
    }
    for (const TensorInfo& info : header.tensors) {
      tensors_.push_back({official_name(info.name), number, &info});
      weight_bytes_ += info.end - info.begin;
    }
    files_.back() = std::move(*opened);
  }

  std::sort(tensors_.begin(), tensors_.end(), [](const Entry& a, const Entry& b) { return a.name < b.name; });
  for (std::size_t i = 1; i < tensors_.size(); ++i) {
    if (tensors_[i].name != tensors_[i - 1].name) continue;
    only_missing = false;
    problems.add(fmt::format("tensor '{}' is there twice, in {} and in {}", tensors_[i].name,
                             shards_[tensors_[i - 1].shard].file, shards_[tensors_[i].shard].file));
  }

  // The index is a promise about the shards: whatever it names must be where it says.
  for (const ShardIndex::Entry& promised : layout.index.tensors) {
    const std::string& file = layout.index.files[promised.file];
    const std::uint32_t number = shard_numbers.at(file);
    if (!readable[number]) continue;  // reported as a whole
    const Entry* entry = find(official_name(promised.name));
    if (entry != nullptr && entry->shard == number) continue;
    only_missing = false;
    problems.add(entry == nullptr ? fmt::format("{}: lacks the tensor '{}' that {} names", file, promised.name, kIndex)
                                  : fmt::format("tensor '{}' lies in {}, but {} says {}", promised.name,
                                                shards_[entry->shard].file, kIndex, file));
  }
  HADAL_TRY(problems.status(only_missing ? ErrorCode::kNotFound : ErrorCode::kCorrupt, directory_.string()));

  const auto promised = static_cast<std::int64_t>(layout.index.tensors.size());
  if (promised != 0 && promised != tensor_count()) {
    warnings_.push_back(
        fmt::format("the shards hold {} tensors that {} does not name", tensor_count() - promised, kIndex));
  }
  if (layout.index.total_size >= 0 && layout.index.total_size != weight_bytes_) {
    warnings_.push_back(fmt::format("{} says {} bytes of weights, the shards hold {}", kIndex,
                                    with_separators(layout.index.total_size), with_separators(weight_bytes_)));
  }
  return {};
}

const Checkpoint::Entry* Checkpoint::find(std::string_view name) const {
  const auto at = std::lower_bound(tensors_.begin(), tensors_.end(), name,
                                   [](const Entry& entry, std::string_view wanted) { return entry.name < wanted; });
  return at != tensors_.end() && at->name == name ? &*at : nullptr;
}

Result<std::int64_t> Checkpoint::shard_of(std::string_view name) const {
  const Entry* entry = find(name);
  if (entry == nullptr) return fail(ErrorCode::kNotFound, fmt::format("{}: has no tensor '{}'", description(), name));
  return std::int64_t{entry->shard};
}

Result<HostTensor> Checkpoint::tensor(std::string_view name) const {
  const Entry* entry = find(name);
  if (entry == nullptr) return fail(ErrorCode::kNotFound, fmt::format("{}: has no tensor '{}'", description(), name));
  return files_[entry->shard]->at(*entry->info);
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> result;
  result.reserve(tensors_.size());
  for (const Entry& entry : tensors_) result.push_back(entry.name);
  return result;
}

}  // namespace hadal::formats
