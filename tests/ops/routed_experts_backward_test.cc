#include <cmath>

#include "ops/backend_cases.h"
#include "ops/reference/reference_backend.h"
#include "ops/routed_experts.h"
#include "testing/compare.h"
#include "testing/gradient_check.h"

namespace hadal::ops {
namespace {

using testing::OpRunner;

HADAL_BACKEND_SUITE(RoutedExpertsBackwardTest);

DType sum_type(DType type) { return type == DType::kF64 ? DType::kF64 : DType::kF32; }

/// The values of a layer's projections, or of their gradients.
struct Projections {
  std::vector<std::vector<double>> gate, up, down;
};

/// A layer of experts and one step's tokens.
struct Layer {
  std::int64_t tokens, chosen, channels, inter, expert_count;
  double limit = 0;
  std::vector<double> input, weights, d_out;
  std::vector<std::int64_t> experts;
  Projections table;

  /// Tokens choose among all experts but the second.
  Layer(std::uint64_t seed, DType type, std::int64_t token_count, std::int64_t width, std::int64_t inter_width)
      : tokens(token_count), chosen(2), channels(width), inter(inter_width), expert_count(4) {
    testing::RandomValues random(seed);
    const DType weight_type = type == DType::kBf16 ? DType::kBf16 : DType::kF32;
    const double scale = 1 / std::sqrt(static_cast<double>(width));
    input = random.normal(tokens * channels, type);
    weights = random.normal(tokens * chosen, sum_type(type));
    d_out = random.normal(tokens * channels, sum_type(type));
    for (std::int64_t token = 0; token < tokens; ++token) {
      const std::int64_t first = random.integer(0, 1) * 2;
      experts.insert(experts.end(), {first, random.integer(std::max<std::int64_t>(2, first), 3)});
    }
    for (std::int64_t e = 0; e < expert_count; ++e) {
      table.gate.push_back(random.normal(inter * channels, weight_type, scale));
      table.up.push_back(random.normal(inter * channels, weight_type, scale));
      table.down.push_back(random.normal(channels * inter, weight_type, scale));
    }
  }

  [[nodiscard]] std::vector<double> forward(OpRunner& runner, DType type, DType weight_type) const;
};

/// Weights in a backend, with the arrays that ExpertWeights points to.
struct Prepared {
  std::vector<Weight> gate, up, down;

