#include "formats/shard_index.h"

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/check.h"

/// Files of an index that is accepted stay in the checkpoint's directory, and every tensor has one.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hadal::formats;  // NOLINT: a program of one function
  const std::string text(data, data + size);
  const auto index = parse_shard_index(text, "input");
  if (!index) {
    HADAL_CHECK(index.error().message.starts_with("input: "), "an error names its file");
    return 0;
  }
  for (const std::string& file : index->files) {
    const auto place = (std::filesystem::path("/a/b") / file).lexically_normal().string();
    HADAL_CHECK(place.starts_with("/a/b/"), "a shard leaves the directory");
  }
  for (const ShardIndex::Entry& entry : index->tensors) {
    HADAL_CHECK(entry.file < index->files.size(), "a tensor has no file");
  }
  return 0;
}
