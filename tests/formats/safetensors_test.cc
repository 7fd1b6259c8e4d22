#include "formats/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "formats/safetensors_writer.h"
#include "testing/temp_directory.h"

namespace hadal::formats {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing_support::golden;
using testing_support::read_text;
using testing_support::TempDirectory;
using testing_support::write_text;

std::string file_of(std::string_view json, std::size_t data_bytes) {
  std::string file(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) file[i] = static_cast<char>(json.size() >> (8 * i) & 255U);
  return file + std::string(json) + std::string(data_bytes, 'x');
}

Result<SafetensorsHeader> parse(const std::string& file) {
  return parse_safetensors_header(std::as_bytes(std::span(file)), static_cast<std::int64_t>(file.size()), "f");
}

TEST(Safetensors, EntriesKeepTheirOrderAndPlace) {
  const auto header =
      parse(file_of(R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,3],"data_offsets":)"
                    R"([1,25]},"a":{"shape":[],"data_offsets":[25,33],"dtype":"I64"},)"
                    R"("none":{"dtype":"BF16","shape":[0,7],"data_offsets":[3,3]}}  )",
                    40));
  ASSERT_TRUE(header) << header.error().message;
  ASSERT_EQ(header->tensors.size(), 3U);
  const std::int64_t data = header->header_bytes + 8;
  EXPECT_EQ(header->tensors[0].name, "b");
  EXPECT_EQ(header->tensors[0].type, DType::kF32);
  EXPECT_EQ(header->tensors[0].shape, (Shape{2, 3}));
  EXPECT_EQ(header->tensors[0].begin, data + 1);
  EXPECT_EQ(header->tensors[0].end, data + 25);
  EXPECT_EQ(header->tensors[1].name, "a");
  EXPECT_EQ(header->tensors[1].shape.rank(), 0);
  EXPECT_EQ(header->tensors[2].shape.elements(), 0);
  EXPECT_EQ(header->unused_bytes, 1 + 7);
}

struct Damage {
  const char* json;
  std::size_t data_bytes;
  ErrorCode code;
  const char* message;
};

class Damages : public testing::TestWithParam<Damage> {};

TEST_P(Damages, AreNamed) {
  const auto header = parse(file_of(GetParam().json, GetParam().data_bytes));
  ASSERT_FALSE(header) << GetParam().json;
  EXPECT_EQ(header.error().code, GetParam().code);
  EXPECT_THAT(header.error().message, HasSubstr(GetParam().message));
}

