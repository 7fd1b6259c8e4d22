// The backward operators of products on the CPU: bits that do not depend on threads.

#include <cmath>
#include <string>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/kernels/kernels.h"
#include "ops/embedding.h"
#include "ops/grouped_linear.h"
#include "ops/linear.h"
#include "ops/matrix_product.h"
#include "ops/routed_experts.h"
#include "ops/swiglu.h"
#include "testing/compare.h"
#include "testing/op_runner.h"

namespace hadal::cpu {
namespace {

using testing::OpRunner;
using testing::RandomValues;

struct Outcome {
  std::string name;
  std::vector<double> values;
};

/// Runs the operators at shapes that several threads share, parts of tiles included.
class Runs {
 public:
  Runs(ops::Backend& backend, DType type)
      : memory_(backend), type_(type), weight_type_(type == DType::kBf16 ? DType::kBf16 : DType::kF32) {}

  std::vector<Outcome> all() {
    linear();
    experts();
    rows();
    products();
    return std::move(outcomes_);
  }

 private:
  TensorView values(DType type, Shape shape) {
    return memory_.tensor(type, shape, random_.normal(shape.elements(), type));
  }
  ops::Weight weight(Shape shape) {
    return memory_.weight(weight_type_, shape, random_.normal(shape.elements(), weight_type_, 0.1));
  }
  void keep(std::string name, const TensorView& view) { outcomes_.push_back({std::move(name), memory_.values(view)}); }

  void linear() {
    const TensorView input = values(type_, {1100, 130});
    const TensorView d_out = values(DType::kF32, {1100, 70});
    const TensorView d_input = values(DType::kF32, {1100, 130});
    const TensorView d_weight = values(DType::kF32, {70, 130});
    memory_.run(ops::linear_backward, {.input = input,
                                       .weight = weight({70, 130}),
                                       .d_out = d_out,
                                       .d_input = d_input,
                                       .accumulate_input = true,
                                       .d_weight = d_weight});
    keep("linear d_input", d_input);
    keep("linear d_weight", d_weight);
    const TensorView d_groups = values(DType::kF32, {70, 65});
    memory_.run(ops::grouped_linear_backward, {.input = input,
                                               .weight = weight({70, 65}),
                                               .groups = 2,
                                               .d_out = d_out,
                                               .d_input = d_input,
                                               .d_weight = d_groups});
    keep("grouped_linear d_input", d_input);
    keep("grouped_linear d_weight", d_groups);
  }

  void experts() {
    constexpr std::int64_t kTokens = 300, kChannels = 72, kInter = 40, kExperts = 3;
    std::vector<ops::Weight> gate, up, down, d_gate, d_up, d_down;
    for (std::int64_t e = 0; e < kExperts; ++e) {
      gate.push_back(weight({kInter, kChannels}));
      up.push_back(weight({kInter, kChannels}));
      down.push_back(weight({kChannels, kInter}));
      d_gate.push_back({.codes = values(DType::kF32, {kInter, kChannels}), .scales = {}});
      d_up.push_back({.codes = values(DType::kF32, {kInter, kChannels}), .scales = {}});
      d_down.push_back({.codes = values(DType::kF32, {kChannels, kInter}), .scales = {}});
    }
    std::vector<std::int64_t> chosen;
    for (std::int64_t token = 0; token < kTokens; ++token) {
      const std::int64_t first = random_.integer(0, kExperts - 1);
      chosen.insert(chosen.end(), {first, random_.integer(first, kExperts - 1)});
    }
    const TensorView d_input = memory_.empty(DType::kF32, {kTokens, kChannels});
    const TensorView d_weights = memory_.empty(DType::kF32, {kTokens, 2});
    memory_.run(ops::routed_experts_backward,
                {.input = values(type_, {kTokens, kChannels}),
                 .experts = memory_.i32({kTokens, 2}, chosen),
                 .weights = values(DType::kF32, {kTokens, 2}),
                 .table = {.gate = gate.data(), .up = up.data(), .down = down.data(), .count = kExperts},
                 .swiglu_limit = 1,
                 .d_out = values(DType::kF32, {kTokens, kChannels}),
                 .d_input = d_input,
                 .d_weights = d_weights,
                 .gradients = {.gate = d_gate.data(), .up = d_up.data(), .down = d_down.data(), .count = kExperts}});
    keep("routed_experts d_input", d_input);
    keep("routed_experts d_weights", d_weights);
    for (const auto* list : {&d_gate, &d_up, &d_down}) {
      for (const ops::Weight& gradient : *list) keep("routed_experts gradient", gradient.codes);
    }
  }

