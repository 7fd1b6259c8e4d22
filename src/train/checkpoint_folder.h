#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

#include "base/result.h"
#include "train/checkpoint_file.h"

namespace hadal::train {

/// The folder of one run: `step-000000120.ckpt` of the last steps, `best.ckpt`, logs beside them.
class CheckpointFolder {
 public:
  static constexpr std::size_t kKept = 2;  // of the last checkpoints; the best is kept beside them

  /// Makes the folder if it is not there and removes files that an interrupted program left unfinished.
  /// Errors: kUnavailable.
  [[nodiscard]] static Result<CheckpointFolder> open(const std::filesystem::path& path);

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// Steps of the checkpoints that are there, the last one first.
  [[nodiscard]] std::vector<std::int64_t> steps() const;
  [[nodiscard]] std::filesystem::path file(std::int64_t step) const;
  [[nodiscard]] std::filesystem::path best() const { return path_ / "best.ckpt"; }

  /// The last checkpoint that is whole; each damaged one is named in a warning and passed over. Nothing when there is
  /// none at all. Errors: kCorrupt when all are damaged, kUnsupported, kUnavailable.
  [[nodiscard]] Result<std::optional<CheckpointFile>> latest() const;
  /// Calls write(path) for the checkpoint of `step`, then removes all but the last kKept; `best`: it is also the best.
  /// Errors: those of `write`; kUnavailable.
  [[nodiscard]] Status save(std::int64_t step, bool best,
                            const std::function<Status(const std::filesystem::path&)>& write) const;

 private:
  [[nodiscard]] Status mark_best(std::int64_t step) const;

  std::filesystem::path path_;
};

/// $XDG_STATE_HOME/hadal/train/<name>, or ~/.local/state/hadal/train/<name>. Errors: kNotFound (neither is set).
[[nodiscard]] Result<std::filesystem::path> default_run_folder(std::string_view name);

}  // namespace hadal::train
