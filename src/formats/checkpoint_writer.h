#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string_view>

#include "base/result.h"
#include "formats/model_config.h"
#include "formats/safetensors_writer.h"
#include "formats/tensor_table.h"

namespace hadal::formats {

/// A checkpoint directory that is being written: config.json, generation_config.json (unless it was added), the shards
/// of the official placement with their index. Everything grows in a directory `<name>.<pid>.partial` beside the wanted
/// one and is renamed by publish(); without that nothing is left.
class CheckpointWriter {
 public:
  struct Options {
    bool quantized = false;  // config.json says that weights are FP8
    bool sparse = false;     // the data will be holes, so the disk needs no room for them
  };

  /// `directory`: does not exist yet, or is empty. Errors: kInvalidArgument (not empty, a file), kNotFound (no parent),
  /// kResourceExhausted (too little room on the disk), kUnavailable (read-only disk).
  [[nodiscard]] static Result<CheckpointWriter> create(const std::filesystem::path& directory,
                                                       const ModelConfig& config, TensorTable table,
                                                       const Options& options);

  CheckpointWriter(CheckpointWriter&& other) noexcept;
  CheckpointWriter& operator=(CheckpointWriter&&) = delete;
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;
  ~CheckpointWriter();

  /// Calls write(tensor, shard) for every tensor of the table in order; it writes all bytes of the tensor. With
  /// Options::sparse nothing is called. Errors: those of the files and of `write`.
  using WriteTensor = std::function<Status(const ExpectedTensor&, SafetensorsWriter&)>;
  [[nodiscard]] Status write_shards(const WriteTensor& write);
  /// One more file, by its name in the directory.
  [[nodiscard]] Status add_file(std::string_view name, std::string_view contents);
  /// Writes configuration and index, and gives the directory its name. Last of all.
  [[nodiscard]] Status publish();

  [[nodiscard]] const TensorTable& table() const { return table_; }
  [[nodiscard]] std::int64_t total_bytes() const;

 private:
  CheckpointWriter() = default;

  std::filesystem::path target_;
  std::filesystem::path draft_;  // empty: published or moved away
  ModelConfig config_;
  TensorTable table_;
  Options options_;
};

}  // namespace hadal::formats
