#include "formats/random_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <set>
#include <sstream>
#include <string>

#include "formats/checkpoint.h"
#include "formats/presets.h"
#include "formats/random_weights.h"
#include "formats/tensor_check.h"
#include "testing/temp_directory.h"

namespace hadal::formats {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing_support::golden;
using testing_support::read_text;
using testing_support::TempDirectory;
using testing_support::write_text;

RandomCheckpoint tiny(const std::filesystem::path& directory) {
  return {.directory = directory, .config = *preset("tiny"), .formats = {}, .seed = 5};
}

// Every format and drafter gives a checkpoint that opens and passes every check.
TEST(RandomCheckpoints, AreWhole) {
  const TempDirectory temp;
  const WeightFormats official;
  const WeightFormats base{.linear = DType::kE4m3, .expert = DType::kE4m3, .scale = DType::kF32};
  const WeightFormats bf16{.linear = DType::kBf16, .expert = DType::kBf16};
  int number = 0;
  for (const WeightFormats& formats : {official, base, bf16}) {
    for (const auto fields : {DrafterFields::kNone, DrafterFields::kMtp, DrafterFields::kDSpark}) {
      RandomCheckpoint request = tiny(temp / std::to_string(number++));
      request.config = with_drafter(request.config, fields);
      request.config.expert_dtype = "";
      request.formats = formats;
      const Status status = write_random_checkpoint(request);
      ASSERT_TRUE(status) << status.error().message;
      const auto checkpoint = Checkpoint::open(request.directory);
      ASSERT_TRUE(checkpoint) << checkpoint.error().message;
      EXPECT_THAT((*checkpoint)->warnings(), IsEmpty());
      const auto check = check_tensors((*checkpoint)->config(), **checkpoint);
      ASSERT_TRUE(check) << check.error().message;
      EXPECT_THAT(check->warnings, IsEmpty());
      EXPECT_EQ(check->drafter.kind, drafter_shape(request.config).kind);
      EXPECT_EQ(check->formats.expert, formats.expert);
      EXPECT_EQ(check->table.shards, static_cast<std::int64_t>((*checkpoint)->shards().size()));
      EXPECT_THAT(read_text(request.directory / "RANDOM_WEIGHTS.txt"), HasSubstr("random numbers (seed 5)"));
      EXPECT_THAT(read_text(request.directory / "generation_config.json"), HasSubstr("\"temperature\": 1.0"));
    }
  }
}

double deviation(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value * value;
  return std::sqrt(sum / static_cast<double>(values.size()));
}

// Decoded weights have a deviation near 1 / sqrt(inputs), in every format.
TEST(RandomCheckpoints, WeightsKeepActivationsSane) {
  const TempDirectory temp;
  ASSERT_TRUE(write_random_checkpoint(tiny(temp / "c")));
  const auto checkpoint = Checkpoint::open(temp / "c");
  ASSERT_TRUE(checkpoint);
  const auto get = [&](const std::string& name) { return (*checkpoint)->tensor(name).value(); };

  const auto fp8 = get("layers.1.attn.wo_a.weight");
  const auto fp8_scale = get("layers.1.attn.wo_a.scale");
  std::vector<double> values;
  for (std::int64_t row = 0; row < fp8.shape[0]; ++row) {
    for (std::int64_t column = 0; column < fp8.shape[1]; ++column) {
      const auto code = std::to_integer<std::uint8_t>(fp8.data[row * fp8.shape[1] + column]);
      const auto scale = std::to_integer<std::uint8_t>(fp8_scale.data[row / 128 * fp8_scale.shape[1] + column / 128]);
      values.push_back(double{e4m3_to_f32(code)} * double{e8m0_to_f32(scale)});
    }
  }
  const double fp8_ratio = deviation(values) * std::sqrt(static_cast<double>(fp8.shape[1]));
  EXPECT_GT(fp8_ratio, 0.4);
  EXPECT_LT(fp8_ratio, 1.6);

  const auto fp4 = get("layers.1.ffn.experts.3.w1.weight");
  const auto fp4_scale = get("layers.1.ffn.experts.3.w1.scale");
  values.clear();
  for (std::int64_t i = 0; i < fp4.bytes; ++i) {
    const auto pair = std::to_integer<std::uint8_t>(fp4.data[i]);
    const double scale = e8m0_to_f32(std::to_integer<std::uint8_t>(fp4_scale.data[i / 16]));
    values.push_back(double{e2m1_to_f32(pair & 15U)} * scale);
    values.push_back(double{e2m1_to_f32(static_cast<std::uint8_t>(pair >> 4))} * scale);
  }
  const double fp4_ratio = deviation(values) * 16;  // 256 inputs
  EXPECT_GT(fp4_ratio, 0.5);
  EXPECT_LT(fp4_ratio, 1.5);

  const auto embed = get("embed.weight");
  values.clear();
  for (std::int64_t i = 0; i < embed.shape.elements(); ++i) {
    values.push_back(to_f32(load_unaligned<bf16>(embed.data + 2 * i)));
  }
  EXPECT_NEAR(deviation(values), 1, 0.02);
  const auto norm = get("norm.weight");
  for (std::int64_t i = 0; i < norm.shape[0]; ++i) {
    EXPECT_NEAR(to_f32(load_unaligned<bf16>(norm.data + 2 * i)), 1, 0.5);
  }
}

TEST(RandomCheckpoints, TokensHaveDistinctExperts) {
  const TempDirectory temp;
  ASSERT_TRUE(write_random_checkpoint(tiny(temp / "c")));
  const auto checkpoint = Checkpoint::open(temp / "c");
  ASSERT_TRUE(checkpoint);
  std::set<std::int64_t> seen;
  for (const char* name : {"layers.0.ffn.gate.tid2eid", "layers.1.ffn.gate.tid2eid", "layers.2.ffn.gate.tid2eid"}) {
    const auto table = (*checkpoint)->tensor(name).value();
    for (std::int64_t token = 0; token < table.shape[0]; ++token) {
      std::set<std::int64_t> experts;
      for (std::int64_t slot = 0; slot < table.shape[1]; ++slot) {
        experts.insert(load_unaligned<std::int64_t>(table.data + 8 * (token * table.shape[1] + slot)));
      }
      EXPECT_EQ(static_cast<std::int64_t>(experts.size()), table.shape[1]) << name << " " << token;
      seen.insert(experts.begin(), experts.end());
    }
  }
  EXPECT_EQ(seen, (std::set<std::int64_t>{0, 1, 2, 3, 4, 5}));
}

// Bytes depend on seed, name and place alone: not on threads, pieces or what else is written.
TEST(RandomCheckpoints, ContentIsAFunctionOfSeedNameAndPlace) {
  const auto config = *preset("tiny");
  const RandomWeights weights(config, 5);
  const RandomWeights other(config, 6);
  const auto table = TensorTable::make(config, {DrafterKind::kMtp, 1}, {});
  for (const ExpectedTensor& tensor : table->tensors) {
    std::vector<std::byte> whole(static_cast<std::size_t>(tensor.bytes()));
    weights.fill(tensor, 0, whole);
    std::vector<std::byte> pieces(whole.size());
    for (std::int64_t begin = tensor.bytes() / RandomWeights::kPiece * RandomWeights::kPiece; begin >= 0;
         begin -= RandomWeights::kPiece) {
      const auto count = std::min(RandomWeights::kPiece, tensor.bytes() - begin);
      weights.fill(tensor, begin,
                   std::span(pieces).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count)));
    }
    ASSERT_EQ(whole, pieces) << tensor.name;
    if (whole.size() < 64) continue;
    other.fill(tensor, 0, pieces);
    EXPECT_NE(whole, pieces) << tensor.name;
  }
  const TempDirectory temp;
  RandomCheckpoint request = tiny(temp / "one");
  ASSERT_TRUE(write_random_checkpoint(request));
  request.directory = temp / "two";
  request.threads = 2;
  ASSERT_TRUE(write_random_checkpoint(request));
  for (const auto& entry : std::filesystem::directory_iterator(temp / "one")) {
    EXPECT_EQ(read_text(entry.path()), read_text(temp / "two" / entry.path().filename().string())) << entry.path();
  }
}

