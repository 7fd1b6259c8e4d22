// Speed of the whole model on the CPU backend, as shares of limits that are measured in the same run: decode against
// the read bandwidth (bytes of weights touched, distinct experts only), prefill against the bf16 register peak.
//
// Usage: model_bench [CHECKPOINT [THREADS]]. Without a checkpoint: a random one of Flash's shapes with 4 layers and 64
// experts, made once in build/bench-checkpoint (4 GB). Prints CSV.

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/limits.h"
#include "base/philox.h"
#include "formats/checkpoint.h"
#include "formats/presets.h"
#include "formats/random_checkpoint.h"
#include "model/executor.h"
#include "model/model.h"

namespace hadal {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kPrefill = 512;
constexpr int kDecodeSteps = 64;
constexpr int kPasses = 3;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Work {
  double dense_bytes = 0;        // of a step, whatever its rows: all but routed experts and the embedding
  double expert_bytes = 0;       // of one expert
  double matrix_parameters = 0;  // multiplied for one row
};

double weight_bytes(const ops::Weight& weight) {
  const double scales = weight.scales.absent() ? 0.0 : static_cast<double>(weight.scales.byte_size());
  return weight.codes.absent() ? 0.0 : static_cast<double>(weight.codes.byte_size()) + scales;
}

double parameters(const ops::Weight& weight) {
  return weight.codes.absent() || weight.codes.rank() < 2 ? 0.0 : static_cast<double>(weight.rows() * weight.columns());
}

Work work_of(const model::Model& model) {
  Work work;
  const auto dense = [&](const ops::Weight& weight) {
    work.dense_bytes += weight_bytes(weight);
    work.matrix_parameters += parameters(weight);
  };
  const model::ModelWeights& weights = model.weights();
  dense(weights.head);
  dense(weights.hc_head.fn);
  for (const model::LayerWeights& layer : weights.layers) {
    const model::AttentionWeights& a = layer.attention;
    for (const auto* weight : {&layer.hc_attention.fn, &layer.hc_ffn.fn, &a.wq_a, &a.wq_b, &a.wkv, &a.wo_a, &a.wo_b,
                               &a.compressor.wkv, &a.compressor.wgate, &a.indexer.wq_b, &a.indexer.weights_proj,
                               &a.indexer.compressor.wkv, &a.indexer.compressor.wgate, &layer.moe.gate,
                               &layer.moe.shared_w1, &layer.moe.shared_w3, &layer.moe.shared_w2}) {
      dense(*weight);
    }
    const double expert =
        parameters(layer.moe.w1.front()) + parameters(layer.moe.w3.front()) + parameters(layer.moe.w2.front());
    work.expert_bytes =
        weight_bytes(layer.moe.w1.front()) + weight_bytes(layer.moe.w3.front()) + weight_bytes(layer.moe.w2.front());
    work.matrix_parameters += expert * static_cast<double>(model.config().num_experts_per_tok);
  }
  return work;
}

std::int64_t random_token(std::uint32_t index, std::int64_t vocabulary) {
  return static_cast<std::int64_t>(philox({index, 0, 0, 0}, {11, 0})[0]) % vocabulary;
}

[[noreturn]] void die(const Error& error) {
  fmt::print(stderr, "model_bench: {}\n", error.message);
  std::exit(1);
}

template <class T>
T value(Result<T> result) {
  if (!result) die(result.error());
  return std::move(*result);
}

void check(const Status& status) {
  if (!status) die(status.error());
}

std::filesystem::path default_checkpoint() {
  const std::filesystem::path directory = std::filesystem::path(HADAL_SOURCE_DIR) / "build" / "bench-checkpoint";
  if (!std::filesystem::exists(directory / "config.json")) {
    fmt::print(stderr, "making {}\n", directory.string());
    check(formats::write_random_checkpoint(
        {.directory = directory, .config = value(formats::preset("bench")), .formats = {}, .threads = 2}));
  }
  return directory;
}

/// Routed experts that the step touches, over all layers, counted by a tap on the experts' indices.
class ExpertCounter {
 public:
  explicit ExpertCounter(model::Executor& executor) : executor_(executor) {}
  [[nodiscard]] model::ActivationTap tap() {
    return [this](std::string_view name, std::int64_t, const TensorView& view) {
      if (name != "experts") return;
      chosen_.emplace_back(static_cast<std::size_t>(view.elements()));
      executor_.stream().download(chosen_.back().data(), view.bytes(), view.byte_size());
    };
  }
  [[nodiscard]] std::int64_t distinct() {
    executor_.stream().wait();
    std::int64_t count = 0;
    for (const auto& layer : chosen_) count += static_cast<std::int64_t>(std::set(layer.begin(), layer.end()).size());
    chosen_.clear();
    return count;
  }

