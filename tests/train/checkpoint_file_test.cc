#include "train/checkpoint_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <cstring>
#include <vector>

#include "testing/small_disk.h"
#include "testing/temp_directory.h"

namespace hadal::train {
namespace {

using ::testing::HasSubstr;
using testing_support::read_text;
using testing_support::TempDirectory;
using testing_support::write_text;

struct Content {
  std::vector<float> weights;
  std::vector<std::int64_t> table{3, 1, 4, 1, 5, 9};

  explicit Content(std::size_t count = 1000) : weights(count) {
    for (std::size_t i = 0; i < count; ++i) weights[i] = static_cast<float>(i) * 0.25F - 7;
  }
  [[nodiscard]] std::vector<formats::NamedTensor> tensors() const {
    const auto count = static_cast<std::int64_t>(weights.size());
    return {{"weights",
             {static_cast<const std::byte*>(static_cast<const void*>(weights.data())),
              DType::kF32,
              {count / 10, 10},
              4 * count}},
            {"table", {static_cast<const std::byte*>(static_cast<const void*>(table.data())), DType::kI64, {6}, 48}}};
  }
};

constexpr const char* kState = R"({"step": 17, "name": "ä \" \\"})";

TEST(CheckpointFile, GivesBackWhatWasWritten) {
  const TempDirectory temp;
  const Content content;
  ASSERT_TRUE(write_checkpoint_file(temp / "a.ckpt", kState, content.tensors()));
  const auto file = CheckpointFile::open(temp / "a.ckpt");
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->state_json(), kState);
  const auto weights = file->tensor("weights", DType::kF32, 1000);
  ASSERT_TRUE(weights) << weights.error().message;
  EXPECT_EQ(weights->shape, (Shape{100, 10}));
  EXPECT_EQ(std::memcmp(weights->data, content.weights.data(), 4000), 0);
  const auto table = file->tensor("table", DType::kI64, 6);
  ASSERT_TRUE(table);
  EXPECT_EQ(std::memcmp(table->data, content.table.data(), 48), 0);
  EXPECT_EQ(file->tensors().size(), 2U);
  for (const auto& wrong : {file->tensor("other", DType::kF32, 1000), file->tensor("weights", DType::kF32, 999),
                            file->tensor("table", DType::kF32, 6)}) {
    ASSERT_FALSE(wrong);
    EXPECT_EQ(wrong.error().code, ErrorCode::kCorrupt);
    EXPECT_THAT(wrong.error().message, HasSubstr("belongs to another model"));
  }
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(temp.path())) files += entry.exists() ? 1 : 0;
  EXPECT_EQ(files, 1U);  // no temporary file
}

TEST(CheckpointFile, EveryDamageIsFound) {
  const TempDirectory temp;
  const Content content;
  ASSERT_TRUE(write_checkpoint_file(temp / "a.ckpt", kState, content.tensors()));
  const std::string whole = read_text(temp / "a.ckpt");
  // One changed bit anywhere but in the padding, which nobody reads.
  const std::size_t data = whole.size() - 4032 - 64;
  for (std::size_t at = 0; at < whole.size(); at += at < 40 ? 1 : 19) {
    const bool reserved = at >= 12 && at < 16;
    const bool padding = (at >= data + 4000 && at < data + 4032) || at >= data + 4032 + 48;
    if (reserved || padding) continue;
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 4);
    write_text(temp / "b.ckpt", damaged);
    const auto file = CheckpointFile::open(temp / "b.ckpt");
    ASSERT_FALSE(file) << "byte " << at;
    EXPECT_EQ(file.error().code, at >= 8 && at < 12 ? ErrorCode::kUnsupported : ErrorCode::kCorrupt) << at;
    EXPECT_THAT(file.error().message, HasSubstr("b.ckpt"));
  }
  // Cut off anywhere before the last tensor's end.
  for (std::size_t size = 0; size < data + 4032 + 48; size += size < 40 ? 1 : 23) {
    write_text(temp / "b.ckpt", whole.substr(0, size));
    const auto file = CheckpointFile::open(temp / "b.ckpt");
    ASSERT_FALSE(file) << size;
    EXPECT_EQ(file.error().code, ErrorCode::kCorrupt) << size;
  }
}

TEST(CheckpointFile, MissingFileIsNotFound) {
  const auto file = CheckpointFile::open("/nonexistent/a.ckpt");
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, ErrorCode::kNotFound);
}

TEST(CheckpointFile, FullDiskKeepsTheOldFile) {
  const TempDirectory temp;
  ASSERT_TRUE(write_checkpoint_file(temp / "a.ckpt", kState, Content(100).tensors()));
  const std::string before = read_text(temp / "a.ckpt");
  {
    const testing_support::SmallDisk disk(100'000);
    const Status status = write_checkpoint_file(temp / "a.ckpt", kState, Content(100'000).tensors());
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::kResourceExhausted);
    EXPECT_THAT(status.error().message, HasSubstr("free some room"));
  }
  EXPECT_EQ(read_text(temp / "a.ckpt"), before);
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(temp.path())) files += entry.exists() ? 1 : 0;
  EXPECT_EQ(files, 1U);
}

TEST(CheckpointFile, NoDirectoryIsAClearError) {
  const Status status = write_checkpoint_file("/nonexistent/a.ckpt", kState, Content().tensors());
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(status.error().message, HasSubstr("cannot create it"));
}

}  // namespace
}  // namespace hadal::train
