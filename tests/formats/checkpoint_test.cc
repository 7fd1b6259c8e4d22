#include "formats/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "formats/safetensors_writer.h"
#include "formats/shard_index.h"
#include "testing/temp_directory.h"

namespace hadal::formats {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing_support::golden;
using testing_support::read_text;
using testing_support::TempDirectory;
using testing_support::write_text;

constexpr const char* kIndex = "model.safetensors.index.json";

class Checkpoints : public testing::Test {
 protected:
  /// A writable copy of tiny-dspark.
  void copy() {
    std::filesystem::copy(golden("tiny-dspark/checkpoint"), directory_ / "c");
    for (const auto& entry : std::filesystem::directory_iterator(directory_ / "c")) {
      std::filesystem::permissions(entry.path(), std::filesystem::perms::owner_all);
    }
  }
  [[nodiscard]] std::filesystem::path file(std::string_view name) const { return directory_ / "c" / name; }
  [[nodiscard]] Error error() const {
    auto checkpoint = Checkpoint::open(directory_ / "c");
    if (checkpoint) return {ErrorCode::kInternal, "opened"};
    return checkpoint.error();
  }
  void replace_in_index(const std::string& from, const std::string& to) {
    std::string text = read_text(file(kIndex));
    const std::size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos);
    write_text(file(kIndex), text.replace(at, from.size(), to));
  }
  TempDirectory directory_;
};

TEST_F(Checkpoints, GoldenOnesOpen) {
  const auto base = Checkpoint::open(golden("tiny-base/checkpoint"));
  ASSERT_TRUE(base) << base.error().message;
  EXPECT_EQ((*base)->shards().size(), 1U);
  EXPECT_THAT((*base)->warnings(), IsEmpty());
  EXPECT_EQ((*base)->tensor("embed.weight")->shape, (Shape{256, 128}));

  const auto dspark = Checkpoint::open(golden("tiny-dspark/checkpoint"));
  ASSERT_TRUE(dspark) << dspark.error().message;
  EXPECT_EQ((*dspark)->shards().size(), 6U);
  EXPECT_THAT((*dspark)->warnings(), IsEmpty());
  EXPECT_EQ((*dspark)->config().dspark.noise_token_id, 380);
  EXPECT_EQ(*(*dspark)->shard_of("mtp.2.norm.weight"), 5);
  EXPECT_EQ((*dspark)->shard_of("mtp.3.norm.weight").error().code, ErrorCode::kNotFound);
  std::int64_t tensors = 0;
  for (const auto& shard : (*dspark)->shards()) tensors += shard.tensors;
  EXPECT_EQ((*dspark)->tensor_count(), tensors);
  const auto names = (*dspark)->names();
  EXPECT_EQ(static_cast<std::int64_t>(names.size()), tensors);
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  std::int64_t bytes = 0;
  for (const std::string& name : names) bytes += (*dspark)->tensor(name)->bytes;
  EXPECT_EQ((*dspark)->weight_bytes(), bytes);
  EXPECT_EQ((*dspark)->tensor("x").error().code, ErrorCode::kNotFound);
  EXPECT_THAT((*dspark)->tensor("x").error().message, HasSubstr("has no tensor 'x'"));
}

TEST_F(Checkpoints, AlienPathsSayWhatTheyAre) {
  EXPECT_THAT(error().message, HasSubstr("there is no such directory"));
  EXPECT_EQ(error().code, ErrorCode::kNotFound);
  write_text(directory_ / "c", "x");
  EXPECT_THAT(error().message, HasSubstr("is a file; a checkpoint is the directory with config.json"));
  EXPECT_EQ(error().code, ErrorCode::kInvalidArgument);
  std::filesystem::remove(directory_ / "c");
  std::filesystem::create_directory(directory_ / "c");
  EXPECT_THAT(error().message, HasSubstr("holds no config.json"));
  std::filesystem::copy(golden("configs/V4-Flash/config.json"), directory_ / "c" / "config.json");
  EXPECT_THAT(error().message, HasSubstr("holds neither model.safetensors nor model.safetensors.index.json"));
  EXPECT_EQ(error().code, ErrorCode::kNotFound);
  std::filesystem::copy(golden("configs/V4.1-Flash/config.json"), directory_ / "c" / "config.json",
                        std::filesystem::copy_options::overwrite_existing);
  EXPECT_EQ(error().code, ErrorCode::kUnsupported);
}

