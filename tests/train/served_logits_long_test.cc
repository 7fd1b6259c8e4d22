// 200 sequences of up to 4,096 tokens through the model that ships: training's evaluation and serving, bit for bit.
// HADAL_SERVED_CHECKPOINT names a .ckpt of hadal train to take instead of initial weights; HADAL_SERVED_SEQUENCES
// another number of sequences.

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "backends/cpu/cpu_backend.h"
#include "formats/model_config.h"
#include "train/checkpoint_file.h"
#include "train/initialization.h"
#include "train/run_state.h"
#include "trained_and_served.h"

namespace hadal::train {
namespace {

constexpr std::int64_t kLongest = 4096;

std::unique_ptr<Parameters> nano(ops::Backend& backend) {
  const char* const trained = std::getenv("HADAL_SERVED_CHECKPOINT");
  if (trained == nullptr) {
    const auto config = formats::read_model_config(HADAL_SOURCE_DIR "/models/nano/config.json");
    EXPECT_TRUE(config) << config.error().message;
    auto parameters = std::move(*Parameters::create(*config, {}, backend));
    ThreadPool threads(1);
    initialize(*parameters, 1, {}, threads);
    return parameters;
  }
  const auto file = CheckpointFile::open(trained);
  EXPECT_TRUE(file) << file.error().message;
  const auto state = parse_run_state(file->state_json(), trained);
  EXPECT_TRUE(state) << state.error().message;
  auto parameters =
      std::move(*Parameters::create(*formats::parse_model_config(state->model_config, trained), {}, backend));
  const Status loaded = parameters->load_master(MasterSource(*file));
  EXPECT_TRUE(loaded) << loaded.error().message;
  return parameters;
}

TEST(ServedLogits, AreTrainingsToTheBitOnLongSequences) {
  const char* const wanted = std::getenv("HADAL_SERVED_SEQUENCES");
  const int count = wanted == nullptr ? 200 : std::stoi(wanted);
  auto backend = std::move(*cpu::CpuBackend::create(2));
  auto parameters = nano(*backend);
  const std::int64_t vocab = parameters->config().vocab_size;
  TrainedAndServed both(std::move(backend), std::move(parameters),
                        {.rows = kLongest, .sequences = 1, .max_tokens = kLongest, .chunk = 512});
  ASSERT_FALSE(HasFailure());
  for (int s = 0; s < count && !HasFailure(); ++s) {
    const auto seed = static_cast<std::uint32_t>(s);
    // The longest, then any lengths.
    const std::size_t length = s == 0 ? kLongest : 1 + philox({seed, 0, 0, 0}, {11, 0})[0] % kLongest;
    const std::vector<std::int32_t> tokens = random_tokens(length, vocab, seed);
    both.expect_equal_bits({&tokens, 1});
  }
}

}  // namespace
}  // namespace hadal::train
