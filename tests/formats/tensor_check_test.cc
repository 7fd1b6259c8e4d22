#include "formats/tensor_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "formats/checkpoint.h"
#include "testing/memory_source.h"
#include "testing/temp_directory.h"

namespace hadal::formats {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing_support::golden;
using testing_support::MemorySource;

ModelConfig read(const char* path) {
  auto config = read_model_config(golden(path));
  if (!config) throw std::runtime_error(config.error().message);
  return *config;
}

class TensorChecks : public testing::Test {
 protected:
  TensorChecks()
      : config_(read("tiny-dspark/checkpoint/config.json")),
        source_(*TensorTable::make(config_, {DrafterKind::kDSpark, 3}, {})) {}

  [[nodiscard]] Error error() const {
    const auto check = check_tensors(config_, source_);
    return check ? Error{ErrorCode::kInternal, "was accepted"} : check.error();
  }
  [[nodiscard]] TensorCheck accepted() const {
    auto check = check_tensors(config_, source_);
    EXPECT_TRUE(check) << check.error().message;
    return check ? *check : TensorCheck{};
  }
  MemorySource::Item& item(const std::string& name) {
    EXPECT_TRUE(source_.contains(name)) << name;
    return source_.items[name];
  }

  ModelConfig config_;
  MemorySource source_;
};

TEST_F(TensorChecks, GoldenCheckpointsAreWhole) {
  const auto base = Checkpoint::open(golden("tiny-base/checkpoint"));
  ASSERT_TRUE(base);
  const auto base_check = check_tensors((*base)->config(), **base);
  ASSERT_TRUE(base_check) << base_check.error().message;
  EXPECT_EQ(base_check->drafter.kind, DrafterKind::kNone);
  EXPECT_THAT(base_check->warnings, IsEmpty());
  EXPECT_EQ(base_check->formats.expert, DType::kE4m3);
  EXPECT_EQ(base_check->formats.scale, DType::kF32);
  const auto dspark = Checkpoint::open(golden("tiny-dspark/checkpoint"));
  ASSERT_TRUE(dspark);
  const auto dspark_check = check_tensors((*dspark)->config(), **dspark);
  ASSERT_TRUE(dspark_check) << dspark_check.error().message;
  EXPECT_EQ(dspark_check->drafter.kind, DrafterKind::kDSpark);
  EXPECT_EQ(dspark_check->drafter.stages, 3);
  EXPECT_THAT(dspark_check->warnings, IsEmpty());
  EXPECT_EQ(static_cast<std::int64_t>(dspark_check->table.tensors.size()), (*dspark)->tensor_count());
}

TEST_F(TensorChecks, EveryMainTensorIsNeeded) {
  const std::vector<std::string> names = source_.names();
  int main = 0;
  for (const std::string& name : names) {
    if (name.starts_with("mtp.")) continue;
    const auto kept = source_.items.extract(name);
    EXPECT_EQ(error().code, ErrorCode::kCorrupt);
    EXPECT_EQ(error().message, "memory: tensor '" + name + "' is missing");
    source_.items[name] = kept.mapped();
    ++main;
  }
  EXPECT_GT(main, 150);
  EXPECT_THAT(accepted().warnings, IsEmpty());
}

TEST_F(TensorChecks, EveryWrongShapeIsNamed) {
  const std::vector<std::string> names = source_.names();
  for (const std::string& name : names) {
    if (name.starts_with("mtp.")) continue;
    const MemorySource::Item kept = item(name);
    item(name).shape = kept.shape.rank() == 1 ? Shape{kept.shape[0] + 1} : Shape{kept.shape[0], kept.shape[1] + 1};
    EXPECT_THAT(error().message, HasSubstr("memory: tensor '" + name + "' is "));
    EXPECT_THAT(error().message, HasSubstr(to_string(kept.shape))) << name;
    item(name) = kept;
  }
}

TEST_F(TensorChecks, AllThatIsWrongIsOneError) {
  source_.items.erase("norm.weight");
  item("layers.1.attn.wq_b.scale").shape = {3, 2};
  item("layers.2.attn.attn_sink").type = DType::kBf16;
  item("layers.3.ffn.experts.2.w2.weight").type = DType::kI64;
  EXPECT_EQ(error().message,
            "memory: 4 things are wrong:\n"
            "  - tensor 'layers.1.attn.wq_b.scale' is F8_E8M0 [3, 2], but must be F8_E8M0 [3, 1]\n"
            "  - tensor 'layers.2.attn.attn_sink' is BF16 [4], but must be F32 [4]\n"
            "  - tensor 'layers.3.ffn.experts.2.w2.weight' is I64 [256, 64], which is no type of such a weight\n"
            "  - tensor 'norm.weight' is missing");
}

TEST_F(TensorChecks, LongListsAreCut) {
  std::erase_if(source_.items, [](const auto& entry) { return entry.first.starts_with("layers.1."); });
  const std::string message = error().message;
  EXPECT_THAT(message, HasSubstr("things are wrong:"));
  EXPECT_THAT(message, testing::ContainsRegex("\n  and [0-9]+ more$"));
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 21);
}