TEST_F(Checkpoints, EverythingThatIsWrongIsOneError) {
  copy();
  std::filesystem::remove(file("model-00001-of-00006.safetensors"));
  EXPECT_EQ(error().code, ErrorCode::kNotFound);
  EXPECT_EQ(error().message,
            (directory_ / "c").string() +
                ": model-00001-of-00006.safetensors: is missing; the download is incomplete, fetch it again");
  std::filesystem::resize_file(file("model-00003-of-00006.safetensors"), 2'000'000);
  write_text(file("model-00005-of-00006.safetensors"), "version https://git-lfs.github.com/spec/v1\n");
  replace_in_index("\"mtp.2.norm.weight\"", "\"mtp.2.norms.weight\"");
  EXPECT_EQ(error().code, ErrorCode::kCorrupt);
  EXPECT_THAT(error().message, HasSubstr("4 things are wrong:\n  - model-00001-of-00006.safetensors: is missing"));
  EXPECT_THAT(
      error().message,
      HasSubstr("\n  - model-00003-of-00006.safetensors: tensor 'layers.3.ffn.experts.3.w3.weight' ends at byte "
                "2,001,279 but the file has 2,000,000; the download is incomplete, fetch it again"));
  EXPECT_THAT(error().message, HasSubstr("\n  - model-00005-of-00006.safetensors: is a Git LFS pointer"));
  EXPECT_THAT(error().message, HasSubstr("\n  - model-00006-of-00006.safetensors: lacks the tensor "
                                         "'mtp.2.norms.weight' that model.safetensors.index.json names"));
}

TEST_F(Checkpoints, TensorsMustLieWhereTheIndexSays) {
  copy();
  const std::string entry = R"("mtp.2.norm.weight": "model-00006-of-00006.safetensors")";
  replace_in_index(entry, R"("mtp.2.norm.weight": "model-00005-of-00006.safetensors")");
  EXPECT_THAT(error().message, HasSubstr("tensor 'mtp.2.norm.weight' lies in model-00006-of-00006.safetensors, but "
                                         "model.safetensors.index.json says model-00005-of-00006.safetensors"));
}

TEST_F(Checkpoints, TensorsTheIndexForgotAreAWarning) {
  copy();
  std::string text = read_text(file(kIndex));
  const std::size_t at = text.find("\"mtp.2.norm.weight\"");
  ASSERT_NE(at, std::string::npos);
  const std::size_t end = text.find(',', at);
  ASSERT_NE(end, std::string::npos);
  write_text(file(kIndex), text.erase(at, end + 1 - at));
  const auto checkpoint = Checkpoint::open(directory_ / "c");
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_THAT((*checkpoint)->warnings(),
              ElementsAre("the shards hold 1 tensors that model.safetensors.index.json does not name"));
  EXPECT_TRUE((*checkpoint)->contains("mtp.2.norm.weight"));
}

TEST_F(Checkpoints, ShardsMayNotLeaveTheDirectory) {
  for (const char* path : {"../x.safetensors", "/etc/passwd", "a/../../x", "", "./x", "a/", ".."}) {
    const auto index = parse_shard_index(R"({"weight_map":{"a":")" + std::string(path) + R"("}})", "i");
    ASSERT_FALSE(index) << path;
    EXPECT_THAT(index.error().message, HasSubstr("shards must lie in the checkpoint's directory")) << path;
  }
  const auto fine =
      parse_shard_index(R"({"weight_map":{"a":"x","b":"s/y","c":"x"},"metadata":{"total_size":12}})", "i");
  ASSERT_TRUE(fine) << fine.error().message;
  EXPECT_THAT(fine->files, ElementsAre("x", "s/y"));
  EXPECT_EQ(fine->tensors[2].file, 0U);
  EXPECT_EQ(fine->total_size, 12);
}

