// The backward operators of products at the shapes of a small model: 8,192 tokens, 256 channels, bf16 products. Each
// turn adds to the same gradients, as micro-batches do. FLOPs count every product that the operator computes.

#include <string>

#include "bench_support.h"
#include "ops/embedding.h"
#include "ops/grouped_linear.h"
#include "ops/linear.h"
#include "ops/matrix_product.h"
#include "ops/routed_experts.h"
#include "ops/swiglu.h"

namespace hadal::bench {
namespace {

constexpr std::int64_t kTokens = 8192;

enum Wanted : std::int64_t { kBoth, kInput, kWeight };

/// A linear map from `columns` to `outputs` channels.
void linear_backward(benchmark::State& state) {
  const std::int64_t outputs = state.range(0);
  const std::int64_t columns = state.range(1);
  const auto wanted = static_cast<Wanted>(state.range(2));
  OperatorBench bench;
  const ops::LinearBackward::Args args{
      .input = bench.random(DType::kBf16, {kTokens, columns}),
      .weight = bench.random_weight(DType::kBf16, {outputs, columns}),
      .d_out = bench.random(DType::kF32, {kTokens, outputs}),
      .d_input = wanted == kWeight ? TensorView() : bench.empty(DType::kF32, {kTokens, columns}),
      .d_weight = wanted == kInput ? TensorView() : bench.empty(DType::kF32, {outputs, columns})};
  bench.run(state, ops::linear_backward, args);
  const auto products = static_cast<double>(kTokens * outputs * columns * (wanted == kBoth ? 2 : 1));
  const auto bytes = static_cast<double>(args.input.byte_size() + args.d_out.byte_size() + kTokens * columns * 4);
  report(state, bytes, 2 * products, DType::kBf16);
}
void shapes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"N", "K", "only"});
  for (const auto& [outputs, columns] : {std::pair<std::int64_t, std::int64_t>{1284, 256},
                                         {1024, 128},
                                         {256, 256},
                                         {512, 256},
                                         {256, 512},
                                         {6144, 256}}) {
    bench->Args({outputs, columns, kBoth});
  }
  for (const Wanted wanted : {kInput, kWeight}) bench->Args({512, 256, wanted})->Args({6144, 256, wanted});
}
BENCHMARK(linear_backward)->Apply(shapes)->UseRealTime()->Unit(benchmark::kMillisecond);

/// Two groups of 256 to 128 channels.
void grouped_linear_backward(benchmark::State& state) {
  OperatorBench bench;
  const ops::GroupedLinearBackward::Args args{.input = bench.random(DType::kBf16, {kTokens, 512}),
                                              .weight = bench.random_weight(DType::kBf16, {256, 256}),
                                              .groups = 2,
                                              .d_out = bench.random(DType::kF32, {kTokens, 256}),
                                              .d_input = bench.empty(DType::kF32, {kTokens, 512}),
                                              .d_weight = bench.empty(DType::kF32, {256, 256})};
  bench.run(state, ops::grouped_linear_backward, args);
  const auto bytes = static_cast<double>(args.input.byte_size() + args.d_out.byte_size() + args.d_input.byte_size());
  report(state, bytes, 4.0 * kTokens * 256 * 256, DType::kBf16);
}
BENCHMARK(grouped_linear_backward)->UseRealTime()->Unit(benchmark::kMillisecond);

