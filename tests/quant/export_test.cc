#include "quant/export.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "formats/checkpoint.h"
#include "formats/presets.h"
#include "formats/random_checkpoint.h"
#include "formats/tensor_check.h"
#include "quant/block_codes.h"
#include "quant/read_weight.h"
#include "testing/memory_source.h"
#include "testing/temp_directory.h"

namespace hadal::quant {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing_support::MemorySource;
using testing_support::read_text;
using testing_support::TempDirectory;

/// A random checkpoint of the preset "tiny" in that layout, opened.
std::unique_ptr<formats::Checkpoint> random_checkpoint(const std::filesystem::path& directory,
                                                       const formats::WeightFormats& formats) {
  formats::RandomCheckpoint request{.directory = directory, .config = *formats::preset("tiny"), .formats = formats};
  request.config.expert_dtype = "";
  request.config.moe_intermediate_size = 32;
  EXPECT_TRUE(formats::write_random_checkpoint(request));
  auto opened = formats::Checkpoint::open(directory);
  EXPECT_TRUE(opened);
  return std::move(*opened);
}

std::unique_ptr<formats::Checkpoint> reopened(const std::filesystem::path& directory) {
  auto opened = formats::Checkpoint::open(directory);
  EXPECT_TRUE(opened) << opened.error().message;
  EXPECT_THAT((*opened)->warnings(), IsEmpty());
  const auto check = formats::check_tensors((*opened)->config(), **opened);
  EXPECT_TRUE(check) << check.error().message;
  EXPECT_THAT(check->warnings, IsEmpty());
  return std::move(*opened);
}

TEST(Export, WritesTheOfficialLayoutAndSaysWhatWasLost) {
  const TempDirectory temp;
  const auto source = random_checkpoint(temp / "bf16", {.linear = DType::kBf16, .expert = DType::kBf16});
  const auto errors =
      export_model(*source, source->config(), {.directory = temp / "official", .files = {{"tokenizer.json", "{}"}}});
  ASSERT_TRUE(errors) << errors.error().message;
  const auto written = reopened(temp / "official");
  EXPECT_EQ(written->config().expert_dtype, "fp4");
  EXPECT_EQ(read_text(temp / "official/tokenizer.json"), "{}");
  EXPECT_THAT(read_text(temp / "official/config.json"), HasSubstr("quantization_config"));

  std::map<std::string, TensorError> by_name;
  for (const TensorError& error : *errors) by_name[error.name] = error;
  struct Case {
    const char* name;
    Shape shape;
    DType type;
    CodeFormat format;
  };
  for (const Case& c : {Case{"layers.3.attn.wo_b.weight", {256, 256}, DType::kE4m3, CodeFormat::kFp8Tile128},
                        Case{"layers.1.ffn.experts.4.w2.weight", {256, 32}, DType::kI8, CodeFormat::kFp4Block32},
                        Case{"mtp.0.e_proj.weight", {256, 256}, DType::kE4m3, CodeFormat::kFp8Tile128}}) {
    const auto before = read_weight(*source, c.name, c.shape);
    const auto after = read_weight(*written, c.name, c.shape);
    ASSERT_TRUE(before && after);
    std::vector<float> expected(before->size());
    round_to_codes(*before, {c.shape[0], c.shape[1]}, c.format, expected);
    EXPECT_EQ(*after, expected);
    EXPECT_EQ(written->tensor(c.name)->type, c.type);
    double squares = 0;
    double lost = 0;
    double largest = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const double difference = double{expected[i]} - double{(*before)[i]};
      squares += double{(*before)[i]} * double{(*before)[i]};
      lost += difference * difference;
      largest = std::max(largest, std::abs(difference));
    }
    EXPECT_DOUBLE_EQ(by_name.at(c.name).relative_rms, std::sqrt(lost / squares));
    EXPECT_DOUBLE_EQ(by_name.at(c.name).largest, largest);
    EXPECT_EQ(by_name.at(c.name).type, c.type);
    EXPECT_GT(largest, 0);
  }
  EXPECT_EQ(by_name.at("embed.weight").largest, 0);  // BF16 as before
  EXPECT_EQ(by_name.at("layers.0.hc_attn_fn").largest, 0);
  EXPECT_FALSE(by_name.contains("layers.0.attn.wq_b.scale"));
  const auto table = source->tensor("layers.0.ffn.gate.tid2eid");
  const auto copy = written->tensor("layers.0.ffn.gate.tid2eid");
  ASSERT_TRUE(table && copy);
  EXPECT_TRUE(std::equal(table->data, table->data + table->bytes, copy->data));
}

TEST(Export, LosesNothingOfWhatIsQuantizedAlready) {
  const TempDirectory temp;
  const auto source = random_checkpoint(temp / "first", {});
  for (const ExportFormat format : {ExportFormat::kFp8Fp4, ExportFormat::kBf16}) {
    const auto directory = temp / (format == ExportFormat::kBf16 ? "bf16" : "official");
    const auto errors = export_model(*source, source->config(), {.directory = directory, .format = format});
    ASSERT_TRUE(errors) << errors.error().message;
    for (const TensorError& error : *errors) EXPECT_EQ(error.largest, 0) << error.name;
    const auto written = reopened(directory);
    const Shape shape{768, 128};
    EXPECT_EQ(*read_weight(*source, "layers.2.attn.wq_b.weight", shape),
              *read_weight(*written, "layers.2.attn.wq_b.weight", shape));
    EXPECT_EQ(written->tensor("layers.2.attn.wq_b.weight")->type,
              format == ExportFormat::kBf16 ? DType::kBf16 : DType::kE4m3);
  }
}

TEST(Export, RefusesNumbersThatAreNotFinite) {
  const TempDirectory temp;
  formats::ModelConfig config = *formats::preset("tiny");
  const auto table = formats::TensorTable::make(config, formats::drafter_shape(config),
                                                {.linear = DType::kF32, .expert = DType::kF32});
  MemorySource source(*table);
  auto& item = source.items.at("layers.4.attn.wkv.weight");
  item.bytes.resize(static_cast<std::size_t>(item.shape.elements()) * 4);
  const float bad = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(item.bytes.data() + 400, &bad, 4);
  for (auto& [name, other] : source.items) {
    if (other.bytes.empty()) other.bytes.resize(static_cast<std::size_t>(other.shape.elements() * size_of(other.type)));
  }
  const auto errors = export_model(source, config, {.directory = temp / "out"});
  ASSERT_FALSE(errors);
  EXPECT_EQ(errors.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(errors.error().message, HasSubstr("layers.4.attn.wkv.weight"));
  EXPECT_TRUE(std::filesystem::is_empty(temp.path()));  // nothing is left
}

TEST(Export, CanBeGivenUp) {
  const TempDirectory temp;
  const auto source = random_checkpoint(temp / "first", {});
  ExportRequest request{.directory = temp / "out"};
  std::int64_t calls = 0;
  request.progress = [&](std::int64_t done, std::int64_t total) {
    EXPECT_LE(done, total);
    return ++calls < 5;
  };
  const auto errors = export_model(*source, source->config(), request);
  ASSERT_FALSE(errors);
  EXPECT_EQ(errors.error().code, ErrorCode::kCancelled);
  EXPECT_FALSE(std::filesystem::exists(temp / "out"));
}

}  // namespace
}  // namespace hadal::quant
