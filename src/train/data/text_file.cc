#include "train/data/text_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>

#include "base/units.h"

namespace hadal::train {
namespace {

constexpr std::size_t kStep = std::size_t{1} << 20;
constexpr std::int64_t kUsualRatio = 4;  // of English text in zstd

std::string_view as_text(std::span<const std::byte> bytes) {
  const void* const data = bytes.data();
  return {static_cast<const char*>(data), bytes.size()};
}

}  // namespace

std::int64_t estimated_text_bytes(const std::filesystem::path& path) {
  std::error_code ignored;
  const auto size = std::filesystem::file_size(path, ignored);
  if (ignored) return 0;
  return static_cast<std::int64_t>(size) * (path.extension() == ".zst" ? kUsualRatio : 1);
}

Result<TextFile> TextFile::open(const std::filesystem::path& path) {
  TextFile file;
  file.path_ = path;
  file.size_ = estimated_text_bytes(path);
  if (path.extension() == ".zst") {
    HADAL_ASSIGN(text::ZstdReader reader, text::ZstdReader::open(path));
    file.packed_.emplace(std::move(reader));
  } else {
    HADAL_ASSIGN(file.plain_, MappedFile::open(path));
  }
  return file;
}

Result<bool> TextFile::next(std::string_view separator, std::string_view& stretch) {
  std::string_view left = packed_ ? std::string_view(window_) : as_text(plain_.bytes());
  left.remove_prefix(begin_);
  const auto find = [separator](std::string_view in, std::size_t from) {
    return separator.empty() ? std::string_view::npos : in.find(separator, from);
  };
  std::size_t found = find(left, 0);
  while (found == std::string_view::npos && packed_ && !at_end_ && left.size() <= kMaxStretch) {
    window_.erase(0, begin_);
    begin_ = 0;
    const std::size_t before = window_.size();
    const std::size_t searched = before - std::min(before, separator.size());  // one may lie across the border
    HADAL_TRY(packed_->read(kStep, window_));
    at_end_ = window_.size() == before;
    left = window_;
    found = find(left, searched);
  }
  const std::size_t length = found == std::string_view::npos ? left.size() : found;
  if (length > kMaxStretch) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("{}: has a document or line of more than {}; cut it into smaller ones", path_.string(),
                            human_bytes(static_cast<std::int64_t>(kMaxStretch))));
  }
  if (left.empty()) return false;
  stretch = left.substr(0, length);
  const std::size_t taken = length + (found == std::string_view::npos ? 0 : separator.size());
  begin_ += taken;
  position_ += static_cast<std::int64_t>(taken);
  return true;
}

}  // namespace hadal::train
