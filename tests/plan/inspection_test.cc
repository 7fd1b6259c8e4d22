#include "plan/inspection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "testing/temp_directory.h"
#include "testing/xz.h"

namespace hadal::plan {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing_support::decompress_xz;
using testing_support::golden;
using testing_support::read_text;
using testing_support::TempDirectory;
using testing_support::write_text;

constexpr std::int64_t kGiB = std::int64_t{1} << 30;

/// What the publisher and the specification say about a release.
struct Release {
  const char* directory;
  const char* name;
  const char* drafter;
  std::int64_t stages;
  std::int64_t tensors;
  std::int64_t shards;
  std::int64_t layers;
  std::int64_t ratio4;
  std::int64_t ratio128;
  std::int64_t hidden_size;
  std::int64_t parameters;  // of the main model
  double active;
};
constexpr Release kReleases[] = {
    {"V4-Flash", "DeepSeek-V4-Flash", "mtp", 1, 69187, 46, 43, 21, 20, 4096, 284332240471, 13.27e9},
    {"V4-Pro", "DeepSeek-V4-Pro", "mtp", 1, 145116, 64, 61, 30, 31, 7168, 1572997201763, 48.85e9},
    {"V4-Flash-0731", "DeepSeek-V4-Flash-0731", "dspark", 3, 72317, 48, 43, 21, 20, 4096, 284332240471, 13.27e9},
    {"V4-Pro-0813", "DeepSeek-V4-Pro-0813", "dspark", 3, 149782, 66, 61, 30, 31, 7168, 1572997201763, 48.85e9},
};

/// The report's name of the part that a tensor belongs to.
std::string part_of(const std::string& name) {
  const auto holds = [&](const char* text) { return name.find(text) != std::string::npos; };
  if (name.starts_with("mtp.")) return "drafter";
  if (name == "embed.weight") return "embedding";
  if (name == "head.weight") return "head";
  if (holds("hc_")) return "hyper-connections";
  if (holds(".attn.indexer.")) return "indexer";
  if (holds(".attn.compressor.")) return "compressor";
  if (holds(".attn.")) return "attention";
  if (holds(".ffn.gate.")) return "gate";
  if (holds(".ffn.experts.")) return "routed experts";
  if (holds(".ffn.shared_experts.")) return "shared expert";
  return "layer norms";
}

struct Part {
  std::int64_t tensors = 0;
  std::int64_t bytes = 0;
};

/// Sums of the published list of tensors, by part.
std::map<std::string, Part> published_parts(const char* directory) {
  const std::map<std::string, std::int64_t> sizes = {{"I64", 8},     {"F32", 4},     {"BF16", 2},
                                                     {"F8_E8M0", 1}, {"F8_E4M3", 1}, {"I8", 1}};
  std::istringstream list(decompress_xz(read_text(golden("configs") / directory / "tensors.tsv.xz")));
  std::map<std::string, Part> parts;
  std::string shard, name, type, shape;
  while (list >> shard >> name >> type >> shape) {
    std::int64_t bytes = sizes.at(type);
    std::istringstream dimensions(shape);
    for (std::string dimension; std::getline(dimensions, dimension, ',');) bytes *= std::stoll(dimension);
    Part& part = parts[part_of(name)];
    ++part.tensors;
    part.bytes += bytes;
  }
  return parts;
}

std::int64_t published_file_bytes(const char* directory) {
  std::istringstream list(read_text(golden("configs") / directory / "shards.tsv"));
  std::int64_t all = 0;
  for (std::int64_t shard, bytes, header, tensors; list >> shard >> bytes >> header >> tensors;) all += bytes;
  return all;
}

/// BF16 rows and f32 compressor state for W = 128, D = 512; every ring has 8 rows more, for tokens that are taken back.
std::int64_t state_bytes(const Release& release, std::int64_t tokens) {
  const std::int64_t row = 512 * 2;
  const std::int64_t index_row = 128 * 2;
  const std::int64_t windows = (release.layers + release.stages) * (128 + 8) * row;
  const std::int64_t unfinished =
      4 * (release.ratio4 * 2 * (8 + 8) * (1024 + 256) + release.ratio128 * 2 * (128 + 8) * 512);
  const std::int64_t entries =
      release.ratio4 * (tokens / 4) * (row + index_row) + release.ratio128 * (tokens / 128) * row;
  const std::int64_t streams = std::string(release.drafter) == "mtp" ? (1 + 8) * 4 * release.hidden_size * 4 : 0;
  return windows + unfinished + entries + streams;
}

Inspection inspect_config(const char* directory, std::int64_t context = 0, std::int64_t memory = 192 * kGiB) {
  auto inspection =
      inspect({.path = golden("configs") / directory / "config.json", .context = context, .memory_bytes = memory});
  if (!inspection) throw std::runtime_error(inspection.error().message);
  return *inspection;
}

class Releases : public ::testing::TestWithParam<Release> {};

TEST_P(Releases, AreDescribedFromTheConfigurationAlone) {
  const Release& release = GetParam();
  const json report = json::parse(report_json(inspect_config(release.directory)));
  EXPECT_EQ(report["release"], release.name);
  EXPECT_EQ(report["has_weights"], false);
  EXPECT_EQ(report["layers"], release.layers);
  EXPECT_EQ(report["hidden_size"], release.hidden_size);
  EXPECT_EQ(report["vocab_size"], 129280);
  EXPECT_EQ(report["max_position_embeddings"], 1048576);
  EXPECT_EQ(report["drafter"], (json{{"kind", release.drafter}, {"stages", release.stages}}));
  EXPECT_EQ(report["warnings"], json::array());

  const json& weights = report["weights"];
  EXPECT_EQ(weights["tensors"], release.tensors);
  EXPECT_EQ(weights["files"], release.shards);
  EXPECT_EQ(weights["file_bytes"], published_file_bytes(release.directory));
  EXPECT_EQ(weights["main_model"]["parameters"], release.parameters);
  EXPECT_NEAR(weights["main_model"]["active_parameters"].get<double>(), release.active, 0.005e9);
  std::int64_t main_bytes = 0;
  const auto parts = published_parts(release.directory);
  EXPECT_EQ(parts.size(), 11U);
  EXPECT_EQ(weights["parts"].size(), parts.size());
  for (const auto& [name, part] : parts) {
    ASSERT_TRUE(weights["parts"].contains(name)) << name;
    EXPECT_EQ(weights["parts"][name]["tensors"], part.tensors) << name;
    EXPECT_EQ(weights["parts"][name]["bytes"], part.bytes) << name;
    if (name != "drafter") main_bytes += part.bytes;
  }
  EXPECT_EQ(weights["main_model"]["bytes"], main_bytes);
}

TEST_P(Releases, HaveTheStateOfTheFormula) {
  const Release& release = GetParam();
  for (const std::int64_t context : {128, 4096, 131072, 1048576}) {
    const json report = json::parse(report_json(inspect_config(release.directory, context)));
    EXPECT_EQ(report["state"]["numerics"], "bf16");
    EXPECT_EQ(report["state"]["context"], context);
    EXPECT_EQ(report["state"]["bytes"], state_bytes(release, context));
    EXPECT_EQ(report["state"]["fixed_bytes"], state_bytes(release, 0));
    EXPECT_EQ(report["state"]["page_tokens"], 128);
  }
}

INSTANTIATE_TEST_SUITE_P(All, Releases, ::testing::ValuesIn(kReleases), [](const auto& release) {
  std::string name = release.param.name;
  std::erase_if(name, [](char c) { return c == '-'; });
  return name;
});

// The parameters of every part: those of a layer, times the layers.
TEST(Inspection, FlashHasTheParametersOfTheSpecification) {
  const json parts = json::parse(report_json(inspect_config("V4-Flash")))["weights"]["parts"];
  const std::map<std::string, std::int64_t> expected = {
      {"attention", 43 * std::int64_t{106956352}},
      {"compressor", 21 * std::int64_t{8393216} + 20 * std::int64_t{4260352}},
      {"indexer", 21 * std::int64_t{10749056}},
      {"routed experts", 277025390592},
      {"shared expert", 43 * std::int64_t{25165824}},
      {"embedding", 529530880},
      {"head", 529530880},
      {"drafter", 6610048891},
  };
  for (const auto& [name, parameters] : expected) EXPECT_EQ(parts[name]["parameters"], parameters) << name;
  EXPECT_EQ(parts["routed experts"]["active_parameters"], 6 * 43 * std::int64_t{25165824});
  EXPECT_EQ(parts["embedding"]["active_parameters"], 4096);
  EXPECT_EQ(parts["head"]["active_parameters"], 529530880);
  EXPECT_EQ(parts["routed experts"]["types"], (json{"F8_E8M0", "FP4"}));
  // 6,880 bytes a token, all BF16.
  const json state = json::parse(report_json(inspect_config("V4-Flash")))["state"];
  EXPECT_EQ(state["page_bytes"], 128 * 6880);
  EXPECT_EQ(json::parse(report_json(inspect_config("V4-Pro")))["state"]["page_bytes"], 128 * 9848);
}

TEST(Inspection, MemoryIsSharedOutByWeightsAndState) {
  // 159,609,485,896 bytes of weights; a sequence: 21,299,200 bytes and 880,640 for every 128 tokens.
  const MemoryFit large = inspect_config("V4-Flash", 0, 192 * kGiB).fit;
  EXPECT_TRUE(large.resident);
  EXPECT_EQ(large.sequences, 6);
  EXPECT_EQ(large.largest_context, 1048576);
  const MemoryFit tight = inspect_config("V4-Flash", 131072, 150 * kGiB).fit;
  EXPECT_TRUE(tight.resident);
  EXPECT_EQ(tight.largest_context, 207872);
  EXPECT_EQ(tight.sequences, 1);
  // 147,169,738,752 bytes of routed experts, 6 of 256 a token; 12,439,747,144 bytes of everything else.
  const MemoryFit streamed = inspect_config("V4-Flash", 0, 32 * kGiB).fit;
  EXPECT_FALSE(streamed.resident);
  EXPECT_EQ(streamed.largest_context, 0);
  EXPECT_TRUE(streamed.streamed);
  EXPECT_NEAR(streamed.resident_experts, 14684489144.0 / 147169738752.0, 1e-12);
  EXPECT_FALSE(inspect_config("V4-Flash", 0, 16 * kGiB).fit.streamed);
  const MemoryFit small = inspect_config("V4-Flash", 4096, 16 * kGiB).fit;
  EXPECT_TRUE(small.streamed);
  EXPECT_NEAR(small.resident_experts, 4690642360.0 / 147169738752.0, 1e-12);
}

TEST(Inspection, TheReportIsForPeople) {
  const Inspection inspection = inspect_config("V4-Flash", 131072, 32 * kGiB);
  const std::string text = report_text(inspection);
  EXPECT_THAT(text, HasSubstr("config.json: DeepSeek-V4-Flash\n"
                              "  layers    43: 2 with the window only, 21 of ratio 4, 20 of ratio 128; the first 3 "
                              "route by token\n"
                              "  ratios    0 x 2, (4 128) x 20, 4\n"
                              "  width     4096, 4 streams; 64 heads of 512, window 128\n"
                              "  experts   256 of width 2048, 6 a token, and a shared one\n"
                              "  context   1,048,576 tokens; vocabulary 129,280\n"
                              "  drafter   MTP\n"));
  EXPECT_THAT(text,
              HasSubstr("\nWeights: 69,187 tensors in 46 files of 148.66 GiB (derived from the configuration)\n"));
  EXPECT_THAT(text, ::testing::ContainsRegex("  routed experts +66,048 +137.06 GiB +277.03 G +6.49 G  F8_E8M0 FP4\n"));
  EXPECT_THAT(text, ::testing::ContainsRegex("  main model +67,612 +145.[0-9]+ GiB +284.33 G +13.27 G"));
  EXPECT_THAT(text, HasSubstr("20.31 MiB and 860.00 KiB for every 128 tokens; 880.31 MiB at 131,072 tokens\n"));
  EXPECT_THAT(text, HasSubstr("  all weights in memory: no\n"
                              "  routed experts streamed from disk: yes, 14 % of them stay in memory\n"));
}

TEST(Inspection, ACheckpointIsDescribedByItsTensors) {
  const Inspection inspection =
      inspect({.path = golden("tiny-dspark/checkpoint"), .context = 512, .memory_bytes = kGiB}).value();
  EXPECT_TRUE(inspection.has_weights);
  EXPECT_EQ(inspection.release, "a DeepSeek V4 model of its own dimensions");
  EXPECT_EQ(inspection.shards, 6);
  EXPECT_EQ(inspection.drafter.stages, 3);
  EXPECT_THAT(inspection.warnings, IsEmpty());
  std::int64_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(inspection.path)) {
    if (entry.path().extension() == ".safetensors") files += static_cast<std::int64_t>(entry.file_size());
  }
  EXPECT_EQ(inspection.file_bytes, files);
  EXPECT_TRUE(inspection.fit.resident);
}

TEST(Inspection, UnknownFieldsAreReported) {
  const TempDirectory folder;
  auto config = nlohmann::ordered_json::parse(read_text(golden("configs/V4-Flash/config.json")));
  config["flux_capacitor"] = true;
  config["warp"] = {1, 2};
  write_text(folder / "config.json", config.dump());
  const Inspection inspection = inspect({.path = folder / "config.json"}).value();
  EXPECT_THAT(inspection.warnings,
              ::testing::ElementsAre("config.json has fields of no known meaning: flux_capacitor, warp"));
  EXPECT_THAT(report_text(inspection), HasSubstr("Note: config.json has fields of no known meaning: "));
  EXPECT_EQ(inspect({.path = folder / "config.json", .numerics = "loose"}).error().message,
            "numerics profile 'loose' is unknown; there are exact, sim, bf16, bf16_plain, exact64, sim64");
}

}  // namespace
}  // namespace hadal::plan