TEST(RandomCheckpoints, NothingIsOverwrittenOrLeftHalfDone) {
  const TempDirectory temp;
  std::filesystem::create_directory(temp / "full");
  write_text(temp / "full" / "precious", "x");
  const auto full = write_random_checkpoint(tiny(temp / "full"));
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(full.error().message,
            (temp / "full").string() + ": is not empty; name a directory that does not exist yet");
  const auto file = write_random_checkpoint(tiny(temp / "full" / "precious"));
  EXPECT_THAT(file.error().message, HasSubstr("is a file; name a directory"));
  EXPECT_EQ(write_random_checkpoint(tiny(temp / "no" / "c")).error().code, ErrorCode::kNotFound);

  RandomCheckpoint cancelled = tiny(temp / "cancelled");
  cancelled.progress = [](std::int64_t done, std::int64_t total) { return done < total / 2; };
  EXPECT_EQ(write_random_checkpoint(cancelled).error().code, ErrorCode::kCancelled);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(temp.path()), {}), 1);  // only "full"

  if (std::filesystem::space(temp.path()).available < std::uintmax_t{800} << 30) {
    RandomCheckpoint huge = tiny(temp / "huge");
    huge.config = *preset("pro");
    const auto space = write_random_checkpoint(huge);
    ASSERT_FALSE(space);
    EXPECT_EQ(space.error().code, ErrorCode::kResourceExhausted);
    EXPECT_THAT(space.error().message, HasSubstr("the checkpoint needs 805.32 GiB, but the disk has"));
  }

  std::filesystem::create_directory(temp / "empty");
  EXPECT_TRUE(write_random_checkpoint(tiny((temp / "empty").string() + "/")));
  EXPECT_TRUE(Checkpoint::open(temp / "empty"));
}

