#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "engine/generator.h"
#include "engine/golden_file.h"
#include "formats/checkpoint.h"
#include "model/executor.h"

namespace hadal::testing {

/// A golden checkpoint on the CPU backend with one thread, ready to generate with several sequences.
struct Rig {
  static constexpr std::int64_t kContext = 512;
  static constexpr std::int64_t kSequences = 4;
  static constexpr std::int64_t kRows = 128;

  std::unique_ptr<formats::Checkpoint> checkpoint;
  std::unique_ptr<ops::Backend> backend;
  std::unique_ptr<model::Model> model;
  std::unique_ptr<model::StatePool> pool;
  std::unique_ptr<model::Executor> executor;
  std::unique_ptr<formats::SafetensorsFile> golden;
  std::vector<std::int64_t> tokens;  // of the golden file

  /// Null with a test failure when something is wrong.
  static std::unique_ptr<Rig> open(const std::string& name, std::int64_t drafts, std::int64_t context = kContext) {
    auto rig = std::make_unique<Rig>();
    EXPECT_NO_FATAL_FAILURE(rig->load(golden_path(name + "/checkpoint").value(), drafts, context, kRows));
    EXPECT_NO_FATAL_FAILURE(rig->load_golden(name));
    return rig->executor ? std::move(rig) : nullptr;
  }
  /// Any checkpoint, with steps of at most `rows` tokens; without golden tokens.
  static std::unique_ptr<Rig> open_checkpoint(const std::filesystem::path& directory, std::int64_t drafts,
                                              std::int64_t context, std::int64_t rows) {
    auto rig = std::make_unique<Rig>();
    EXPECT_NO_FATAL_FAILURE(rig->load(directory, drafts, context, rows));
    return rig->executor ? std::move(rig) : nullptr;
  }

  engine::SequenceSetting setting(const text::Tokenizer* tokenizer = nullptr) const {
    return engine::SequenceSetting::of(*executor, tokenizer);
  }
  engine::Sequence sequence(const text::Tokenizer* tokenizer = nullptr) const {
    auto state = pool->new_sequence();
    EXPECT_TRUE(state) << state.error().message;
    return {std::move(*state), setting(tokenizer)};
  }
  std::span<const std::int64_t> prompt(std::size_t size) const { return std::span(tokens).first(size); }

 private:
  void load_golden(const std::string& name) {
    auto file = formats::SafetensorsFile::open(golden_path(name + "/exact.safetensors").value());
    ASSERT_TRUE(file) << file.error().message;
    golden = std::move(*file);
    tokens = golden_values<std::int64_t>(*golden, "tokens");
  }
  void load(const std::filesystem::path& directory, std::int64_t drafts, std::int64_t context, std::int64_t rows) {
    auto cpu = cpu::CpuBackend::create(1);
    ASSERT_TRUE(cpu) << cpu.error().message;
    backend = std::move(*cpu);
    auto opened = formats::Checkpoint::open(directory);
    ASSERT_TRUE(opened) << opened.error().message;
    checkpoint = std::move(*opened);
    auto loaded =
        model::Model::load(*backend, *checkpoint, checkpoint->config(), model::numerics_profile("exact").value());
    ASSERT_TRUE(loaded) << loaded.error().message;
    model = std::move(*loaded);
    auto made = model::StatePool::create(*backend, model->state_layout(), kSequences, kSequences * context / 128);
    ASSERT_TRUE(made) << made.error().message;
    pool = std::move(*made);
    auto created = model::Executor::create(*model, *pool,
                                           {.max_rows = rows,
                                            .max_sequences = kSequences,
                                            .max_logits_rows = std::min(rows, kSequences * (drafts + 1)),
                                            .max_tokens = context,
                                            .max_drafts = drafts});
    ASSERT_TRUE(created) << created.error().message;
    executor = std::move(*created);
  }
};

/// What a state holds that can be read again: its slot, and the finished entries of its pages. Host memory only.
inline std::vector<std::byte> state_bytes(const model::StatePool& pool, const model::SequenceState& state,
                                          std::span<const std::int64_t> compress_ratios) {
  const model::StateLayout& layout = pool.layout();
  const model::StatePart& first = layout.layers.front().window;
  const std::byte* slot = pool.ring(first).bytes() - first.offset + state.slot() * layout.slot_bytes;
  std::vector<std::byte> bytes(slot, slot + layout.slot_bytes);
  for (std::size_t layer = 0; layer < layout.layers.size(); ++layer) {
    for (const model::StatePart& part : {layout.layers[layer].entries, layout.layers[layer].index_entries}) {
      if (part.rows == 0) continue;
      const TensorView pages = pool.page_rows(part);
      const std::int64_t row_bytes = part.columns * size_of(part.type);
      for (std::int64_t entry = 0; entry < state.length() / compress_ratios[layer]; ++entry) {
        const std::int64_t page = state.pages()[static_cast<std::size_t>(entry / part.rows)];
        const std::byte* row =
            pages.bytes() + page * pages.stride(0) * size_of(part.type) + entry % part.rows * row_bytes;
        bytes.insert(bytes.end(), row, row + row_bytes);
      }
    }
  }
  return bytes;
}

/// Keeps everything that is sent.
class Recorder final : public engine::TokenSink {
 public:
  Status prefilled(std::int64_t done, std::int64_t total) override {
    progress.emplace_back(done, total);
    return {};
  }
  Result<bool> token(const engine::TokenEvent& event) override {
    tokens.push_back(event.token);
    positions.push_back(event.position);
    text += event.text;
    for (const engine::TokenLogprob& entry : event.logprobs) {
      logprob_tokens.push_back(entry.token);
      logprobs.push_back(entry.logprob);
    }
    if (on_token) HADAL_TRY(on_token(*this));
    return static_cast<std::int64_t>(tokens.size()) == end_after;
  }
  Status tail(std::string_view rest) override {
    tail_text += rest;
    text += rest;
    return {};
  }

  std::vector<std::pair<std::int64_t, std::int64_t>> progress;
  std::vector<std::int64_t> tokens, positions, logprob_tokens;
  std::vector<double> logprobs;
  std::string text, tail_text;
  std::int64_t end_after = -1;  // tokens after which the sink ends the answer
  std::function<Status(Recorder&)> on_token;
};

}  // namespace hadal::testing