TEST_F(TensorChecks, OtherTypesOfWeightsAreAccepted) {
  // A dense weight in BF16 or F32 has no scale; an FP8 one may have F32 scales; experts may be FP8.
  for (const DType type : {DType::kBf16, DType::kF32}) {
    item("layers.1.attn.wq_a.weight").type = type;
    EXPECT_THAT(error().message, HasSubstr("tensor 'layers.1.attn.wq_a.scale' is there, but its weight is"));
    const auto scale = source_.items.extract("layers.1.attn.wq_a.scale");
    EXPECT_THAT(accepted().warnings, IsEmpty());
    source_.items["layers.1.attn.wq_a.scale"] = scale.mapped();
  }
  item("layers.1.attn.wq_a.weight").type = DType::kE4m3;
  item("layers.1.attn.wq_a.scale").type = DType::kF32;
  EXPECT_THAT(accepted().warnings, IsEmpty());
  item("layers.1.ffn.experts.0.w1.weight") = {DType::kE4m3, {128, 256}};
  item("layers.1.ffn.experts.0.w1.scale") = {DType::kF32, {1, 2}};
  EXPECT_THAT(accepted().warnings, IsEmpty());
  item("layers.1.attn_norm.weight").type = DType::kF32;
  EXPECT_THAT(accepted().warnings, IsEmpty());
  // FP4 has E8M0 scales only, and only experts are FP4.
  item("layers.1.ffn.experts.1.w1.scale").type = DType::kF32;
  EXPECT_THAT(error().message,
              HasSubstr("tensor 'layers.1.ffn.experts.1.w1.scale' is F32 [128, 8], but must be F8_E8M0"));
  item("layers.1.ffn.experts.1.w1.scale").type = DType::kE8m0;
  item("layers.1.attn.wkv.weight").type = DType::kI8;
  EXPECT_THAT(error().message, HasSubstr("tensor 'layers.1.attn.wkv.weight' is I8 [96, 256], which is no type"));
}

TEST_F(TensorChecks, ExpertNumbersOutOfRangeAreNamed) {
  auto& table = item("layers.0.ffn.gate.tid2eid");
  table.bytes.resize(static_cast<std::size_t>(table.shape.elements() * 8));
  const auto put = [&table](std::int64_t token, std::int64_t slot, std::int64_t expert) {
    std::memcpy(table.bytes.data() + 8 * (token * 2 + slot), &expert, 8);
  };
  put(383, 1, 3);
  EXPECT_THAT(accepted().warnings, IsEmpty());
  put(17, 1, 4);
  EXPECT_EQ(error().message,
            "memory: tensor 'layers.0.ffn.gate.tid2eid' names expert 4 for token 17, but there are 4 experts");
  put(20, 0, -1);
  put(21, 0, std::int64_t{1} << 32);  // must not be read as 32 bits
  EXPECT_THAT(error().message, HasSubstr("(3 entries in all are out of range)"));
}

TEST_F(TensorChecks, ExtraTensorsAreAWarning) {
  source_.items["vision.patch"] = {DType::kF32, {1}};
  source_.items["mtp.0.embed.weight"] = {DType::kBf16, {384, 256}};  // known: conversions bring their own
  source_.items["mtp.2.head.weight"] = {DType::kBf16, {384, 256}};
  EXPECT_THAT(accepted().warnings,
              ElementsAre("1 tensors belong to no part of the model and are ignored: vision.patch"));
  for (int i = 0; i < 9; ++i) source_.items["a" + std::to_string(i)] = {DType::kF32, {1}};
  EXPECT_THAT(accepted().warnings,
              ElementsAre("10 tensors belong to no part of the model and are ignored: a0, a1, a2, a3, a4, ..."));
}

