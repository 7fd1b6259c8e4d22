#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>

#include "formats/checkpoint.h"
#include "formats/safetensors.h"
#include "model/executor.h"
#include "ops/reference/reference_backend.h"

namespace hadal::model {
namespace {

std::filesystem::path golden(const std::string& name) {
  const std::filesystem::path own = std::filesystem::path(HADAL_SOURCE_DIR) / "tests" / "golden" / name;
  if (std::filesystem::exists(own)) return own;
  return std::filesystem::path(HADAL_SOURCE_DIR) / ".." / "shared" / "golden" / name;
}

template <class T>
std::vector<T> values(const formats::WeightSource& source, const std::string& name) {
  auto t = source.tensor(name);
  EXPECT_TRUE(t) << name;
  std::vector<T> out(static_cast<std::size_t>(t->shape.elements()));
  std::memcpy(out.data(), t->data, out.size() * sizeof(T));
  return out;
}

void run(const std::string& name, const std::string& numerics) {
  auto checkpoint = formats::Checkpoint::open(golden(name) / "checkpoint");
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  auto backend = ops::ReferenceBackend();
  auto profile = numerics_profile(numerics);
  auto model = Model::load(backend, **checkpoint, (*checkpoint)->config(), *profile);
  ASSERT_TRUE(model) << model.error().message;
  auto pool = StatePool::create(backend, (*model)->state_layout(), 2, 32);
  ASSERT_TRUE(pool);
  auto executor = Executor::create(
      **model, **pool,
      {.max_rows = 100, .max_sequences = 1, .max_logits_rows = 100, .max_tokens = 1000, .max_drafts = 3});
  ASSERT_TRUE(executor) << executor.error().message;
  auto file = formats::SafetensorsFile::open(golden(name) / "exact.safetensors");
  ASSERT_TRUE(file);
  const auto tokens = values<std::int64_t>(**file, "tokens");
  const auto positions = values<std::int64_t>(**file, "logits_positions");
  const auto logits = values<float>(**file, "logits");
  const auto V = static_cast<std::size_t>((*model)->config().vocab_size);
  std::map<std::int64_t, std::size_t> row_of;
  for (std::size_t i = 0; i < positions.size(); ++i) row_of[positions[i]] = i;

  auto state = (*pool)->new_sequence();
  ASSERT_TRUE(state);
  double worst = 0, sum = 0;
  std::size_t count = 0;
  std::vector<float> got;
  for (std::size_t begin = 0; begin < tokens.size();) {
    const std::size_t n = std::min<std::size_t>(begin % 3 == 0 ? 100 : 57, tokens.size() - begin);
    std::vector<std::int32_t> rows;
    std::vector<std::size_t> golden_rows;
    for (std::size_t i = 0; i < n; ++i) {
      if (auto found = row_of.find(static_cast<std::int64_t>(begin + i)); found != row_of.end()) {
        rows.push_back(static_cast<std::int32_t>(i));
        golden_rows.push_back(found->second);
      }
    }
    const StepSequence sequence{&*state, std::span(tokens).subspan(begin, n)};
    auto status = (*executor)->forward({.sequences = {&sequence, 1}, .logits_rows = rows});
    ASSERT_TRUE(status) << status.error().message;
    got.resize(rows.size() * V);
    ASSERT_TRUE((*executor)->read((*executor)->logits(), got));
    for (std::size_t r = 0; r < rows.size(); ++r) {
      for (std::size_t v = 0; v < V; ++v) {
        const double d =
            std::abs(static_cast<double>(got[r * V + v]) - static_cast<double>(logits[golden_rows[r] * V + v]));
        if (std::isnan(d)) worst = 1e9;
        worst = std::max(worst, d);
        sum += d * d;
        ++count;
      }
    }
    const std::int64_t accepted = static_cast<std::int64_t>(n);
    ASSERT_TRUE((*executor)->commit({&accepted, 1}));
    begin += n;
  }
  std::printf("%s %s: max %.3g rms %.3g over %zu\n", name.c_str(), numerics.c_str(), worst,
              std::sqrt(sum / static_cast<double>(count)), count);
  EXPECT_LT(worst, 2e-4);
}

TEST(GoldenExact, Base) { run("tiny-base", "exact"); }
TEST(GoldenExact, Base64) { run("tiny-base", "exact64"); }
TEST(GoldenExact, Dspark) { run("tiny-dspark", "exact"); }
TEST(GoldenExact, Flash) { run("tiny-flash", "exact"); }
TEST(GoldenExact, Pro) { run("tiny-pro", "exact"); }

}  // namespace
}  // namespace hadal::model
