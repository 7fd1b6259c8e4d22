#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "base/result.h"
#include "formats/safetensors_writer.h"
#include "formats/weight_source.h"

namespace hadal::train {

/// Version of the format of docs/formats.md, "Training checkpoint".
inline constexpr std::uint32_t kCheckpointVersion = 1;

/// Writes a training checkpoint: a JSON text with the small state, and tensors. It grows under a temporary name, is
/// synced, renamed over `path`, and the directory is synced, so that at any moment there is the old file or the new
/// one, whole. Errors: kNotFound (no such directory), kResourceExhausted (full disk), kUnavailable; the temporary file
/// is removed then.
[[nodiscard]] Status write_checkpoint_file(const std::filesystem::path& path, std::string_view state_json,
                                           std::span<const formats::NamedTensor> tensors);

/// A training checkpoint, mapped. Everything in it was checked against its checksums.
class CheckpointFile {
 public:
  /// Errors: kNotFound, kUnavailable; kCorrupt (cut off, damaged, no such file), kUnsupported (another version).
  [[nodiscard]] static Result<CheckpointFile> open(const std::filesystem::path& path);

  [[nodiscard]] const std::string& state_json() const { return state_json_; }
  /// Errors: kCorrupt (there is no such tensor, or it is of another type or length).
  [[nodiscard]] Result<formats::HostTensor> tensor(std::string_view name, DType type, std::int64_t elements) const;
  [[nodiscard]] const std::map<std::string, formats::HostTensor, std::less<>>& tensors() const { return tensors_; }
  [[nodiscard]] const std::filesystem::path& path() const { return file_.path(); }

 private:
  [[nodiscard]] Status parse();

  MappedFile file_;
  std::string state_json_;
  std::map<std::string, formats::HostTensor, std::less<>> tensors_;
};

}  // namespace hadal::train
