#include "ops/compress.h"

#include <cmath>
#include <map>

#include "ops/add_position_bias.h"
#include "ops/backend_cases.h"
#include "ops/step_case.h"
#include "testing/compare.h"
#include "testing/golden_file.h"

namespace hadal::ops {
namespace {

using testing::History;
using testing::OpRunner;
using testing::StepCase;

HADAL_BACKEND_SUITE(CompressTest);

/// Entries by (sequence, block).
using Entries = std::map<std::pair<std::size_t, std::int64_t>, std::vector<double>>;

/// Compresses the blocks that end in `step`; rows have `width` channels, entries `channels`.
Entries compress_step(OpRunner& runner, DType type, const StepCase& step, const std::vector<History>& values,
                      const std::vector<History>& gates, std::int64_t ratio, std::int64_t width,
                      std::int64_t channels) {
  std::vector<std::int64_t> last_row;
  std::vector<std::pair<std::size_t, std::int64_t>> names;
  step.for_each_row([&](std::int64_t row, std::size_t s, std::int64_t position) {
    if ((position + 1) % ratio != 0) return;
    last_row.push_back(row);
    names.emplace_back(s, position / ratio);
  });
  const auto blocks = static_cast<std::int64_t>(last_row.size());
  const Shape rows{step.rows(), width};
  const Shape ring{step.slots, step.ring_rows, width};
  const TensorView out = runner.empty(type, {blocks, channels});
  runner.run(compress, {.value = runner.tensor(type, rows, step_rows(step, values, width)),
                        .gate = runner.tensor(type, rows, step_rows(step, gates, width)),
                        .value_ring = runner.tensor(type, ring, ring_of(step, values, width), 9),
                        .gate_ring = runner.tensor(type, ring, ring_of(step, gates, width), 4),
                        .last_row = runner.i32({blocks}, last_row),
                        .layout = layout_of(runner, step),
                        .ratio = ratio,
                        .overlap = width == 2 * channels,
                        .out = out});
  const std::vector<double> pooled = runner.values(out);
  Entries entries;
  for (std::size_t b = 0; b < names.size(); ++b) {
    const auto begin = pooled.begin() + static_cast<std::int64_t>(b) * channels;
    entries[names[b]] = {begin, begin + channels};
  }
  return entries;
}

/// The formula of one entry over the whole sequence, in double.
std::vector<double> pool(const History& values, const History& gates, std::int64_t block, std::int64_t ratio,
                         std::int64_t width, std::int64_t channels) {
  std::vector<double> entry;
  for (std::int64_t c = 0; c < channels; ++c) {
    double sum = 0;
    double weighted = 0;
    const auto add = [&](std::int64_t position, std::int64_t channel) {
      const auto at = static_cast<std::size_t>(position * width + channel);
      const double weight = std::exp(gates[at]);
      sum += weight;
      weighted += weight * values[at];
    };
    for (std::int64_t p = block * ratio; p < (block + 1) * ratio; ++p) {
      if (width == channels) {
        add(p, c);
      } else {
        add(p, channels + c);
        if (p >= ratio) add(p - ratio, c);
      }
    }
    entry.push_back(weighted / sum);
  }
  return entry;
}

TEST_P(CompressTest, GoldenPoolsOfBothRatios) {
  const testing::GoldenFile units("units.safetensors");
  for (const auto& [name, ratio] :
       std::vector<std::pair<std::string, std::int64_t>>{{"pool4.", 4}, {"pool128.", 128}}) {
    const Shape shape = units.shape(name + "gate");
    for (const DType type : real_types()) {
      std::vector<std::int64_t> positions;
      for (std::int64_t p = 0; p < shape[0]; ++p) positions.push_back(p);
      const TensorView gate = runner_.tensor(type, shape, units.doubles(name + "gate"));
      runner_.run(add_position_bias,
                  {.x = gate,
                   .positions = runner_.i64({shape[0]}, positions),
                   .bias = runner_.weight(DType::kF32, {ratio, shape[1]}, units.doubles(name + "ape"))});
      // In f64 the biased gate keeps more bits than a float32 history would.
      const StepCase step{.sequences = {{.start = 0, .rows = shape[0], .slot = 0}}, .slots = 1, .ring_rows = 2 * ratio};
      const Entries entries = compress_step(runner_, type, step, {units.doubles(name + "value")},
                                            {runner_.values(gate)}, ratio, shape[1], 16);
      std::vector<double> all;
      for (const auto& [key, entry] : entries) all.insert(all.end(), entry.begin(), entry.end());
      testing::expect_golden(all, units.doubles(name + "output"), type);
    }
  }
}

// Block borders at every offset to the step's borders: blocks that lie in the step, in the ring, across both; the ring
// wraps; block 0 has no block before.
TEST_P(CompressTest, AnyStepsGiveTheFormulaAndTheSameBits) {
  testing::RandomValues random(71);
  for (const DType type : real_types()) {
    for (const auto& [ratio, factor] : std::vector<std::pair<std::int64_t, std::int64_t>>{{4, 2}, {4, 1}, {128, 1}}) {
      const std::int64_t channels = 5;
      const std::int64_t width = factor * channels;
      const std::int64_t length = 3 * 128 + 40;
      std::vector<History> values;
      std::vector<History> gates;
      for (int s = 0; s < 2; ++s) {
        values.push_back(random.normal(length * width, type));
        gates.push_back(random.normal(length * width, type, 3));
      }
      const StepCase whole{.sequences = {{.start = 0, .rows = length, .slot = 1}, {.start = 0, .rows = 200, .slot = 2}},
                           .slots = 3,
                           .ring_rows = factor * ratio};
      const Entries once = compress_step(runner_, type, whole, values, gates, ratio, width, channels);
      for (const auto& [key, entry] : once) {
        testing::expect_near(entry, pool(values[key.first], gates[key.first], key.second, ratio, width, channels),
                             static_cast<double>(2 * ratio + 16) * 8 * testing::epsilon(type), 0);
      }
      for (const std::int64_t piece : {1, 3, 7, 64, 129}) {
        Entries pieces;
        for (const StepCase& step : split(whole, piece)) {
          pieces.merge(compress_step(runner_, type, step, values, gates, ratio, width, channels));
        }
        ASSERT_EQ(pieces.size(), once.size());
        for (const auto& [key, entry] : once) testing::expect_same(pieces[key], entry);
      }
    }
  }
}

TEST_P(CompressTest, GatesOfAnySizeDoNotOverflow) {
  for (const DType type : real_types()) {
    const StepCase step{.sequences = {{.start = 0, .rows = 4, .slot = 0}}, .slots = 1, .ring_rows = 4};
    const Entries entries = compress_step(runner_, type, step, {{1, 10, 2, 20, 3, 30, 4, 40}},
                                          {{1000, -1000, -1000, -1000, 1000, -1000, -1000, -1000}}, 4, 2, 2);
    testing::expect_same(entries.at({0, 0}), std::vector<double>{2, 25});
  }
}

}  // namespace
}  // namespace hadal::ops