 private:
  model::Executor& executor_;
  std::vector<std::vector<std::int32_t>> chosen_;
};

void bench_batch(model::Executor& executor, model::StatePool& pool, const Work& work, const cpu::Limits& limits,
                 std::int64_t batch) {
  const std::int64_t vocabulary = executor.model().config().vocab_size;
  std::vector<model::SequenceState> states;
  for (std::int64_t i = 0; i < batch; ++i) states.push_back(value(pool.new_sequence()));
  std::vector<std::int64_t> tokens(static_cast<std::size_t>(batch));
  std::vector<std::int32_t> rows;
  std::vector<model::StepSequence> sequences;
  std::vector<std::int64_t> accepted(static_cast<std::size_t>(batch), 1);
  for (std::int64_t i = 0; i < batch; ++i) {
    rows.push_back(static_cast<std::int32_t>(i));
    sequences.push_back({.state = &states[static_cast<std::size_t>(i)],
                         .tokens = std::span(tokens).subspan(static_cast<std::size_t>(i), 1)});
  }
  std::vector<float> logits(static_cast<std::size_t>(batch * vocabulary));
  ExpertCounter counter(executor);
  const model::ActivationTap tap = counter.tap();
  std::vector<double> times;
  double bytes = 0;
  for (int step = 0; step < kDecodeSteps + 4; ++step) {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = random_token(static_cast<std::uint32_t>(step * 64) + static_cast<std::uint32_t>(i), vocabulary);
    }
    const auto begin = Clock::now();
    check(executor.forward({.sequences = sequences, .logits_rows = rows, .tap = &tap}));
    check(executor.read(executor.logits(), logits));
    check(executor.commit(accepted));
    times.push_back(seconds_since(begin));
    const double touched = work.dense_bytes + static_cast<double>(counter.distinct()) * work.expert_bytes;
    if (step < 4) {
      times.clear();
    } else {
      bytes += touched / kDecodeSteps;
    }
  }
  const double time = median(times);
  const double rate = bytes / time;
  const double flops = 2 * work.matrix_parameters * static_cast<double>(batch) / time;
  fmt::print("decode,batch {},{:.2f},tokens/s,{:.2f} GB/s of {:.1f},{:.1f} %,{:.1f} % of bf16 peak\n", batch,
             static_cast<double>(batch) / time, rate * 1e-9, limits.read.all * 1e-9, 100 * rate / limits.read.all,
             100 * flops / limits.bf16.all);
}

void bench_prefill(model::Executor& executor, model::StatePool& pool, const Work& work, const cpu::Limits& limits) {
  const std::int64_t vocabulary = executor.model().config().vocab_size;
  std::vector<std::int64_t> tokens(kPrefill);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = random_token(static_cast<std::uint32_t>(100000 + i), vocabulary);
  }
  const std::int32_t last = kPrefill - 1;
  std::vector<float> logits(static_cast<std::size_t>(vocabulary));
  std::vector<double> times;
  for (int pass = 0; pass < kPasses + 1; ++pass) {
    auto state = value(pool.new_sequence());
    const model::StepSequence sequence{.state = &state, .tokens = tokens};
    const std::int64_t accepted = kPrefill;
    const auto begin = Clock::now();
    check(executor.forward({.sequences = {&sequence, 1}, .logits_rows = {&last, 1}}));
    check(executor.read(executor.logits(), logits));
    check(executor.commit({&accepted, 1}));
    if (pass > 0) times.push_back(seconds_since(begin));
  }
  const double time = median(times);
  // The head works on one row only.
  const double head = static_cast<double>(vocabulary * executor.model().config().hidden_size);
  const double flops = 2 * ((work.matrix_parameters - head) * static_cast<double>(kPrefill) + head) / time;
  fmt::print("prefill,{} tokens,{:.2f},tokens/s,{:.1f} GFLOP/s of {:.1f},{:.1f} %,\n", kPrefill,
             static_cast<double>(kPrefill) / time, flops * 1e-9, limits.bf16.all * 1e-9, 100 * flops / limits.bf16.all);
}

int run(int argc, char** argv) {
  const std::filesystem::path directory = argc > 1 ? std::filesystem::path(argv[1]) : default_checkpoint();
  const int threads = argc > 2 ? std::atoi(argv[2]) : available_processors();
  auto backend = value(cpu::CpuBackend::create(threads));
  const auto checkpoint = value(formats::Checkpoint::open(directory));
  const auto profile = value(model::numerics_profile("bf16"));
  const auto loaded = value(model::Model::load(*backend, *checkpoint, checkpoint->config(), profile));
  const auto pool = value(model::StatePool::create(*backend, loaded->state_layout(), 16, 64));
  const auto executor = value(model::Executor::create(
      *loaded, *pool,
      {.max_rows = kPrefill, .max_sequences = 16, .max_logits_rows = 16, .max_tokens = 1024, .max_drafts = 0}));
  const Work work = work_of(*loaded);
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // rows appear as they are measured
  fmt::print("what,case,speed,unit,work rate,share of the limit,note\n");
  const cpu::Limits limits = value(cpu::measure_limits(backend->pool(), backend->products()));
  fmt::print("limit,read,{:.1f},GB/s,{} threads,,{}\n", limits.read.all * 1e-9, threads, backend->instruction_set());
  fmt::print("limit,bf16,{:.1f},GFLOP/s,{} threads,,\n", limits.bf16.all * 1e-9, threads);
  bench_prefill(*executor, *pool, work, limits);
  for (const std::int64_t batch : {1, 2, 4, 8, 16}) bench_batch(*executor, *pool, work, limits, batch);
  const cpu::Limits after = value(cpu::measure_limits(backend->pool(), backend->products()));
  fmt::print("limit,read,{:.1f},GB/s,{} threads,,measured again at the end\n", after.read.all * 1e-9, threads);
  return 0;
}

}  // namespace
}  // namespace hadal

int main(int argc, char** argv) { return hadal::run(argc, argv); }