  [[nodiscard]] ExpertWeights weights() const {
    return {.gate = gate.data(), .up = up.data(), .down = down.data(), .count = static_cast<std::int64_t>(gate.size())};
  }
};

Prepared prepare(OpRunner& runner, const Layer& layer, DType type, const Projections& values, bool gradients) {
  Prepared prepared;
  const auto add = [&](std::vector<Weight>& list, const std::vector<double>& matrix, Shape shape) {
    list.push_back(gradients ? Weight{.codes = runner.tensor(type, shape, matrix), .scales = {}}
                             : runner.weight(type, shape, matrix));
  };
  for (std::size_t e = 0; e < values.gate.size(); ++e) {
    add(prepared.gate, values.gate[e], {layer.inter, layer.channels});
    add(prepared.up, values.up[e], {layer.inter, layer.channels});
    add(prepared.down, values.down[e], {layer.channels, layer.inter});
  }
  return prepared;
}

std::vector<double> Layer::forward(OpRunner& runner, DType type, DType weight_type) const {
  const Prepared prepared = prepare(runner, *this, weight_type, table, false);
  const TensorView out = runner.empty(sum_type(type), {tokens, channels});
  runner.run(routed_experts, {.input = runner.tensor(type, {tokens, channels}, input),
                              .experts = runner.i32({tokens, chosen}, experts),
                              .weights = runner.tensor(sum_type(type), {tokens, chosen}, weights),
                              .table = prepared.weights(),
                              .swiglu_limit = limit,
                              .rounding = Rounding::kNone,
                              .out = out});
  return runner.values(out);
}

struct Gradients {
  std::vector<double> input, weights;
  Projections table;
};

/// Gradients that start from `before` (empty: frozen).
Gradients backward(OpRunner& runner, const Layer& layer, DType type, DType weight_type, const Projections& before) {
  const DType sums = sum_type(type);
  const Prepared table = prepare(runner, layer, weight_type, layer.table, false);
  const Prepared gradients = prepare(runner, layer, sums, before, true);
  const TensorView d_input = runner.empty(sums, {layer.tokens, layer.channels});
  const TensorView d_weights = runner.empty(sums, {layer.tokens, layer.chosen});
  runner.run(routed_experts_backward, {.input = runner.tensor(type, {layer.tokens, layer.channels}, layer.input),
                                       .experts = runner.i32({layer.tokens, layer.chosen}, layer.experts),
                                       .weights = runner.tensor(sums, {layer.tokens, layer.chosen}, layer.weights),
                                       .table = table.weights(),
                                       .swiglu_limit = layer.limit,
                                       .d_out = runner.tensor(sums, {layer.tokens, layer.channels}, layer.d_out),
                                       .d_input = d_input,
                                       .d_weights = d_weights,
                                       .gradients = gradients.weights()});
  Gradients result{.input = runner.values(d_input), .weights = runner.values(d_weights), .table = {}};
  for (std::size_t e = 0; e < gradients.gate.size(); ++e) {
    result.table.gate.push_back(runner.values(gradients.gate[e].codes));
    result.table.up.push_back(runner.values(gradients.up[e].codes));
    result.table.down.push_back(runner.values(gradients.down[e].codes));
  }
  return result;
}

Projections constant(const Layer& layer, double value) {
  const std::vector<double> matrix(static_cast<std::size_t>(layer.inter * layer.channels), value);
  const std::vector<std::vector<double>> all(static_cast<std::size_t>(layer.expert_count), matrix);
  return {.gate = all, .up = all, .down = all};
}

TEST(RoutedExpertsBackwardGradient, AgreesWithDifferences) {
  for (const double limit : {0.0, 0.7}) {  // many products lie beyond the second
    Layer layer(341, DType::kF64, 9, 6, 8);
    layer.limit = limit;
    ReferenceBackend reference;
    OpRunner runner(reference);
    const Gradients claimed = backward(runner, layer, DType::kF64, DType::kF32, constant(layer, 0));
    const auto loss_with = [&](std::vector<double> Layer::* member) {
      return [&, member](const std::vector<double>& values) {
        Layer changed = layer;
        changed.*member = values;
        OpRunner forward(reference);
        return testing::inner_product(layer.d_out, changed.forward(forward, DType::kF64, DType::kF32));
      };
    };
    const double step = limit > 0 ? 0x1p-14 : 0x1p-10;  // no clamp lies within a step of these values
    testing::expect_gradient({.name = "routed_experts_backward d_input",
                              .type = DType::kF64,
                              .values = layer.input,
                              .gradient = claimed.input,
                              .loss = loss_with(&Layer::input),
                              .step = step,
                              .samples = 54});
    testing::expect_gradient({.name = "routed_experts_backward d_weights",
                              .type = DType::kF64,
                              .values = layer.weights,
                              .gradient = claimed.weights,
                              .loss = loss_with(&Layer::weights),
                              .step = step});
    for (const auto& [name, list] :
         {std::pair{"gate", &Projections::gate}, {"up", &Projections::up}, {"down", &Projections::down}}) {
      for (const std::size_t expert : {0U, 1U, 3U}) {
        testing::expect_gradient({.name = std::string("routed_experts_backward ") + name,
                                  .type = DType::kF32,
                                  .values = (layer.table.*list)[expert],
                                  .gradient = (claimed.table.*list)[expert],
                                  .loss =
                                      [&](const std::vector<double>& values) {
                                        Layer changed = layer;
                                        (changed.table.*list)[expert] = values;
                                        OpRunner forward(reference);
                                        return testing::inner_product(
                                            layer.d_out, changed.forward(forward, DType::kF64, DType::kF32));
                                      },
                                  .step = step});
      }
    }
  }
}

/// Largest difference over the largest expected value.
double apart(const std::vector<double>& actual, const std::vector<double>& expected) {
  EXPECT_EQ(actual.size(), expected.size());
  double largest = 0;
  double difference = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    largest = std::max(largest, std::abs(expected[i]));
    difference = std::max(difference, std::abs(actual[i] - expected[i]));
    EXPECT_FALSE(std::isnan(actual[i])) << i;
  }
  return largest == 0 ? difference : difference / largest;
}

// Against the reference in double on the same values. f32: rounding errors of two chained products. bf16: the judge
// rounds neither d_out nor the gradients of gate and up, each within 2^-9.
TEST_P(RoutedExpertsBackwardTest, AgreesWithTheReferenceInDouble) {
  ReferenceBackend reference;
  for (const DType type : product_types()) {
    const DType weight_type = type == DType::kBf16 ? DType::kBf16 : DType::kF32;
    const double tolerance = type == DType::kBf16 ? 0x1p-7 : type == DType::kF32 ? 2e-6 : 1e-14;
    for (const auto& [tokens, channels, inter] :
         {std::tuple<std::int64_t, std::int64_t, std::int64_t>{1, 33, 17}, {40, 64, 128}, {600, 96, 48}}) {
      for (const double limit : {0.0, 1.0}) {
        Layer layer(342, type, tokens, channels, inter);
        layer.limit = limit;
        OpRunner judge(reference);
        const Gradients expected = backward(judge, layer, DType::kF64, weight_type, constant(layer, 0.5));
        const Gradients actual = backward(runner_, layer, type, weight_type, constant(layer, 0.5));
        // A product on the other side of a clamp than the judge's changes single elements.
        const double edge = limit > 0 && type == DType::kBf16 ? 4 : 1;
        EXPECT_LE(apart(actual.input, expected.input), tolerance * edge);
        EXPECT_LE(apart(actual.weights, expected.weights), tolerance);
        for (std::size_t e = 0; e < 4; ++e) {
          EXPECT_LE(apart(actual.table.gate[e], expected.table.gate[e]), tolerance * edge) << e;
          EXPECT_LE(apart(actual.table.up[e], expected.table.up[e]), tolerance * edge) << e;
          EXPECT_LE(apart(actual.table.down[e], expected.table.down[e]), tolerance) << e;
        }
      }
    }
  }
}

// bf16 to rounding errors of f32: against the reference on the same type, which rounds at the same places.
TEST_P(RoutedExpertsBackwardTest, RoundsWhereTheReferenceDoes) {
  ReferenceBackend reference;
  const Layer layer(343, DType::kBf16, 50, 64, 128);
  OpRunner judge(reference);
  const Gradients expected = backward(judge, layer, DType::kBf16, DType::kBf16, constant(layer, 0));
  const Gradients actual = backward(runner_, layer, DType::kBf16, DType::kBf16, constant(layer, 0));
  // Products differ in their last bits, and a few of their roundings to bf16 go the other way.
  constexpr double kTolerance = 2e-4;
  EXPECT_LE(apart(actual.input, expected.input), kTolerance);
  EXPECT_LE(apart(actual.weights, expected.weights), 1e-6);
  for (std::size_t e = 0; e < 4; ++e) {
    EXPECT_LE(apart(actual.table.gate[e], expected.table.gate[e]), kTolerance);
    EXPECT_LE(apart(actual.table.up[e], expected.table.up[e]), kTolerance);
    EXPECT_LE(apart(actual.table.down[e], expected.table.down[e]), kTolerance);
  }
}

TEST_P(RoutedExpertsBackwardTest, LeavesExpertsWithoutTokensAloneAndMayBeFrozen) {
  for (const DType type : product_types()) {
    const DType weight_type = type == DType::kBf16 ? DType::kBf16 : DType::kF32;
    const Layer layer(344, type, 30, 48, 32);
    const Gradients full = backward(runner_, layer, type, weight_type, constant(layer, -0.0));
    for (const double value : full.table.gate[1]) ASSERT_TRUE(value == 0 && std::signbit(value));
    for (const double value : full.table.down[1]) ASSERT_TRUE(value == 0 && std::signbit(value));
    EXPECT_NE(full.table.up[0][0], 0);
    const Gradients frozen = backward(runner_, layer, type, weight_type, {});
    testing::expect_same(frozen.input, full.input);
    testing::expect_same(frozen.weights, full.weights);
  }
}

}  // namespace
}  // namespace hadal::ops
