#include "train/checkpoint_folder.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <system_error>
#include <utility>

#include "base/log.h"

namespace hadal::train {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "step-";
constexpr std::string_view kSuffix = ".ckpt";

std::optional<std::int64_t> step_of(const std::string& name) {
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return std::nullopt;
  std::int64_t step = 0;
  const char* const end = name.data() + name.size() - kSuffix.size();
  const auto [rest, error] = std::from_chars(name.data() + kPrefix.size(), end, step);
  return error == std::errc{} && rest == end ? std::optional(step) : std::nullopt;
}

}  // namespace

Result<CheckpointFolder> CheckpointFolder::open(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) {
    return fail(ErrorCode::kUnavailable, fmt::format("{}: cannot make this folder for checkpoints: {}; choose another "
                                                     "one with --checkpoints",
                                                     path.string(), error.message()));
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(path, error)) {
    std::error_code ignored;
    if (entry.path().extension() == ".partial") fs::remove(entry.path(), ignored);
  }
  CheckpointFolder folder;
  folder.path_ = path;
  return folder;
}

std::vector<std::int64_t> CheckpointFolder::steps() const {
  std::vector<std::int64_t> steps;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(path_, error)) {
    if (const auto step = step_of(entry.path().filename().string())) steps.push_back(*step);
  }
  std::sort(steps.rbegin(), steps.rend());
  return steps;
}

fs::path CheckpointFolder::file(std::int64_t step) const {
  return path_ / fmt::format("{}{:09}{}", kPrefix, step, kSuffix);
}

Result<std::optional<CheckpointFile>> CheckpointFolder::latest() const {
  Status problem;
  for (const std::int64_t step : steps()) {
    auto opened = CheckpointFile::open(file(step));
    if (opened) return std::optional(std::move(*opened));
    if (opened.error().code != ErrorCode::kCorrupt) return tl::unexpected<Error>(opened.error());
    log::warning("{}; the checkpoint before it is taken", opened.error().message);
    problem = tl::unexpected<Error>(opened.error());
  }
  HADAL_TRY(problem);
  return std::optional<CheckpointFile>();
}

Status CheckpointFolder::save(std::int64_t step, bool best, const std::function<Status(const fs::path&)>& write) const {
  HADAL_TRY(write(file(step)));
  if (best) HADAL_TRY(mark_best(step));
  const std::vector<std::int64_t> all = steps();
  for (std::size_t i = kKept; i < all.size(); ++i) {
    std::error_code error;
    fs::remove(file(all[i]), error);
    if (error) log::warning("{}: cannot remove this old checkpoint: {}", file(all[i]).string(), error.message());
  }
  return {};
}

Status CheckpointFolder::mark_best(std::int64_t step) const {
  // A second name costs no room; where the file system knows none, a copy does.
  const fs::path temporary = path_ / fmt::format("best.{}.partial", ::getpid());
  std::error_code error;
  fs::create_hard_link(file(step), temporary, error);
  if (error) fs::copy_file(file(step), temporary, fs::copy_options::overwrite_existing, error);
  if (!error) fs::rename(temporary, best(), error);
  if (!error) return {};
  std::error_code ignored;
  fs::remove(temporary, ignored);
  const bool full = error == std::errc::no_space_on_device;
  return fail(full ? ErrorCode::kResourceExhausted : ErrorCode::kUnavailable,
              fmt::format("{}: cannot be written: {}", best().string(), error.message()));
}

Result<fs::path> default_run_folder(std::string_view name) {
  if (const char* const state = std::getenv("XDG_STATE_HOME"); state != nullptr && *state != '\0') {
    return fs::path(state) / "hadal" / "train" / name;
  }
  if (const char* const home = std::getenv("HOME"); home != nullptr && *home != '\0') {
    return fs::path(home) / ".local" / "state" / "hadal" / "train" / name;
  }
  return fail(ErrorCode::kNotFound, "there is no home folder to keep checkpoints in; name one with --checkpoints");
}

}  // namespace hadal::train
