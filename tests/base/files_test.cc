#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/atomic_file.h"
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

TEST_F(Files, UnfinishedFileLeavesTheOldOne) {
  const auto path = directory_ / "file";
  ASSERT_TRUE(write_file_atomically(path, "old"));
  {
    auto file = AtomicFile::create(path);
    ASSERT_TRUE(file);
    ASSERT_TRUE(file->write(std::as_bytes(std::span(std::string_view("new")))));
    AtomicFile moved = std::move(*file);
    ASSERT_TRUE(moved.extend(10));
    EXPECT_EQ(*read_file(path, 100), "old");
  }
  EXPECT_EQ(*read_file(path, 100), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_), {}), 1);
}

TEST_F(Files, PublishedFileHasItsSizeAndPermissions) {
  const auto path = directory_ / "file";
  ASSERT_TRUE(write_file_atomically(path, "old"));
  auto file = AtomicFile::create(path, 0600);
  ASSERT_TRUE(file);
  ASSERT_TRUE(file->write(std::as_bytes(std::span(std::string_view("new")))));
  ASSERT_TRUE(file->extend(5));
  ASSERT_TRUE(file->publish());
  EXPECT_EQ(*read_file(path, 100), std::string("new\0\0", 5));
  EXPECT_EQ(std::filesystem::status(path).permissions(), static_cast<std::filesystem::perms>(0600));
}

TEST_F(Files, FullDiskIsSaidAndLeavesTheOldFile) {
  const auto path = directory_ / "file";
  ASSERT_TRUE(write_file_atomically(path, "old"));
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{.rlim_cur = 4096, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status status = write_file_atomically(path, std::string(10000, 'x'));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(status.error().message, path.string() +
                                        ": cannot write to it: File too large; free some room or choose "
                                        "another place");
  EXPECT_EQ(*read_file(path, 100), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_), {}), 1);
}

}  // namespace
}  // namespace hadal