/// 16 experts of 256 x 256, two a token: eight products for each use.
void routed_experts_backward(benchmark::State& state) {
  constexpr std::int64_t kChannels = 256, kInter = 256, kExperts = 16, kChosen = 2;
  OperatorBench bench;
  std::vector<ops::Weight> gate, up, down, d_gate, d_up, d_down;
  for (std::int64_t expert = 0; expert < kExperts; ++expert) {
    for (auto* list : {&gate, &up}) list->push_back(bench.random_weight(DType::kBf16, {kInter, kChannels}));
    for (auto* list : {&d_gate, &d_up}) list->push_back({.codes = bench.empty(DType::kF32, {kInter, kChannels})});
    down.push_back(bench.random_weight(DType::kBf16, {kChannels, kInter}));
    d_down.push_back({.codes = bench.empty(DType::kF32, {kChannels, kInter})});
  }
  std::vector<std::int32_t> chosen;
  for (std::int64_t token = 0; token < kTokens; ++token) {
    const auto first = static_cast<std::int32_t>(bench.random_integer(0, kExperts - 2));
    chosen.push_back(first);
    chosen.push_back(static_cast<std::int32_t>(bench.random_integer(first + 1, kExperts - 1)));
  }
  const ops::RoutedExpertsBackward::Args args{
      .input = bench.random(DType::kBf16, {kTokens, kChannels}),
      .experts = bench.integers(DType::kI32, {kTokens, kChosen}, chosen),
      .weights = bench.random(DType::kF32, {kTokens, kChosen}),
      .table = {.gate = gate.data(), .up = up.data(), .down = down.data(), .count = kExperts},
      .swiglu_limit = 10,
      .d_out = bench.random(DType::kF32, {kTokens, kChannels}),
      .d_input = bench.empty(DType::kF32, {kTokens, kChannels}),
      .d_weights = bench.empty(DType::kF32, {kTokens, kChosen}),
      .gradients = {.gate = d_gate.data(), .up = d_up.data(), .down = d_down.data(), .count = kExperts}};
  bench.run(state, ops::routed_experts_backward, args);
  const auto bytes =
      static_cast<double>(kChosen * (args.input.byte_size() + args.d_out.byte_size() + 2 * args.d_input.byte_size()));
  report(state, bytes, 16.0 * kTokens * kChosen * kChannels * kInter, DType::kBf16);
}
BENCHMARK(routed_experts_backward)->UseRealTime()->Unit(benchmark::kMillisecond);

void swiglu_backward(benchmark::State& state) {
  OperatorBench bench;
  const Shape shape{kTokens, 256};
  const TensorView gate = bench.random(DType::kF32, shape);
  bench.run(state, ops::swiglu_backward,
            {.gate = gate,
             .up = bench.random(DType::kF32, shape),
             .limit = 10,
             .d_out = bench.random(DType::kF32, shape),
             .d_gate = bench.empty(DType::kF32, shape),
             .d_up = bench.empty(DType::kF32, shape)});
  report(state, 5.0 * static_cast<double>(gate.byte_size()), 0, DType::kF32);
}
BENCHMARK(swiglu_backward)->UseRealTime()->Unit(benchmark::kMillisecond);

/// Ids as text has them: the id of rank r about once in r tokens.
void embedding_backward(benchmark::State& state) {
  constexpr std::int64_t kVocabulary = 6144;
  OperatorBench bench;
  std::vector<std::int64_t> ids;
  for (std::int64_t token = 0; token < kTokens; ++token) {
    ids.push_back(kVocabulary / bench.random_integer(1, kVocabulary) - 1);
  }
  const TensorView d_out = bench.random(DType::kF32, {kTokens, 4, 256});
  bench.run(state, ops::embedding_backward,
            {.tokens = bench.integers(DType::kI64, {kTokens}, ids),
             .d_out = d_out,
             .d_table = bench.empty(DType::kF32, {kVocabulary, 256})});
  report(state, static_cast<double>(d_out.byte_size()), 0, DType::kF32);
}
BENCHMARK(embedding_backward)->UseRealTime()->Unit(benchmark::kMillisecond);

/// The products of one Newton-Schulz iteration on 16 matrices [rows, columns]: X X^T, A A, B X.
void matrix_product(benchmark::State& state) {
  constexpr std::int64_t kMatrices = 16;
  const std::int64_t m = state.range(0);
  const std::int64_t n = state.range(1);
  const std::int64_t k = state.range(2);
  const bool transpose_b = state.range(3) != 0;
  OperatorBench bench;
  bench.run(state, ops::matrix_product,
            {.a = bench.random(DType::kF32, {kMatrices, m, k}),
             .b = bench.random(DType::kF32, transpose_b ? Shape{kMatrices, n, k} : Shape{kMatrices, k, n}),
             .out = bench.empty(DType::kF32, {kMatrices, m, n}),
             .transpose_b = transpose_b,
             .bf16 = true});
  report(state, 4.0 * kMatrices * static_cast<double>(m * k + k * n + m * n),
         2.0 * kMatrices * static_cast<double>(m * n * k), DType::kBf16);
}
BENCHMARK(matrix_product)
    ->ArgNames({"M", "N", "K", "b^T"})
    ->Args({256, 256, 256, 1})
    ->Args({256, 256, 256, 0})
    ->Args({256, 256, 1024, 1})
    ->Args({256, 1024, 256, 0})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace hadal::bench
