#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/model_config.h"
#include "formats/safetensors.h"
#include "formats/weight_source.h"

namespace hadal::formats {

/// A checkpoint directory: config.json with model.safetensors, or with model.safetensors.index.json and the shards that
/// it names. All headers are read and checked when it is opened; the data are mapped and read when touched. Tensors
/// have their official names, whichever spelling the files use.
class Checkpoint final : public WeightSource {
 public:
  struct Shard {
    std::string file;  // relative to the directory
    std::int64_t file_bytes = 0;
    std::int64_t tensors = 0;
  };

  /// Errors: as read_model_config for config.json; kNotFound (no directory, nothing in it, missing shards) or kCorrupt
  /// (anything else that is wrong with index and shards), one error that lists all of it.
  [[nodiscard]] static Result<std::unique_ptr<Checkpoint>> open(const std::filesystem::path& directory);

  [[nodiscard]] const ModelConfig& config() const { return config_; }
  [[nodiscard]] const std::filesystem::path& directory() const { return directory_; }
  [[nodiscard]] const std::vector<Shard>& shards() const { return shards_; }
  [[nodiscard]] std::int64_t tensor_count() const { return static_cast<std::int64_t>(tensors_.size()); }
  [[nodiscard]] std::int64_t weight_bytes() const { return weight_bytes_; }
  /// What is odd but does no harm, a sentence each.
  [[nodiscard]] const std::vector<std::string>& warnings() const { return warnings_; }
  /// Names the weights as well as it can be done without reading them: configuration, tensors and where they stand,
  /// sizes and times of the files. A copy with other times has another name. Errors: kUnavailable (a file has gone).
  [[nodiscard]] Result<std::string> fingerprint() const;
  /// Index into shards() of the file that holds a tensor. Errors: kNotFound.
  [[nodiscard]] Result<std::int64_t> shard_of(std::string_view name) const;

  [[nodiscard]] Result<HostTensor> tensor(std::string_view name) const override;
  [[nodiscard]] bool contains(std::string_view name) const override { return find(name) != nullptr; }
  [[nodiscard]] std::vector<std::string> names() const override;
  [[nodiscard]] std::string description() const override { return directory_.string(); }

 private:
  struct Entry {
    std::string name;  // official
    std::uint32_t shard = 0;
    const TensorInfo* info = nullptr;
  };

  Checkpoint() = default;
  [[nodiscard]] const Entry* find(std::string_view name) const;
  Status load();

  std::filesystem::path directory_;
  ModelConfig config_;
  std::vector<Shard> shards_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;  // like shards_
  std::vector<Entry> tensors_;                           // sorted by name
  std::vector<std::string> warnings_;
  std::int64_t weight_bytes_ = 0;
};

/// The official name of a tensor that may be spelled as in V3 checkpoints: `model.` prefix, self_attn, mlp,
/// weight_scale_inv, e_score_correction_bias, embed_tokens, lm_head.
[[nodiscard]] std::string official_name(std::string_view name);

}  // namespace hadal::formats
