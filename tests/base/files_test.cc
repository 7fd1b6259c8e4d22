#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "base/mapped_file.h"

namespace hadal {
namespace {

using testing::HasSubstr;

class Files : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::temp_directory_path() /
                 ("hadal_files_test_" + std::to_string(::testing::UnitTest::GetInstance()->random_seed()) + "_" +
                  testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::filesystem::path directory_;
};

TEST_F(Files, WrittenBytesComeBack) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{4096}, std::size_t{5000001}}) {
    std::string contents(size, '\0');
    for (std::size_t i = 0; i < size; ++i) contents[i] = static_cast<char>(i * 31 >> 3);
    const auto path = directory_ / "file";
    ASSERT_TRUE(write_file_atomically(path, contents));
    auto mapped = MappedFile::open(path);
    ASSERT_TRUE(mapped);
    const auto bytes = mapped->bytes();
    ASSERT_EQ(bytes.size(), size);
    if (size > 0) {
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(bytes.data()) % (std::size_t{2} << 20), 0U);
      EXPECT_EQ(std::memcmp(bytes.data(), contents.data(), size), 0);
    }
    EXPECT_EQ(*read_file(path, static_cast<std::int64_t>(size)), contents);
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_), {}), 1);  // no temporary file is left
}

TEST_F(Files, ErrorsNameThePath) {
  const auto missing = MappedFile::open(directory_ / "missing");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(missing.error().message, HasSubstr("missing"));
  const auto folder = MappedFile::open(directory_);
  ASSERT_FALSE(folder);
  EXPECT_EQ(folder.error().code, ErrorCode::kInvalidArgument);
  ASSERT_TRUE(write_file_atomically(directory_ / "big", "12345"));
  const auto big = read_file(directory_ / "big", 4);
  ASSERT_FALSE(big);
  EXPECT_EQ(big.error().code, ErrorCode::kResourceExhausted);
}

}  // namespace
}  // namespace hadal
