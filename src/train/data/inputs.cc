#include "train/data/inputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <system_error>

namespace hadal::train {
namespace {

namespace fs = std::filesystem;

enum class Kind : std::uint8_t { kOther, kLines, kText };

Kind kind_of(const fs::path& path) {
  const fs::path inner = path.extension() == ".zst" ? path.stem() : path.filename();
  const fs::path extension = inner.extension();
  if (extension == ".jsonl") return Kind::kLines;
  return extension == ".txt" || extension == ".md" ? Kind::kText : Kind::kOther;
}

// "books" of "a/books.jsonl.zst".
std::string bare_name(const fs::path& path) {
  fs::path inner = path.filename();
  if (inner.extension() == ".zst") inner = inner.stem();
  return inner.stem().string();
}

std::optional<Split> split_named(const std::string& word) {
  if (word == "train") return Split::kTrain;
  if (word == "valid" || word == "validation" || word == "dev") return Split::kValid;
  if (word == "test") return Split::kTest;
  return std::nullopt;
}

// The last folder of the path that is not named like a split; for "." and "/" the name "texts".
std::string folder_name(const fs::path& folder) {
  std::error_code ignored;
  fs::path path = fs::weakly_canonical(folder, ignored);
  while (split_named(path.filename().string())) path = path.parent_path();
  return path.filename().empty() ? "texts" : path.filename().string();
}

InputFile classify(const fs::path& input, const fs::path& file, bool is_folder) {
  InputFile found{.path = file, .group = {}, .is_lines = kind_of(file) == Kind::kLines};
  std::optional<Split> split = split_named(bare_name(file));
  const fs::path folder = is_folder ? input : file.parent_path();
  found.group = found.is_lines && !split ? bare_name(file) : folder_name(folder);
  if (!split) {
    for (const fs::path& part : fs::relative(file.parent_path(), folder)) {
      if (!split) split = split_named(part.string());
    }
  }
  if (!split) split = split_named(fs::weakly_canonical(folder).filename().string());
  found.has_split = split.has_value();
  found.split = split.value_or(Split::kTrain);
  return found;
}

Result<std::vector<InputFile>> search(const fs::path& folder, std::int64_t& skipped) {
  std::error_code error;
  fs::recursive_directory_iterator walk(folder, error);
  if (error) {
    return fail(ErrorCode::kUnavailable, fmt::format("{}: cannot be read: {}", folder.string(), error.message()));
  }
  std::vector<InputFile> files;
  for (const fs::directory_entry& entry : walk) {
    if (!entry.is_regular_file(error)) continue;
    if (kind_of(entry.path()) == Kind::kOther) {
      ++skipped;
    } else {
      files.push_back(classify(folder, entry.path(), true));
    }
  }
  if (files.empty()) {
    return fail(ErrorCode::kNotFound,
                fmt::format("{}: holds no *.txt, *.md or *.jsonl file (nor one packed as *.zst)", folder.string()));
  }
  std::sort(files.begin(), files.end(), [](const InputFile& a, const InputFile& b) { return a.path < b.path; });
  return files;
}

Result<std::vector<InputFile>> find(const fs::path& input, std::int64_t& skipped) {
  std::error_code error;
  if (fs::is_directory(input, error)) return search(input, skipped);
  if (!fs::exists(input, error)) {
    return fail(ErrorCode::kNotFound, fmt::format("{}: there is no such file or folder", input.string()));
  }
  if (kind_of(input) == Kind::kOther) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: is not named *.txt, *.md or *.jsonl (or one of these and .zst); rename it so that its "
                            "kind is known",
                            input.string()));
  }
  return std::vector<InputFile>{classify(input, input, false)};
}

}  // namespace

std::string_view name(Split split) {
  switch (split) {
    case Split::kTrain:
      return "train";
    case Split::kValid:
      return "valid";
    case Split::kTest:
      return "test";
  }
  return "";
}

Result<std::vector<InputFile>> find_inputs(std::span<const fs::path> inputs, std::int64_t& skipped) {
  std::vector<InputFile> files;
  for (const fs::path& input : inputs) {
    // The library may throw when the file system fails under it.
    try {
      HADAL_ASSIGN(std::vector<InputFile> found, find(input, skipped));
      files.insert(files.end(), std::make_move_iterator(found.begin()), std::make_move_iterator(found.end()));
    } catch (const fs::filesystem_error& error) {
      return fail(ErrorCode::kUnavailable, fmt::format("{}: cannot be searched: {}", input.string(), error.what()));
    }
  }
  return files;
}

}  // namespace hadal::train
