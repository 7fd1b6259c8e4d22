// One answer: however a sequence is cut into steps, whatever runs beside it, wherever its state was saved, forked or
// rolled back, drafted for or not - the logits of every position have the same bits.

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/one_answer.h"
#include "engine/vector_set.h"
#include "formats/checkpoint.h"
#include "formats/safetensors.h"
#include "model/model.h"
#include "ops/backend_cases.h"
#include "testing/golden_path.h"

namespace hadal::engine {
namespace {

/// Cells of the whole run, over all backends, checkpoints and profiles; HADAL_ONE_ANSWER_CELLS in the environment asks
/// for more.
std::int64_t cells_in_all() {
  const char* const wanted = std::getenv("HADAL_ONE_ANSWER_CELLS");
  return wanted == nullptr ? 100 : std::atoll(wanted);
}

struct Subject {
  std::string checkpoint;
  std::string numerics;
};

const Subject kSubjects[] = {{"tiny-base", "exact"}, {"tiny-dspark", "exact"}, {"tiny-flash", "exact"},
                             {"tiny-base", "bf16"},  {"tiny-dspark", "bf16"},  {"tiny-flash", "bf16"},
                             {"tiny-pro", "bf16"},   {"tiny-dspark", "sim"}};

class OneAnswer : public testing::BackendTest {};

TEST_P(OneAnswer, InEveryCell) {
  const auto backends = static_cast<std::int64_t>(testing::backends_under_test().size());
  const auto subjects = static_cast<std::int64_t>(std::size(kSubjects));
  // The plain reference is slow and has one order of sums by construction: fewer cells there.
  const std::int64_t share = (cells_in_all() + backends * subjects - 1) / (backends * subjects);
  const std::int64_t cells = GetParam().f64 ? (share + 3) / 4 : share;
  // Shorter prompts more often: they cost less and meet the first blocks' edges. A single cell crosses one page's end.
  const std::vector<std::int64_t> lengths =
      cells == 1 ? std::vector<std::int64_t>{140} : std::vector<std::int64_t>{300, 140, 40, 9};
  std::int64_t compared = 0;
  for (const Subject& subject : kSubjects) {
    const auto directory = testing::golden_path(subject.checkpoint);
    if (!directory) continue;  // the large cases are not copied
    auto checkpoint = formats::Checkpoint::open(*directory / "checkpoint");
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    auto model = model::Model::load(*backend_, **checkpoint, (*checkpoint)->config(),
                                    *model::numerics_profile(subject.numerics));
    ASSERT_TRUE(model) << model.error().message;
    auto golden = formats::SafetensorsFile::open(*directory / "exact.safetensors");
    ASSERT_TRUE(golden);
    auto tokens = *integers(**golden, "tokens");
    tokens.resize(static_cast<std::size_t>(lengths.front()));
    const auto straight = testing::run_cell(**model, tokens, {.chunk = 320});
    ASSERT_TRUE(straight) << straight.error().message;
    // The same bits for every number of threads: the first run of an instruction set is the answer for all.
    static std::map<std::string, std::vector<float>> answers;
    const std::string key =
        fmt::format("{} {} {} {}", backend_->name(), backend_->instruction_set(), subject.checkpoint, subject.numerics);
    const auto& answer = answers.try_emplace(key, *straight).first->second;
    EXPECT_EQ(std::memcmp(answer.data(), straight->data(), answer.size() * sizeof(float)), 0) << key;
    for (std::int64_t index = 0; index < cells; ++index) {
      const std::int64_t length = lengths[static_cast<std::size_t>(index) % lengths.size()];
      const testing::Cell cell = testing::random_cell(static_cast<std::uint32_t>(compared * 977 + index), length);
      const auto got = testing::run_cell(**model, std::span(tokens).first(static_cast<std::size_t>(length)), cell);
      ASSERT_TRUE(got) << testing::to_string(cell) << ": " << got.error().message;
      EXPECT_EQ(std::memcmp(got->data(), straight->data(), got->size() * sizeof(float)), 0)
          << subject.checkpoint << " " << subject.numerics << " length " << length << ", " << testing::to_string(cell);
      ++compared;
    }
  }
  RecordProperty("cells", std::to_string(compared));
  EXPECT_GE(compared, cells * 5);  // five of the subjects are the project's own
}

INSTANTIATE_TEST_SUITE_P(Backends, OneAnswer, ::testing::ValuesIn(testing::backends_under_test()),
                         [](const ::testing::TestParamInfo<testing::BackendCase>& parameter) {
                           return parameter.param.name;
                         });

}  // namespace
}  // namespace hadal::engine