constexpr ErrorCode kCorrupt = ErrorCode::kCorrupt;
constexpr Damage kDamages[] = {
    {"", 0, kCorrupt, "its header is not JSON"},
    {"{", 0, kCorrupt, "its header is not JSON"},
    {"{}{}", 0, kCorrupt, "its header is not JSON at byte 3"},
    {"[]", 0, kCorrupt, "its header is a list instead of an object"},
    {"7", 0, kCorrupt, "its header is a number instead of an object"},
    {R"({"a":5})", 0, kCorrupt, "the header's entry for tensor 'a' has a number in a place where it does not belong"},
    {R"({"a":[]})", 0, kCorrupt, "has a list in a place"},
    {R"({"a":null})", 0, kCorrupt, "has null in a place"},
    {R"({"a":{}})", 0, kCorrupt, "tensor 'a' lacks its dtype, shape or data_offsets"},
    {R"({"a":{"dtype":"F32","shape":[1]}})", 4, kCorrupt, "tensor 'a' lacks its dtype, shape or data_offsets"},
    {R"({"a":{"dtype":"F32","dtype":"F32"}})", 4, kCorrupt, "tensor 'a' has the field 'dtype' twice"},
    {R"({"a":{"colour":1}})", 4, kCorrupt, "tensor 'a' has an unknown field 'colour'"},
    {R"({"a":{"dtype":7,"shape":[1],"data_offsets":[0,4]}})", 4, kCorrupt, "has a number in a place"},
    {R"({"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}})", 2, ErrorCode::kUnsupported,
     "tensor 'a' has the element type 'F16', which no DeepSeek V4 checkpoint has"},
    {R"({"a":{"dtype":"F32","shape":[1,1,1,1,1],"data_offsets":[0,4]}})", 4, ErrorCode::kUnsupported,
     "tensor 'a' has 5 dimensions, more than 4"},
    {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, kCorrupt, "has a negative number in a place"},
    {R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4, kCorrupt, "has 1.0 in a place"},
    {R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", 4, kCorrupt, "has a list in a place"},
    {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4]}})", 4, kCorrupt, "has 1 data_offsets instead of 2"},
    {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 4, kCorrupt, "has 3 data_offsets instead of 2"},
    {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, kCorrupt, "do not fit its type and shape"},
    {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4, kCorrupt,
     "tensor 'a' (F32 [2]) has the data_offsets [0, 4], which do not fit its type and shape"},
    {R"({"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})", 4, kCorrupt, "do not fit"},
    {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 4, kCorrupt, "do not fit"},
    {R"({"a":{"dtype":"F32","shape":[0,4611686018427387904,8],"data_offsets":[0,0]}})", 4, kCorrupt, "do not fit"},
    {R"({"a":{"dtype":"I8","shape":[9223372036854775807],"data_offsets":[0,9223372036854775807]}})", 4, kCorrupt,
     "ends beyond any file"},
    {R"({"a":{"dtype":"I8","shape":[1],"data_offsets":[18446744073709551615,0]}})", 4, kCorrupt, "a huge number"},
    {R"({"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"I8","shape":[4],"data_offsets":[3,7]}})", 7,
     kCorrupt, "tensors 'a' and 'b' overlap"},
    {R"({"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"I8","shape":[2],"data_offsets":[1,3]}})", 7,
     kCorrupt, "tensors 'a' and 'b' overlap"},
    {R"({"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"I8","shape":[4],"data_offsets":[4,8]}})", 8,
     kCorrupt, "has the tensor 'a' twice"},
    {R"({"__metadata__":{"a":1}})", 0, kCorrupt, "its '__metadata__' holds a number; only texts belong there"},
    {R"({"__metadata__":{},"__metadata__":{}})", 0, kCorrupt, "has '__metadata__' twice"},
    {R"({"__metadata__":[]})", 0, kCorrupt, "its '__metadata__' holds a list"},
};
INSTANTIATE_TEST_SUITE_P(All, Damages, testing::ValuesIn(kDamages));

TEST(Safetensors, LengthsThatLie) {
  EXPECT_THAT(parse("1234567").error().message, HasSubstr("has only 7 bytes, too few"));
  EXPECT_THAT(parse(file_of("{}", 0).substr(0, 9)).error().message,
              HasSubstr("its header ends at byte 10 but the file has 9; the download is incomplete, fetch it again"));
  std::string huge = file_of("{}", 0);
  huge[7] = '\x7f';
  EXPECT_THAT(parse(huge).error().message, HasSubstr("is not a safetensors file"));
  EXPECT_THAT(parse("version https://git-lfs.github.com/spec/v1\noid sha256:0\n").error().message,
              HasSubstr("is a Git LFS pointer"));
  EXPECT_THAT(parse("<!DOCTYPE html><html></html>").error().message, HasSubstr("is a web page"));
  EXPECT_THAT(parse(file_of(std::string(100000, '['), 0)).error().message, HasSubstr("a list instead of an object"));
}

TEST(Safetensors, TruncatedDataNameTheFirstTensorBeyond) {
  const std::string json =
      R"({"z":{"dtype":"I8","shape":[2000],"data_offsets":[0,2000]},"y":{"dtype":"I8","shape":[7],"data_offsets":)"
      R"([2000,2007]},"x":{"dtype":"I8","shape":[1],"data_offsets":[2007,2008]}})";
  std::string file = file_of(json, 2008);
  EXPECT_TRUE(parse(file));
  file.pop_back();
  EXPECT_EQ(parse(file).error().message,
            "f: tensor 'x' ends at byte 2,191 but the file has 2,190; the download is incomplete, fetch it again");
  file.resize(file.size() - 10);
  EXPECT_EQ(parse(file).error().message,
            "f: tensor 'z' ends at byte 2,183 but the file has 2,180 (2 more tensors lie beyond it); the download is "
            "incomplete, fetch it again");
}