struct Release {
  const char* preset;
  const char* directory;
  std::uintmax_t index_bytes;  // as published; 0: not published
};

class SparseCheckpoints : public testing::TestWithParam<Release> {};

// The file sizes of all shards are the true ones, the tensors pass every check, and the disk holds next to nothing.
TEST_P(SparseCheckpoints, HaveTheTrueSizes) {
  const TempDirectory temp;
  const RandomCheckpoint request{
      .directory = temp / "c", .config = *preset(GetParam().preset), .formats = {}, .seed = 0, .sparse = true};
  const Status status = write_random_checkpoint(request);
  ASSERT_TRUE(status) << status.error().message;
  const auto checkpoint = Checkpoint::open(temp / "c");
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_THAT((*checkpoint)->warnings(), IsEmpty());
  const auto check = check_tensors((*checkpoint)->config(), **checkpoint);
  ASSERT_TRUE(check) << check.error().message;
  EXPECT_THAT(check->warnings, IsEmpty());

  std::istringstream list(read_text(golden("configs") / GetParam().directory / "shards.tsv"));
  std::size_t number = 0;
  std::int64_t file_bytes = 0;
  std::int64_t header_bytes = 0;
  std::int64_t tensors = 0;
  while (list >> number >> file_bytes >> header_bytes >> tensors) {
    ASSERT_LE(number, (*checkpoint)->shards().size());
    const auto& shard = (*checkpoint)->shards()[number - 1];
    EXPECT_EQ(shard.file_bytes, file_bytes);
    EXPECT_EQ(shard.tensors, tensors);
  }
  EXPECT_EQ(number, (*checkpoint)->shards().size());
  if (GetParam().index_bytes != 0) {
    EXPECT_EQ(std::filesystem::file_size(temp / "c" / "model.safetensors.index.json"), GetParam().index_bytes);
  }
  std::int64_t on_disk = 0;
  for (const auto& entry : std::filesystem::directory_iterator(temp / "c")) {
    struct stat info{};
    ASSERT_EQ(::stat(entry.path().c_str(), &info), 0);
    on_disk += std::int64_t{info.st_blocks} * 512;
  }
  EXPECT_LT(on_disk, std::int64_t{64} << 20);
  EXPECT_THAT(read_text(temp / "c" / "RANDOM_WEIGHTS.txt"), HasSubstr("every weight reads as zero"));
}

INSTANTIATE_TEST_SUITE_P(All, SparseCheckpoints,
                         testing::Values(Release{"flash", "V4-Flash", 5371381},
                                         Release{"flash-0731", "V4-Flash-0731", 5602871}, Release{"pro", "V4-Pro", 0},
                                         Release{"pro-0813", "V4-Pro-0813", 11651606}));

}  // namespace
}  // namespace hadal::formats
