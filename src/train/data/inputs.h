#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hadal::train {

enum class Split : std::uint8_t { kTrain, kValid, kTest };

inline constexpr std::array<Split, 3> kSplits = {Split::kTrain, Split::kValid, Split::kTest};

/// "train", "valid", "test": the directory of the split.
[[nodiscard]] std::string_view name(Split split);

/// A file of documents, and where these belong.
struct InputFile {
  std::filesystem::path path;
  std::string group;       // documents of one group get into one prepared set
  bool is_lines = false;   // a JSON object a line; else a text
  bool has_split = false;  // its place or name says which split it is
  Split split = Split::kTrain;
};

/// The files of some inputs, each a file or a folder that is searched with all folders in it, in the order of their
/// paths: *.jsonl, *.txt, *.md, each also packed as *.zst. A file below a folder train, valid (validation, dev) or
/// test, or named so, belongs to that split. A JSONL file is a group of its own, named like the file or, if that is the
/// name of a split, like its folder; texts are a group that is named like the input. `skipped` counts other files.
/// Errors: kNotFound (no such input, or no such file in it), kInvalidArgument (a file of another kind is named).
[[nodiscard]] Result<std::vector<InputFile>> find_inputs(std::span<const std::filesystem::path> inputs,
                                                         std::int64_t& skipped);

}  // namespace hadal::train