  void rows() {
    constexpr std::int64_t kTokens = 150;
    std::vector<std::int64_t> ids;
    for (std::int64_t token = 0; token < kTokens; ++token) ids.push_back(100 / random_.integer(1, 100));
    const TensorView d_table = values(DType::kF32, {120, 90});
    memory_.run(
        ops::embedding_backward,
        {.tokens = memory_.i64({kTokens}, ids), .d_out = values(DType::kF32, {kTokens, 4, 90}), .d_table = d_table});
    keep("embedding d_table", d_table);
    const Shape shape{kTokens, 99};
    const TensorView d_gate = memory_.empty(DType::kF32, shape);
    const TensorView d_up = memory_.empty(DType::kF32, shape);
    memory_.run(ops::swiglu_backward, {.gate = values(DType::kF32, shape),
                                       .up = values(DType::kF32, shape),
                                       .limit = 1,
                                       .d_out = values(DType::kF32, shape),
                                       .d_gate = d_gate,
                                       .d_up = d_up});
    keep("swiglu d_gate", d_gate);
    keep("swiglu d_up", d_up);
  }

  void products() {
    for (const bool transpose_a : {false, true}) {
      for (const bool transpose_b : {false, true}) {
        const TensorView out = values(DType::kF32, {2, 75, 110});
        memory_.run(ops::matrix_product,
                    {.a = values(DType::kF32, transpose_a ? Shape{2, 600, 75} : Shape{2, 75, 600}),
                     .b = values(DType::kF32, transpose_b ? Shape{2, 110, 600} : Shape{2, 600, 110}),
                     .out = out,
                     .transpose_a = transpose_a,
                     .transpose_b = transpose_b,
                     .alpha = 0.5,
                     .beta = 2,
                     .bf16 = type_ == DType::kBf16});
        keep("matrix_product", out);
      }
    }
  }

  OpRunner memory_;
  DType type_;
  DType weight_type_;
  RandomValues random_{17};
  std::vector<Outcome> outcomes_;
};

std::vector<Outcome> outcomes(std::string_view isa, int threads, DType type) {
  const auto backend = CpuBackend::create(threads, isa);
  EXPECT_TRUE(backend.has_value());
  return Runs(**backend, type).all();
}

TEST(CpuProductBackward, BitsDoNotDependOnThreads) {
  for (const std::string_view isa : kInstructionSets) {
    if (!kernel_table(isa)) continue;
    for (const DType type : {DType::kF32, DType::kBf16}) {
      const std::vector<Outcome> alone = outcomes(isa, 1, type);
      ASSERT_EQ(alone.size(), 22U);
      for (const int threads : {2, 3}) {
        const std::vector<Outcome> shared = outcomes(isa, threads, type);
        ASSERT_EQ(shared.size(), alone.size());
        for (std::size_t i = 0; i < alone.size(); ++i) {
          SCOPED_TRACE(std::string(isa) + " " + alone[i].name + " with " + std::to_string(threads) + " threads");
          for (const double value : alone[i].values) ASSERT_TRUE(std::isfinite(value));
          testing::expect_same(shared[i].values, alone[i].values);
        }
      }
    }
  }
}

}  // namespace
}  // namespace hadal::cpu
