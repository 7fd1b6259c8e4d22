// gate_backward: the gradient of the route weights and of the balance loss.

#include <cmath>
#include <limits>
#include <string>

#include "ops/backend_cases.h"
#include "ops/gate.h"
#include "ops/reference/reference_backend.h"
#include "testing/compare.h"
#include "testing/gradient_check.h"

namespace hadal::ops {
namespace {

using testing::OpRunner;
using testing::RandomValues;
using Values = std::vector<double>;

HADAL_BACKEND_SUITE(GateBackwardTest);

struct Routing {
  std::int64_t experts;
  std::int64_t chosen;
  double factor = 2.5;
  bool normalize = true;
  double balance_weight = 0;
  std::int64_t sequences = 0;  // 0: no balance loss
  std::vector<std::int64_t> sequence = {};
  Values logits = {};
  std::vector<std::int64_t> choice = {};
  Values d_weights = {};

  [[nodiscard]] std::int64_t tokens() const { return static_cast<std::int64_t>(logits.size()) / experts; }
};

/// Random logits and a choice of distinct experts that need not be the largest.
Routing random_routing(Routing routing, std::int64_t tokens, DType type, std::uint64_t seed, double spread = 3) {
  RandomValues random(seed);
  routing.logits = random.normal(tokens * routing.experts, type, spread);
  routing.d_weights = random.normal(tokens * routing.chosen, type);
  for (std::int64_t token = 0; token < tokens; ++token) {
    const std::int64_t first = random.integer(0, routing.experts - routing.chosen);
    for (std::int64_t slot = 0; slot < routing.chosen; ++slot) routing.choice.push_back(first + slot);
    if (routing.sequences > 0) routing.sequence.push_back(random.integer(0, routing.sequences - 1));
  }
  return routing;
}

struct Gradient {
  Values logits;
  Values balance_loss;
};

Gradient backward(OpRunner& runner, DType type, const Routing& r, bool in_place = false) {
  const std::int64_t T = r.tokens();
  const TensorView logits = runner.tensor(type, {T, r.experts}, r.logits);
  const TensorView d_logits = in_place ? logits : runner.empty(type, {T, r.experts});
  GateBackward::Args args{.logits = logits,
                          .experts = runner.i32({T, r.chosen}, r.choice),
                          .d_weights = runner.tensor(type, {T, r.chosen}, r.d_weights),
                          .routed_scaling_factor = r.factor,
                          .normalize = r.normalize,
                          .d_logits = d_logits};
  if (r.sequences > 0) {
    args.sequence = runner.i32({T}, r.sequence);
    args.sequences = r.sequences;
    args.balance_weight = r.balance_weight;
    args.balance_loss = runner.empty(type, {r.sequences});
  }
  runner.run(gate_backward, args);
  return {runner.values(d_logits), r.sequences > 0 ? runner.values(args.balance_loss) : Values{}};
}

Gradient in_double(const Routing& routing) {
  ReferenceBackend backend;
  OpRunner runner(backend);
  return backward(runner, DType::kF64, routing);
}

double score(double u) { return std::sqrt(u > 20 ? u : std::log1p(std::exp(u))); }

/// The loss by the formulas of the contract: <weights, d_weights> + balance_weight * sum of the balance losses. The
/// latter go to `losses`.
double loss_of(const Routing& r, Values* losses = nullptr) {
  const auto E = static_cast<std::size_t>(r.experts);
  const auto K = static_cast<std::size_t>(r.chosen);
  double loss = 0;
  std::vector<Values> means(static_cast<std::size_t>(r.sequences), Values(E, 0));
  std::vector<Values> counts = means;
  Values rows(static_cast<std::size_t>(r.sequences), 0);
  for (std::size_t token = 0; token * E < r.logits.size(); ++token) {
    double all = 0;
    double chosen = 0;
    for (std::size_t e = 0; e < E; ++e) all += score(r.logits[token * E + e]);
    const auto expert = [&](std::size_t slot) { return static_cast<std::size_t>(r.choice[token * K + slot]); };
    for (std::size_t slot = 0; slot < K; ++slot) chosen += score(r.logits[token * E + expert(slot)]);
    for (std::size_t slot = 0; slot < K; ++slot) {
      const double s = score(r.logits[token * E + expert(slot)]);
      loss += r.d_weights[token * K + slot] * r.factor * (r.normalize ? s / chosen : s);
    }
    if (r.sequences == 0 || r.sequence[token] < 0) continue;
    const auto sequence = static_cast<std::size_t>(r.sequence[token]);
    rows[sequence] += 1;
    for (std::size_t e = 0; e < E; ++e) means[sequence][e] += score(r.logits[token * E + e]) / all;
    for (std::size_t slot = 0; slot < K; ++slot) counts[sequence][expert(slot)] += 1;
  }
  for (std::size_t sequence = 0; sequence < rows.size(); ++sequence) {
    double balance = 0;
    for (std::size_t e = 0; e < E && rows[sequence] > 0; ++e) {
      const double share = static_cast<double>(E) / static_cast<double>(K) * counts[sequence][e] / rows[sequence];
      balance += share * means[sequence][e] / rows[sequence];
    }
    loss += r.balance_weight * balance;
    if (losses != nullptr) losses->push_back(balance);
  }
  return loss;
}

void expect_logits_gradient(const std::string& name, const Routing& routing, double tolerance = 1e-6) {
  testing::expect_gradient({.name = "gate_backward " + name,
                            .type = DType::kF64,
                            .values = routing.logits,
                            .gradient = in_double(routing).logits,
                            .loss =
                                [&routing](const Values& logits) {
                                  Routing at = routing;
                                  at.logits = logits;
                                  return loss_of(at);
                                },
                            .samples = 48},
                           tolerance);
}

TEST(GateGradients, WeightsAgainstDifferences) {
  for (const bool normalize : {true, false}) {
    const Routing routing = random_routing({.experts = 9, .chosen = 3, .normalize = normalize}, 5, DType::kF64, 61);
    expect_logits_gradient(normalize ? "d_logits normalised" : "d_logits not normalised", routing);
  }
}

TEST(GateGradients, BalanceLossAgainstDifferences) {
  // Sequence 3 of 4 has no rows; a negative one is left out.
  Routing routing =
      random_routing({.experts = 7, .chosen = 2, .balance_weight = 1.5, .sequences = 3}, 12, DType::kF64, 62);
  routing.sequences = 4;
  routing.sequence[5] = -1;
  expect_logits_gradient("d_logits with balance loss", routing);
  routing.d_weights.assign(routing.d_weights.size(), 0);
  expect_logits_gradient("d_logits of the balance loss alone", routing);
}

// Far below -20 the scores are tiny, far above 20 they are square roots: only their ratios matter.
TEST(GateGradients, ExtremeLogitsAgainstDifferences) {
  for (const double shift : {-40.0, 0.0, 40.0}) {
    Routing routing =
        random_routing({.experts = 6, .chosen = 3, .balance_weight = 1, .sequences = 1}, 3, DType::kF64, 63);
    for (double& u : routing.logits) u += shift;
    expect_logits_gradient("d_logits around " + std::to_string(static_cast<int>(shift)), routing);
  }
}

// A hash table may name an expert twice: both slots count.
TEST(GateGradients, ExpertChosenTwiceAgainstDifferences) {
  Routing routing =
      random_routing({.experts = 5, .chosen = 3, .balance_weight = 1, .sequences = 1}, 4, DType::kF64, 64);
  routing.choice[1] = routing.choice[0];
  routing.choice[10] = routing.choice[9];
  expect_logits_gradient("d_logits of an expert chosen twice", routing);
}

TEST_P(GateBackwardTest, EveryWidthAgainstTheDoubleReference) {
  for (const DType type : real_types()) {
    const double tolerance = type == DType::kF64 ? 1e-13 : 2e-6;
    for (const std::int64_t experts : {4, 15, 16, 17, 64, 256}) {
      for (const bool balanced : {false, true}) {
        for (const bool in_place : {false, true}) {
          const Routing routing = random_routing(
              {.experts = experts, .chosen = 4, .balance_weight = balanced ? 0.7 : 0.0, .sequences = balanced ? 3 : 0},
              67, type, 65, 8);
          const Gradient expected = in_double(routing);
          const Gradient d = backward(runner_, type, routing, in_place);
          testing::expect_near_rms(d.logits, expected.logits, expected.logits.size(), 10 * tolerance);
          testing::expect_near(d.balance_loss, expected.balance_loss, 0, tolerance);
        }
      }
    }
  }
}

TEST_P(GateBackwardTest, BalanceLossOfEvenAndUnevenRouting) {
  // Equal scores and every expert chosen equally often: exactly 1. All tokens to two of four experts whose scores are
  // all there is: f = 2 for them, P = 1/2 each: 2. No rows: 0.
  for (const DType type : real_types()) {
    const Routing routing{.experts = 4,
                          .chosen = 2,
                          .balance_weight = 1,
                          .sequences = 3,
                          .sequence = {0, 0, 1, 1},
                          .logits = {1, 1, 1, 1, 1, 1, 1, 1,               //
                                     10, 10, -90, -90, 10, 10, -90, -90},  //
                          .choice = {0, 1, 2, 3, 0, 1, 0, 1},
                          .d_weights = Values(8, 0)};
    const Gradient d = backward(runner_, type, routing);
    testing::expect_near(d.balance_loss, Values{1, 2, 0}, 1e-6, 0);
    // Even routing is a stationary point.
    testing::expect_near(std::span(d.logits).first(8), Values(8, 0), 1e-7, 0);
  }
}

TEST_P(GateBackwardTest, LogitsFarBelowZeroGiveFiniteGradients) {
  for (const DType type : real_types()) {
    const Routing routing{.experts = 4,
                          .chosen = 2,
                          .factor = 1,
                          .logits = {-60, -61, -64, -70, -85, -86, -100, -101},
                          .choice = {0, 1, 0, 1},
                          .d_weights = {1, -1, 1, -1}};
    const Gradient expected = in_double(routing);
    EXPECT_GT(std::abs(expected.logits[0]), 0.1);  // w0 (1 - w0) of order 1, however small the scores
    testing::expect_near(backward(runner_, type, routing).logits, expected.logits, 1e-6, 0);
  }
}

}  // namespace
}  // namespace hadal::ops
