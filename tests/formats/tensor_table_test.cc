#include "formats/tensor_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <sstream>
#include <string>

#include "formats/safetensors.h"
#include "formats/safetensors_writer.h"
#include "testing/temp_directory.h"
#include "testing/xz.h"

namespace hadal::formats {
namespace {

using testing_support::decompress_xz;
using testing_support::golden;
using testing_support::read_text;

struct Release {
  const char* directory;
  DrafterShape drafter;
  std::int64_t tensors;
  std::int64_t bytes;
  std::int64_t shards;
};

constexpr Release kReleases[] = {
    {"V4-Flash", {DrafterKind::kMtp, 1}, 69187, 159609485896, 46},
    {"V4-Pro", {DrafterKind::kMtp, 1}, 145116, 864704792696, 64},
    {"V4-Flash-0731", {DrafterKind::kDSpark, 3}, 72317, 166878536440, 48},
    {"V4-Pro-0813", {DrafterKind::kDSpark, 3}, 149782, 892727580904, 66},
};

ModelConfig config_of(const char* directory) {
  auto config = read_model_config(golden("configs") / directory / "config.json");
  if (!config) throw std::runtime_error(config.error().message);
  return *config;
}

class OfficialTables : public testing::TestWithParam<Release> {};

// Line by line: shard, name, type and shape, in the order of the real files.
TEST_P(OfficialTables, EqualThePublishedLists) {
  const Release& release = GetParam();
  const auto table = TensorTable::make(config_of(release.directory), release.drafter, {});
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_EQ(static_cast<std::int64_t>(table->tensors.size()), release.tensors);
  EXPECT_EQ(table->shards, release.shards);
  std::istringstream list(decompress_xz(read_text(golden("configs") / release.directory / "tensors.tsv.xz")));
  std::string line;
  std::size_t at = 0;
  std::int64_t bytes = 0;
  while (std::getline(list, line)) {
    ASSERT_LT(at, table->tensors.size());
    const ExpectedTensor& tensor = table->tensors[at++];
    std::string ours =
        std::to_string(tensor.shard) + "\t" + tensor.name + "\t" + std::string(safetensors_name(tensor.type)) + "\t";
    for (int i = 0; i < tensor.shape.rank(); ++i) ours += (i == 0 ? "" : ",") + std::to_string(tensor.shape[i]);
    ASSERT_EQ(ours, line);
    bytes += tensor.bytes();
  }
  EXPECT_EQ(at, table->tensors.size());
  EXPECT_EQ(bytes, release.bytes);
}

// File sizes, header sizes and tensor counts of every shard.
TEST_P(OfficialTables, GiveThePublishedShards) {
  const Release& release = GetParam();
  const auto table = TensorTable::make(config_of(release.directory), release.drafter, {});
  ASSERT_TRUE(table);
  std::map<std::int64_t, std::vector<TensorSpec>> shards;
  for (const ExpectedTensor& tensor : table->tensors) {
    shards[tensor.shard].push_back({tensor.name, tensor.type, tensor.shape});
  }
  std::istringstream list(read_text(golden("configs") / release.directory / "shards.tsv"));
  std::int64_t number = 0;
  std::int64_t file_bytes = 0;
  std::int64_t header_bytes = 0;
  std::int64_t tensors = 0;
  std::int64_t lines = 0;
  while (list >> number >> file_bytes >> header_bytes >> tensors) {
    ++lines;
    const auto& specs = shards.at(number);
    const auto header = static_cast<std::int64_t>(safetensors_header(specs).size());
    std::int64_t data = 0;
    for (const TensorSpec& spec : specs) data += byte_size(spec);
    EXPECT_EQ(static_cast<std::int64_t>(specs.size()), tensors) << number;
    EXPECT_EQ(header, header_bytes + 8) << number;
    EXPECT_EQ(header + data, file_bytes) << number;
  }
  EXPECT_EQ(lines, release.shards);
}

INSTANTIATE_TEST_SUITE_P(All, OfficialTables, testing::ValuesIn(kReleases));

std::int64_t parameters(const Totals& sums, ModelPart part) { return sums[static_cast<std::size_t>(part)].parameters; }

// spec/model.md 1.3, part by part.
TEST(TensorTable, FlashHasThePublishedParameters) {
  const auto config = config_of("V4-Flash");
  const auto table = TensorTable::make(config, {DrafterKind::kMtp, 1}, {});
  const Totals sums = totals(*table, config);
  EXPECT_EQ(parameters(sums, ModelPart::kAttention), 43 * std::int64_t{106956352});
  EXPECT_EQ(parameters(sums, ModelPart::kCompressor), 21 * std::int64_t{8393216} + 20 * std::int64_t{4260352});
  EXPECT_EQ(parameters(sums, ModelPart::kIndexer), 21 * std::int64_t{10749056});
  EXPECT_EQ(parameters(sums, ModelPart::kHyperConnection), 43 * std::int64_t{786486} + 4 * 16384 + 4 + 1);
  EXPECT_EQ(parameters(sums, ModelPart::kGate), 43 * std::int64_t{1048576} + 40 * 256);
  EXPECT_EQ(parameters(sums, ModelPart::kEmbedding), 529530880);
  EXPECT_EQ(parameters(sums, ModelPart::kHead), 529530880);
  EXPECT_EQ(parameters(sums, ModelPart::kRoutedExperts), 277025390592);
  EXPECT_EQ(parameters(sums, ModelPart::kSharedExpert), 43 * std::int64_t{25165824});
  EXPECT_EQ(parameters(sums, ModelPart::kNorms), (2 * 43 + 1) * 4096);
  EXPECT_EQ(parameters(sums, ModelPart::kDrafter), 6610048891);
  const PartTotals main = main_model(sums);
  EXPECT_EQ(main.parameters, 284332240471);
  EXPECT_EQ(main.parameters + 6610048891, 290942289362);
  EXPECT_EQ(main.tensors, 69187 - 1575);
  EXPECT_NEAR(static_cast<double>(main.active_parameters), 13.27e9, 0.005e9);
}

TEST(TensorTable, ProHasThePublishedParameters) {
  const auto config = config_of("V4-Pro");
  const auto table = TensorTable::make(config, {DrafterKind::kMtp, 1}, {});
  const Totals sums = totals(*table, config);
  EXPECT_EQ(parameters(sums, ModelPart::kAttention), 61 * std::int64_t{299894912});
  EXPECT_EQ(parameters(sums, ModelPart::kCompressor), 30 * std::int64_t{14684672} + 31 * std::int64_t{7406080});
  EXPECT_EQ(parameters(sums, ModelPart::kIndexer), 30 * std::int64_t{16712832});
  EXPECT_EQ(parameters(sums, ModelPart::kHyperConnection), 61 * std::int64_t{1376310} + 4 * 28672 + 4 + 1);
  EXPECT_EQ(parameters(sums, ModelPart::kGate), 61 * std::int64_t{2752512} + 58 * 384);
  EXPECT_EQ(parameters(sums, ModelPart::kEmbedding), 926679040);
  EXPECT_EQ(parameters(sums, ModelPart::kRoutedExperts), 1547396186112);
  EXPECT_EQ(parameters(sums, ModelPart::kSharedExpert), 61 * std::int64_t{66060288});
  EXPECT_EQ(parameters(sums, ModelPart::kDrafter), 25840145979);
  const PartTotals main = main_model(sums);
  EXPECT_EQ(main.parameters, 1572997201763);
  EXPECT_EQ(main.parameters + 25840145979, 1598837347742);
  EXPECT_EQ(main.tensors, 145116 - 2343);
  EXPECT_NEAR(static_cast<double>(main.active_parameters), 48.85e9, 0.005e9);
}

// spec/dspark.md 2: tensors and bytes of the stages.
TEST(TensorTable, DSparkStagesHaveThePublishedSizes) {
  struct Stages {
    const char* directory;
    std::int64_t tensors[3];
    std::int64_t bytes[3];
    std::int64_t expert_bytes;
  };
  for (const Stages& expected :
       {Stages{"V4-Flash-0731", {1568, 1565, 1572}, {3610287448, 3559944536, 3692606316}, 10267656192},
        Stages{"V4-Pro-0813", {2336, 2333, 2340}, {14007483608, 13853319192, 14118573100}, 40428896256}}) {
    const auto table = TensorTable::make(config_of(expected.directory), {DrafterKind::kDSpark, 3}, {});
    std::int64_t experts = 0;
    for (std::size_t stage = 0; stage < 3; ++stage) {
      std::int64_t tensors = 0;
      std::int64_t bytes = 0;
      const std::string prefix = "mtp." + std::to_string(stage) + ".";
      for (const ExpectedTensor& tensor : table->tensors) {
        if (!tensor.name.starts_with(prefix)) continue;
        ++tensors;
        bytes += tensor.bytes();
        if (tensor.name.find(".experts.") != std::string::npos) experts += tensor.bytes();
        EXPECT_EQ(tensor.part, ModelPart::kDrafter);
      }
      EXPECT_EQ(tensors, expected.tensors[stage]);
      EXPECT_EQ(bytes, expected.bytes[stage]);
    }
    EXPECT_EQ(experts, expected.expert_bytes);
  }
}

TEST(TensorTable, OtherFormatsHaveTheirShapes) {
  const auto config = config_of("V4-Flash");
  const auto find = [](const TensorTable& table, std::string_view name) {
    for (const ExpectedTensor& tensor : table.tensors) {
      if (tensor.name == name) return tensor;
    }
    return ExpectedTensor{};
  };
  const auto base = TensorTable::make(config, {}, {DType::kE4m3, DType::kE4m3, DType::kF32});
  EXPECT_EQ(find(*base, "layers.5.ffn.experts.7.w1.weight").type, DType::kE4m3);
  EXPECT_EQ(find(*base, "layers.5.ffn.experts.7.w1.weight").shape, (Shape{2048, 4096}));
  EXPECT_EQ(find(*base, "layers.5.ffn.experts.7.w1.scale").type, DType::kF32);
  EXPECT_EQ(find(*base, "layers.5.ffn.experts.7.w1.scale").shape, (Shape{16, 32}));
  const auto plain = TensorTable::make(config, {}, {DType::kBf16, DType::kBf16, DType::kE8m0});
  EXPECT_EQ(find(*plain, "layers.5.attn.wq_a.weight").type, DType::kBf16);
  EXPECT_EQ(find(*plain, "layers.5.attn.wq_a.scale").name, "");
  EXPECT_EQ(main_model(totals(*plain, config)).parameters, 284332240471);
  auto odd = config;
  odd.moe_intermediate_size = 2040;
  EXPECT_EQ(TensorTable::make(odd, {}, {}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_TRUE(TensorTable::make(odd, {}, {DType::kE4m3, DType::kE4m3, DType::kE8m0}));
}

}  // namespace
}  // namespace hadal::formats
