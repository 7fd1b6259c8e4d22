#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "base/result.h"
#include "formats/drafter_kind.h"
#include "formats/model_config.h"
#include "formats/tensor_table.h"

namespace hadal::formats {

struct RandomCheckpoint {
  std::filesystem::path directory;  // does not exist yet, or is empty
  ModelConfig config;               // its fields say which drafter the checkpoint gets
  WeightFormats formats;
  std::uint64_t seed = 0;
  bool sparse = false;                                                 // true headers, holes for data
  int threads = 1;                                                     // that make the numbers
  std::function<bool(std::int64_t, std::int64_t)> progress = nullptr;  // bytes done, of all; false: give up
};

/// Drafter whose tensors a checkpoint of this configuration is to have, by its fields alone.
[[nodiscard]] DrafterShape drafter_shape(const ModelConfig& config);

/// Writes config.json, generation_config.json, the shards of the official placement with their index, and
/// RANDOM_WEIGHTS.txt, which says what this is. Memory does not grow with the model. Everything grows in a directory
/// `<name>.<pid>.partial` beside the wanted one and is renamed at the end; after a failure nothing is left.
/// Errors: kInvalidArgument (directory not empty, a file, dimensions that FP4 does not allow), kNotFound (no parent),
/// kResourceExhausted (too little room on the disk), kUnavailable (read-only disk), kCancelled.
[[nodiscard]] Status write_random_checkpoint(const RandomCheckpoint& request);

}  // namespace hadal::formats