TEST_F(Checkpoints, BrokenIndexesAreNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "is not JSON"},
      {"[]", "is a list instead of an object"},
      {"3", "is a number instead of an object"},
      {"{}", "has no 'weight_map' with tensors in it"},
      {R"({"weight_map":{}})", "has no 'weight_map' with tensors in it"},
      {R"({"weight_map":7})", "its 'weight_map' is a number instead of an object"},
      {R"({"weight_map":[]})", "its 'weight_map' is a list instead of an object"},
      {R"({"weight_map":{"a":7}})", "names a number instead of a file for tensor 'a'"},
      {R"({"weight_map":{"a":{}}})", "names an object instead of a file for tensor 'a'"},
      {R"({"weight_map":{"a":["x"]}})", "names a list instead of a file for tensor 'a'"},
      {R"({"weight_map":{"a":"x","a":"x"}})", "names the tensor 'a' twice"},
      {R"({"weight_map":{"a":"x"},"weight_map":{"b":"x"}})", "has 'weight_map' twice"},
      {R"({"weight_map":"x"})", "has a text in the wrong place"}};
  for (const auto& [text, message] : cases) {
    const auto index = parse_shard_index(text, "i");
    ASSERT_FALSE(index) << text;
    EXPECT_EQ(index.error().code, ErrorCode::kCorrupt);
    EXPECT_THAT(index.error().message, HasSubstr(message)) << text;
  }
  const std::string deep = R"({"metadata":)" + std::string(1000, '[') + "1" + std::string(1000, ']') + "}";
  EXPECT_THAT(parse_shard_index(deep, "i").error().message, HasSubstr("nested too deeply"));
}

TEST_F(Checkpoints, V3SpellingsBecomeOfficialNames) {
  EXPECT_EQ(official_name("model.embed_tokens.weight"), "embed.weight");
  EXPECT_EQ(official_name("lm_head.weight"), "head.weight");
  EXPECT_EQ(official_name("model.norm.weight"), "norm.weight");
  EXPECT_EQ(official_name("model.layers.3.self_attn.wq_a.weight_scale_inv"), "layers.3.attn.wq_a.scale");
  EXPECT_EQ(official_name("model.layers.3.mlp.gate.e_score_correction_bias"), "layers.3.ffn.gate.bias");
  EXPECT_EQ(official_name("layers.3.ffn.experts.12.w1.weight"), "layers.3.ffn.experts.12.w1.weight");
  EXPECT_EQ(official_name(""), "");
  EXPECT_EQ(official_name("a..b."), "a..b.");

  std::filesystem::create_directory(directory_ / "c");
  std::filesystem::copy(golden("configs/V4-Flash/config.json"), directory_ / "c" / "config.json");
  const std::string data(8, '\2');
  const HostTensor tensor{std::as_bytes(std::span(data)).data(), DType::kF32, {2}, 8};
  ASSERT_TRUE(write_safetensors(file("model.safetensors"), {{"model.layers.0.self_attn.attn_sink", tensor}}));
  const auto checkpoint = Checkpoint::open(directory_ / "c");
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_THAT((*checkpoint)->names(), ElementsAre("layers.0.attn.attn_sink"));
  // Both spellings at once are two tensors of one name.
  ASSERT_TRUE(write_safetensors(file("model.safetensors"),
                                {{"model.layers.0.self_attn.attn_sink", tensor}, {"layers.0.attn.attn_sink", tensor}}));
  EXPECT_THAT(error().message, HasSubstr("tensor 'layers.0.attn.attn_sink' is there twice"));
}

TEST_F(Checkpoints, AStraySingleFileIsIgnoredWithAWarning) {
  copy();
  write_text(file("model.safetensors"), "rubbish");
  const auto checkpoint = Checkpoint::open((directory_ / "c").string() + "/");
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_THAT((*checkpoint)->warnings(),
              ElementsAre("model.safetensors is ignored, because model.safetensors.index.json does not name it"));
}

}  // namespace
}  // namespace hadal::formats