TEST(Safetensors, EveryPrefixOfARealFileIsRefusedWithoutACrash) {
  const std::string file = read_text(golden("tiny-dspark/checkpoint/model-00006-of-00006.safetensors"));
  const auto whole = parse(file);
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->unused_bytes, 0);
  for (std::size_t size = 0; size < file.size(); size = size < 6000 ? size + 1 : size + 997) {
    const auto header = parse(file.substr(0, size));
    ASSERT_FALSE(header) << size;
    EXPECT_EQ(header.error().code, ErrorCode::kCorrupt);
  }
}

// What is written comes back to the byte, whatever names, types, shapes and order.
TEST(Safetensors, RoundTripOfRandomFiles) {
  std::mt19937_64 random(20240607);
  const auto below = [&random](std::uint64_t n) { return static_cast<std::int64_t>(random() % n); };
  const TempDirectory directory;
  constexpr DType kTypes[] = {DType::kF32,  DType::kF64, DType::kBf16, DType::kE4m3,
                              DType::kE8m0, DType::kI8,  DType::kI32,  DType::kI64};
  for (int round = 0; round < 100; ++round) {
    std::vector<std::string> data;
    std::vector<NamedTensor> tensors;
    const std::int64_t count = below(20);
    for (std::int64_t i = 0; i < count; ++i) {
      const DType type = kTypes[below(std::size(kTypes))];
      Shape shape;
      switch (below(4)) {
        case 0:
          break;
        case 1:
          shape = {below(9)};
          break;
        case 2:
          shape = {below(9), below(9)};
          break;
        default:
          shape = {below(3), below(3), below(3), below(3)};
      }
      std::string bytes(static_cast<std::size_t>(shape.elements() * size_of(type)), '\0');
      for (char& byte : bytes) byte = static_cast<char>(random());
      data.push_back(bytes);
      const std::string name = "layers." + std::to_string(below(1000)) + ".\"quoted\\ \xC3\xA9\" " + std::to_string(i);
      tensors.push_back({name, {nullptr, type, shape, static_cast<std::int64_t>(bytes.size())}});
    }
    for (std::size_t i = 0; i < tensors.size(); ++i) tensors[i].tensor.data = std::as_bytes(std::span(data[i])).data();
    ASSERT_TRUE(write_safetensors(directory / "f.safetensors", tensors));
    const auto file = SafetensorsFile::open(directory / "f.safetensors");
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_EQ((*file)->header().header_bytes % 8, 0);
    EXPECT_EQ((*file)->header().unused_bytes, 0);
    EXPECT_EQ((*file)->names().size(), tensors.size());
    for (const NamedTensor& written : tensors) {
      const auto read = (*file)->tensor(written.name);
      ASSERT_TRUE(read) << written.name;
      EXPECT_EQ(read->type, written.tensor.type);
      EXPECT_EQ(read->shape, written.tensor.shape);
      ASSERT_EQ(read->bytes, written.tensor.bytes);
      if (read->bytes > 0) {
        EXPECT_EQ(std::memcmp(read->data, written.tensor.data, static_cast<std::size_t>(read->bytes)), 0);
      }
    }
    EXPECT_EQ((*file)->tensor("absent").error().code, ErrorCode::kNotFound);
    EXPECT_FALSE((*file)->contains("absent"));
  }
}