// spec/dspark.md 1: the tensors decide, the configuration must agree; half a set means no drafting, with a reason.
TEST_F(TensorChecks, DraftersAreFoundByTheirTensors) {
  EXPECT_EQ(accepted().drafter.stages, 3);
  const auto off = [this](const std::string& reason) {
    const TensorCheck check = accepted();
    EXPECT_EQ(check.drafter.kind, DrafterKind::kNone);
    EXPECT_EQ(check.drafter.stages, 0);
    EXPECT_THAT(check.warnings, ElementsAre("drafting is off: " + reason));
    for (const ExpectedTensor& tensor : check.table.tensors) EXPECT_NE(tensor.part, ModelPart::kDrafter);
  };
  const ModelConfig config = config_;
  const auto items = source_.items;

  config_.dspark = {};
  off("config.json has no dspark_block_size");
  config_ = config;
  config_.compress_ratios.pop_back();
  off("compress_ratios describes 2 stages, the tensors are of 3");
  config_ = config;
  config_.compress_ratios.back() = 4;
  off("compress_ratios gives a stage a ratio other than 0");
  config_ = config;
  config_.dspark.target_layer_ids = {0, 2, 2};
  off("dspark_target_layer_ids [0, 2, 2] are not distinct main layers");
  config_.dspark.target_layer_ids = {0, 2, 4};
  off("dspark_target_layer_ids [0, 2, 4] are not distinct main layers");
  config_.dspark.target_layer_ids = {0, 2};
  off("tensor 'mtp.0.main_proj.weight' is F8_E4M3 [256, 768], but must be F8_E4M3 [256, 512]");
  config_ = config;
  config_.dspark.noise_token_id = 384;
  off("dspark_noise_token_id 384 is outside the vocabulary");
  config_ = config;
  config_.dspark.markov_rank = 31;
  off("tensor 'mtp.2.confidence_head.proj.weight' is BF16 [1, 288], but must be BF16 [1, 287] and 2 more things are "
      "wrong");
  config_ = config;

  source_.items.erase("mtp.1.attn.kv_norm.weight");
  off("tensor 'mtp.1.attn.kv_norm.weight' is missing");
  source_.items = items;
  source_.items.erase("mtp.0.main_proj.weight");
  off("the tensors mtp.* are neither an MTP layer's nor DSpark's");
  source_.items["mtp.0.main_proj.weight"] = items.at("mtp.0.main_proj.weight");
  source_.items["mtp.0.e_proj.weight"] = {DType::kE4m3, {256, 256}};
  off("the tensors of MTP and of DSpark are there at once");
  source_.items = items;
  std::erase_if(source_.items, [](const auto& entry) { return entry.first.starts_with("mtp."); });
  off("config.json describes a drafter, but the tensors mtp.* are not there");
  config_.dspark = {};
  config_.num_nextn_predict_layers = 0;
  EXPECT_THAT(accepted().warnings, IsEmpty());  // nobody promised one
}

TEST_F(TensorChecks, MtpIsNeverTakenForDSpark) {
  config_.dspark = {};
  config_.compress_ratios.resize(5);
  const MemorySource source(*TensorTable::make(config_, {DrafterKind::kMtp, 1}, {}));
  const auto check = check_tensors(config_, source);
  ASSERT_TRUE(check) << check.error().message;
  EXPECT_EQ(check->drafter.kind, DrafterKind::kMtp);
  EXPECT_EQ(check->drafter.stages, 1);
  EXPECT_THAT(check->warnings, IsEmpty());
  config_.compress_ratios[4] = 128;
  const auto off = check_tensors(config_, source);
  ASSERT_TRUE(off);
  EXPECT_THAT(off->warnings, ElementsAre("drafting is off: compress_ratios gives the MTP layer a ratio other than 0"));
}

// Flash with its 72 thousand names: the drafter and all tensors are found, nothing is odd.
TEST(TensorCheckAtFullSize, FlashAndPro) {
  for (const auto& [path, drafter] :
       {std::pair{"configs/V4-Flash-0731/config.json", DrafterShape{DrafterKind::kDSpark, 3}},
        std::pair{"configs/V4-Pro/config.json", DrafterShape{DrafterKind::kMtp, 1}}}) {
    const auto config = read(path);
    const auto table = TensorTable::make(config, drafter, {});
    const MemorySource source(*table);
    const auto check = check_tensors(config, source);
    ASSERT_TRUE(check) << check.error().message;
    EXPECT_EQ(check->drafter.kind, drafter.kind);
    EXPECT_EQ(check->drafter.stages, drafter.stages);
    EXPECT_THAT(check->warnings, IsEmpty());
    EXPECT_EQ(check->table.tensors.size(), table->tensors.size());
  }
}

}  // namespace
}  // namespace hadal::formats