// One flipped byte of a header: an error or the same shape of things, never a tensor outside the file.
TEST(Safetensors, FlippedBytesNeverLeadOutsideTheFile) {
  const std::string file = read_text(golden("tiny-dspark/checkpoint/model-00004-of-00006.safetensors"));
  std::mt19937_64 random(7);
  std::int64_t accepted = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string damaged = file;
    damaged[random() % 5200] = static_cast<char>(random());
    const auto header = parse(damaged);
    if (!header) continue;
    ++accepted;
    for (const TensorInfo& info : header->tensors) {
      ASSERT_LE(8 + header->header_bytes, info.begin);
      ASSERT_LE(info.begin, info.end);
      ASSERT_LE(info.end, static_cast<std::int64_t>(file.size()));
      ASSERT_EQ(info.end - info.begin, info.shape.elements() * size_of(info.type));
    }
  }
  EXPECT_GT(accepted, 100);  // a changed letter of a name is no damage
}

TEST(Safetensors, WrittenFormIsTheOfficialOne) {
  const TempDirectory directory;
  const std::string bytes(64, '\1');
  const auto* data = std::as_bytes(std::span(bytes)).data();
  ASSERT_TRUE(write_safetensors(directory / "f", {{"experts.2", {data, DType::kI8, {4, 2}, 8}},
                                                  {"experts.10", {data, DType::kI8, {2}, 2}},
                                                  {"w", {data, DType::kE4m3, {3}, 3}},
                                                  {"s", {data, DType::kE8m0, {1}, 1}},
                                                  {"n", {data, DType::kBf16, {1}, 2}},
                                                  {"f", {data, DType::kF32, {1}, 4}},
                                                  {"i", {data, DType::kI64, {1}, 8}}}));
  const std::string text = read_text(directory / "f");
  const std::string json =
      R"({"i":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"f":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},)"
      R"("n":{"dtype":"BF16","shape":[1],"data_offsets":[12,14]},"s":{"dtype":"F8_E8M0","shape":[1],"data_offsets":)"
      R"([14,15]},"w":{"dtype":"F8_E4M3","shape":[3],"data_offsets":[15,18]},"experts.10":{"dtype":"I8","shape":[2],)"
      R"("data_offsets":[18,20]},"experts.2":{"dtype":"I8","shape":[4,2],"data_offsets":[20,28]}})";
  EXPECT_EQ(text.substr(8, json.size()), json);
  EXPECT_EQ(text.size(), 8 + (json.size() + 7) / 8 * 8 + 28);
}

TEST(Safetensors, AnUnfinishedFileNeverGetsItsName) {
  const TempDirectory directory;
  const std::vector<TensorSpec> specs = {{"a", DType::kF32, {4}}};
  const std::string data(16, '\1');
  {
    auto writer = SafetensorsWriter::create(directory / "f", specs);
    ASSERT_TRUE(writer);
    ASSERT_TRUE(writer->write(std::as_bytes(std::span(data)).first(15)));
    EXPECT_EQ(writer->finish().error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(writer->write(std::as_bytes(std::span(data)).first(2)).error().code, ErrorCode::kInvalidArgument);
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
  {
    auto writer = SafetensorsWriter::create(directory / "f", specs);
    ASSERT_TRUE(writer);
    ASSERT_TRUE(writer->write(std::as_bytes(std::span(data)).first(3)));
    ASSERT_TRUE(writer->leave_hole());
    ASSERT_TRUE(writer->finish());
  }
  const auto file = SafetensorsFile::open(directory / "f");
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(std::to_integer<int>((*file)->tensor("a")->data[2]), 1);
  EXPECT_EQ(std::to_integer<int>((*file)->tensor("a")->data[3]), 0);
  EXPECT_EQ(SafetensorsWriter::create(directory / "no" / "f", specs).error().code, ErrorCode::kNotFound);
}

TEST(Safetensors, UnitsFileReads) {
  const auto units = SafetensorsFile::open(golden("units.safetensors"));
  ASSERT_TRUE(units) << units.error().message;
  const auto values = (*units)->tensor("e2m1.values");
  ASSERT_TRUE(values);
  EXPECT_EQ(values->shape, (Shape{16}));
  EXPECT_EQ(load_unaligned<float>(values->data + 4 * 7), 6.0F);
}

}  // namespace
}  // namespace hadal::formats
