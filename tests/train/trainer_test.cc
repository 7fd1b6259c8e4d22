#include "train/trainer.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstring>
#include <limits>
#include <set>

#include "base/philox.h"
#include "ops/reference/reference_backend.h"
#include "small_model.h"
#include "testing/small_disk.h"
#include "testing/temp_directory.h"
#include "train/data/token_set_writer.h"

namespace hadal::train {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing_support::read_text;
using testing_support::TempDirectory;
using testing_support::write_text;

/// Documents of 5 to 60 random tokens.
void write_set(const fs::path& folder, std::uint32_t seed, std::string_view tokenizer = "abc") {
  auto writer = TokenSetWriter::create(folder, {.name = folder.filename().string(),
                                                .vocab_size = 64,
                                                .tokenizer_sha256 = std::string(tokenizer),
                                                .bos_id = 0,
                                                .eos_id = 1,
                                                .pad_id = 2,
                                                .has_mask = false,
                                                .sources = {},
                                                .shards = {}});
  ASSERT_TRUE(writer) << writer.error().message;
  for (std::uint32_t document = 0; document < 40; ++document) {
    TokenDocument tokens{.tokens = {0}, .mask = {}, .bytes = 0};
    const std::uint32_t length = 5 + philox({document, 0, 0, 0}, {seed, 0})[0] % 56;
    for (std::uint32_t i = 0; i < length; ++i) {
      tokens.tokens.push_back(static_cast<std::int32_t>(3 + philox({document, 1, i, 0}, {seed, 0})[0] % 61));
    }
    tokens.tokens.push_back(1);
    tokens.bytes = std::int64_t{4} * length;
    ASSERT_TRUE(writer->add(tokens, "s"));
  }
  ASSERT_TRUE(writer->finish());
}

/// As small as a model with every kind of tensor can be.
formats::ModelConfig smallest_config() {
  formats::ModelConfig config = small_config();
  config.hidden_size = 32;
  config.num_attention_heads = 1;
  config.head_dim = 16;
  config.qk_rope_head_dim = 8;
  config.q_lora_rank = 16;
  config.o_groups = 1;
  config.o_lora_rank = 16;
  config.index_n_heads = 1;
  config.index_head_dim = 16;
  config.hc_mult = 2;
  return config;
}

/// A stand-in for forward and backward passes that is cheap and minds everything that the loop gives it: every weight
/// is drawn to a value of its own, with noise that depends on the tokens; the loss is the mean squared distance.
class SpringStep {
 public:
  explicit SpringStep(Parameters& parameters) : parameters_(parameters) {}

  Result<StepLosses> run(std::span<const TrainingSequence> sequences, const BatchCounts& batch,
                         const Objective& objective) {
    StepLosses losses = evaluate(sequences);
    const double share = static_cast<double>(losses.counts.loss_tokens) / static_cast<double>(batch.loss_tokens);
    for (const Parameter& tensor : parameters_.tensors()) {
      if (tensor.rule == UpdateRule::kConstant || tensor.rule == UpdateRule::kBalanceBias) continue;
      const auto gradient = parameters_.gradient(tensor);
      const TensorView weights = working(tensor);
      for (std::size_t i = 0; i < gradient.size(); ++i) {
        const double noise = 0.01 * static_cast<double>((token_sum(sequences) * (i + 1)) % 17);
        const double pull = load<float>(weights, static_cast<std::int64_t>(i)) - target(i) + noise;
        gradient[i] += static_cast<float>(share * (1 + objective.mtp_weight) * pull);
      }
    }
    return losses;
  }

  StepLosses evaluate(std::span<const TrainingSequence> sequences) {
    StepLosses losses;
    losses.counts = count(sequences);
    double distance = 0;
    double elements = 0;
    for (const Parameter& tensor : parameters_.tensors()) {
      if (tensor.rule == UpdateRule::kConstant) continue;
      const TensorView weights = working(tensor);
      for (std::int64_t i = 0; i < tensor.elements(); ++i) {
        const double away = load<float>(weights, i) - target(static_cast<std::size_t>(i));
        distance += away * away;
      }
      elements += static_cast<double>(tensor.elements());
    }
    losses.next_token = static_cast<double>(losses.counts.loss_tokens) *
                        (distance / elements + 1e-4 * static_cast<double>(token_sum(sequences) % 10));
    losses.expert_load = {{}, {static_cast<std::int64_t>(token_sum(sequences) % 3), 1}};
    return losses;
  }

 private:
  static double target(std::size_t i) { return 0.1 * std::sin(static_cast<double>(i)); }
  static std::uint64_t token_sum(std::span<const TrainingSequence> sequences) {
    std::uint64_t sum = 0;
    for (const TrainingSequence& sequence : sequences) {
      for (const std::int32_t token : sequence.tokens) sum += static_cast<std::uint64_t>(token);
    }
    return sum;
  }
  [[nodiscard]] TensorView working(const Parameter& tensor) const {
    const auto found = parameters_.weights().tensor(tensor.name);
    return {const_cast<std::byte*>(found->data), found->type, found->shape};
  }

  Parameters& parameters_;
};

class TrainerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    write_set(temp_ / "a", 1);
    write_set(temp_ / "b", 2);
    write_set(temp_ / "held-out", 3);
  }

  /// 12 steps of 64 tokens less padding, in two stages.
  Trainer::Setup setup(std::string_view folder) {
    constexpr std::string_view kText = R"(
model = "config.json"
seed = 3
micro_batch = 48
[data]
longest_piece = 32
validation = ["held-out"]
validation_tokens = 200
[[data.sources]]
folder = "a"
epochs = 2
[[data.sources]]
folder = "b"
[schedule]
tokens = 800
peak = 1e-2
warmup_steps = 3
[optimizer]
muon_steps = "economy"
[[stages]]
until = 0.4
sequence = 16
batch = 64
attention = "dense"
[[stages]]
sequence = 32
batch = 64
quantized = true
shares = { b = 0.5 }
[output]
checkpoint_minutes = 1e-9
evaluate_every = 5
)";
    auto config = parse_train_config(kText, temp_.path(), "train.toml");
    EXPECT_TRUE(config) << config.error().message;
    Trainer::Setup setup{.config = std::move(*config),
                         .model = smallest_config(),
                         .folder = temp_ / folder,
                         .environment = {{"processor", "p"}},
                         .make_step = {}};
    setup.make_step = [](Parameters& parameters) -> Result<StepFunctions> {
      auto spring = std::make_shared<SpringStep>(parameters);
      return StepFunctions{
          .run = [spring](auto sequences, const BatchCounts& batch,
                          const Objective& objective) { return spring->run(sequences, batch, objective); },
          .evaluate = [spring](auto sequences, const Objective&) -> Result<StepLosses> {
            return spring->evaluate(sequences);
          }};
    };
    return setup;
  }

  Result<Trainer::End> run(Trainer::Setup setup) {
    trainer_.reset();
    auto made = Trainer::create(backend_, std::move(setup));
    if (!made) return tl::unexpected<Error>(made.error());
    trainer_ = std::move(*made);
    return trainer_->run(stop_.get_token());
  }

  /// Runs in another process that ends without warning.
  void run_and_die(const Trainer::Setup& setup) {
    trainer_.reset();
    const pid_t child = ::fork();
    if (child == 0) {
      (void)run(setup);
      std::_Exit(1);  // it should not have come here
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  }

  struct Outcome {
    std::vector<double> losses;
    std::vector<double> norms;
    std::vector<Evaluation> evaluations;
    std::vector<float> master;
    std::int64_t tokens = 0;
  };
  Outcome outcome() {
    Outcome result;
    for (const StepRecord& record : trainer_->log().records()) {
      result.losses.push_back(record.loss);
      result.norms.push_back(record.gradient_norm);
    }
    result.evaluations = trainer_->log().evaluations();
    result.master.assign(trainer_->parameters().master().begin(), trainer_->parameters().master().end());
    result.tokens = trainer_->state().tokens;
    return result;
  }
  static void expect_same(const Outcome& a, const Outcome& b) {
    EXPECT_EQ(a.losses, b.losses);
    EXPECT_EQ(a.norms, b.norms);
    EXPECT_EQ(a.master, b.master);
    EXPECT_EQ(a.tokens, b.tokens);
    ASSERT_EQ(a.evaluations.size(), b.evaluations.size());
    for (std::size_t i = 0; i < a.evaluations.size(); ++i) EXPECT_EQ(a.evaluations[i].loss, b.evaluations[i].loss);
  }
  std::set<std::string> files(std::string_view folder) const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(temp_ / folder)) names.insert(entry.path().filename().string());
    return names;
  }

  TempDirectory temp_;
  ops::ReferenceBackend backend_;
  std::stop_source stop_;
  std::unique_ptr<Trainer> trainer_;
};

TEST_F(TrainerTest, LearnsAndKeepsItsFiles) {
  std::vector<std::int64_t> tokens;
  Trainer::Setup plan = setup("run");
  plan.on_step = [&](const StepReport& report) { tokens.push_back(report.record.tokens); };
  int samples = 0;
  plan.config.output.sample_every = 6;
  plan.sample = [&]() -> Result<std::string> { return "sample " + std::to_string(++samples); };
  const auto end = run(std::move(plan));
  ASSERT_TRUE(end) << end.error().message;
  EXPECT_EQ(*end, Trainer::End::kFinished);
  const auto& records = trainer_->log().records();
  ASSERT_GE(records.size(), 12U);
  EXPECT_EQ(tokens.size(), records.size());
  EXPECT_GE(trainer_->state().tokens, 800);
  EXPECT_LT(records.back().loss, 0.9 * records.front().loss);
  EXPECT_EQ(records.front().stage, 0);
  EXPECT_EQ(records.back().stage, 1);
  EXPECT_DOUBLE_EQ(records[0].learning_rate, 1e-2 / 3);
  EXPECT_DOUBLE_EQ(records[3].learning_rate, 1e-2);
  EXPECT_LT(records.back().learning_rate, 5e-3);
  EXPECT_GT(trainer_->parameters().master(*trainer_->parameters().find("layers.1.ffn.gate.bias"))[0], -0.02F);
  EXPECT_NE(trainer_->parameters().master(*trainer_->parameters().find("layers.1.ffn.gate.bias"))[0], 0);

  const std::int64_t last = trainer_->state().step;
  const std::set<std::string> names = files("run");
  EXPECT_TRUE(names.contains("best.ckpt"));
  EXPECT_TRUE(names.contains("plot.svg"));
  EXPECT_TRUE(names.contains("sample-000000006.txt"));
  EXPECT_EQ(read_text(temp_ / "run" / "sample-000000006.txt"), "sample 1");
  EXPECT_TRUE(names.contains(fmt::format("step-{:09}.ckpt", last)));
  EXPECT_TRUE(names.contains(fmt::format("step-{:09}.ckpt", last - 1)));
  EXPECT_EQ(std::count_if(names.begin(), names.end(), [](const auto& name) { return name.starts_with("step-"); }), 2);
  EXPECT_THAT(read_text(temp_ / "run" / "plot.svg"), HasSubstr("<polyline"));
  EXPECT_EQ(trainer_->log().evaluations().front().step, 5);
  EXPECT_EQ(trainer_->log().evaluations().back().step, last);
}

TEST_F(TrainerTest, GoesOnToTheBitAfterKills) {
  ASSERT_TRUE(run(setup("whole")));
  const Outcome whole = outcome();
  bool resumed = false;
  for (const std::int64_t death : {2, 5, 6, 9}) {
    Trainer::Setup plan = setup("killed");
    plan.resume = resumed;
    plan.on_step = [death](const StepReport& report) {
      if (report.record.step == death) (void)::raise(SIGKILL);  // logged, but not yet saved
    };
    run_and_die(plan);
    resumed = true;
  }
  // What a program that dies while it writes leaves behind.
  write_text(temp_ / "killed" / "step-000000009.ckpt.77.partial", "half of a file");
  Trainer::Setup plan = setup("killed");
  plan.resume = true;
  const auto end = run(std::move(plan));
  ASSERT_TRUE(end) << end.error().message;
  expect_same(whole, outcome());
  EXPECT_FALSE(files("killed").contains("step-000000009.ckpt.77.partial"));
}

TEST_F(TrainerTest, StopsWhenAskedAndGoesOnToTheBit) {
  ASSERT_TRUE(run(setup("whole")));
  const Outcome whole = outcome();
  Trainer::Setup plan = setup("stopped");
  plan.config.output.checkpoint_minutes = 0;  // only at the end
  plan.on_step = [this](const StepReport& report) {
    if (report.record.step == 4) stop_.request_stop();
  };
  EXPECT_EQ(*run(std::move(plan)), Trainer::End::kStopped);
  EXPECT_EQ(trainer_->state().step, 4);
  EXPECT_TRUE(files("stopped").contains("step-000000004.ckpt"));
  stop_ = {};
  plan = setup("stopped");
  plan.resume = true;
  plan.max_steps = 3;
  EXPECT_EQ(*run(std::move(plan)), Trainer::End::kMaxSteps);
  EXPECT_EQ(trainer_->state().step, 7);
  plan = setup("stopped");
  plan.resume = true;
  EXPECT_EQ(*run(std::move(plan)), Trainer::End::kFinished);
  expect_same(whole, outcome());
}

TEST_F(TrainerTest, PassesOverADamagedCheckpoint) {
  ASSERT_TRUE(run(setup("whole")));
  const Outcome whole = outcome();
  Trainer::Setup plan = setup("damaged");
  plan.max_steps = 6;
  ASSERT_TRUE(run(std::move(plan)));
  const fs::path last = temp_ / "damaged" / "step-000000006.ckpt";
  std::string bytes = read_text(last);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  write_text(last, bytes);
  plan = setup("damaged");
  plan.resume = true;
  testing::internal::CaptureStderr();
  const auto end = run(std::move(plan));
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("step-000000006.ckpt"));
  ASSERT_TRUE(end) << end.error().message;
  expect_same(whole, outcome());

  for (const std::string& name : files("damaged")) {
    if (name.starts_with("step-")) write_text(temp_ / "damaged" / name, "x");
  }
  plan = setup("damaged");
  plan.resume = true;
  const auto none = run(std::move(plan));
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::kCorrupt);
}

TEST_F(TrainerTest, AFullDiskLosesNothing) {
  ASSERT_TRUE(run(setup("whole")));
  const Outcome whole = outcome();
  std::optional<testing_support::SmallDisk> disk;
  Trainer::Setup plan = setup("full");
  plan.on_step = [&](const StepReport& report) {
    if (report.record.step == 4) disk.emplace(100'000);
  };
  const auto end = run(std::move(plan));
  disk.reset();
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(end.error().message, HasSubstr("free some room"));
  EXPECT_TRUE(files("full").contains("step-000000003.ckpt"));
  EXPECT_FALSE(files("full").contains("step-000000004.ckpt"));
  plan = setup("full");
  plan.resume = true;
  ASSERT_TRUE(run(std::move(plan)));
  expect_same(whole, outcome());
}

/// The same with losses that are not finite at some calls of run().
void spoil(Trainer::Setup& setup, std::function<bool(int)> bad) {
  const auto make = setup.make_step;
  setup.make_step = [make, bad = std::move(bad)](Parameters& parameters) -> Result<StepFunctions> {
    auto functions = make(parameters);
    const auto plain = functions->run;
    functions->run = [plain, bad, calls = std::make_shared<int>(0)](auto sequences, const BatchCounts& batch,
                                                                    const Objective& objective) {
      auto losses = plain(sequences, batch, objective);
      if (bad((*calls)++)) losses->next_token = std::numeric_limits<double>::quiet_NaN();
      return losses;
    };
    return functions;
  };
}

TEST_F(TrainerTest, LeavesOutWhatIsNotFinite) {
  Trainer::Setup plan = setup("nan");
  plan.config.micro_batch = 64;  // a call a step
  plan.max_steps = 4;
  spoil(plan, [](int call) { return call == 2; });
  std::vector<std::vector<float>> masters;
  plan.on_step = [&](const StepReport&) {
    masters.emplace_back(trainer_->parameters().master().begin(), trainer_->parameters().master().end());
  };
  testing::internal::CaptureStderr();
  ASSERT_TRUE(run(std::move(plan)));
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("step 3: loss nan"));
  ASSERT_EQ(masters.size(), 4U);
  EXPECT_EQ(masters[2], masters[1]);
  EXPECT_NE(masters[3], masters[2]);
  EXPECT_TRUE(trainer_->log().records()[2].skipped);
  EXPECT_EQ(trainer_->state().spikes.total_skipped, 1);
  EXPECT_EQ(trainer_->state().adam_steps, 3);
}

TEST_F(TrainerTest, GoesBackAfterThreeAndGivesUpAfterSix) {
  Trainer::Setup plan = setup("spikes");
  plan.config.micro_batch = 64;
  plan.config.output.checkpoint_minutes = 0;
  plan.config.output.evaluate_every = 0;
  plan.max_steps = 7;
  spoil(plan, [](int call) { return call >= 2 && call < 5; });
  std::vector<std::vector<float>> masters;
  plan.on_step = [&](const StepReport&) {
    masters.emplace_back(trainer_->parameters().master().begin(), trainer_->parameters().master().end());
  };
  testing::internal::CaptureStderr();
  ASSERT_TRUE(run(std::move(plan)));
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("model and optimisers are those of step 0 again"));
  EXPECT_EQ(trainer_->state().returned_to, 0);
  EXPECT_EQ(trainer_->state().step, 7);
  EXPECT_EQ(trainer_->state().adam_steps, 2);  // the two steps after the return
  EXPECT_EQ(masters[3], masters[1]);
  EXPECT_NE(masters[4], masters[3]);

  plan = setup("hopeless");
  plan.config.micro_batch = 64;
  plan.config.output.checkpoint_minutes = 0;
  plan.config.output.evaluate_every = 0;
  spoil(plan, [](int call) { return call >= 2; });
  testing::internal::CaptureStderr();
  const auto end = run(std::move(plan));
  (void)testing::internal::GetCapturedStderr();
  ASSERT_FALSE(end);
  EXPECT_THAT(end.error().message, HasSubstr("spikes again"));
}

TEST_F(TrainerTest, SaysWhatDoesNotFit) {
  Trainer::Setup plan = setup("run");
  plan.resume = true;
  auto end = run(std::move(plan));
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code, ErrorCode::kNotFound);
  plan = setup("run");
  plan.max_steps = 1;
  ASSERT_TRUE(run(std::move(plan)));
  end = run(setup("run"));
  ASSERT_FALSE(end);
  EXPECT_THAT(end.error().message, HasSubstr("holds a run at step 1 already"));
  plan = setup("run");
  plan.resume = true;
  plan.model.swiglu_limit = 7;
  end = run(std::move(plan));
  ASSERT_FALSE(end);
  EXPECT_THAT(end.error().message, HasSubstr("of another model"));
  plan = setup("run");
  plan.resume = true;
  plan.max_steps = 1;
  plan.environment = {{"processor", "q"}};
  plan.config.settings["schedule.peak"] = "0.02";
  testing::internal::CaptureStderr();
  EXPECT_TRUE(run(std::move(plan)));
  const std::string warnings = testing::internal::GetCapturedStderr();
  EXPECT_THAT(warnings, HasSubstr("processor was p when the checkpoint was written and is q now"));
  EXPECT_THAT(warnings, HasSubstr("schedule.peak was 0.01 when the checkpoint was written and is 0.02 now"));
}

TEST_F(TrainerTest, StagesReachTheStep) {
  struct Seen {
    bool dense;
    std::size_t longest;
  };
  std::vector<Seen> seen;
  Trainer::Setup plan = setup("stages");
  const auto make = plan.make_step;
  plan.make_step = [&](Parameters& parameters) -> Result<StepFunctions> {
    auto functions = make(parameters);
    const auto plain = functions->run;
    functions->run = [&seen, plain](auto sequences, const BatchCounts& batch, const Objective& objective) {
      std::size_t longest = 0;
      std::int64_t tokens = 0;
      for (const TrainingSequence& sequence : sequences) {
        longest = std::max(longest, sequence.tokens.size());
        tokens += static_cast<std::int64_t>(sequence.tokens.size());
      }
      EXPECT_LE(tokens, 48);
      seen.push_back({objective.attend_all_entries, longest});
      return plain(sequences, batch, objective);
    };
    return functions;
  };
  ASSERT_TRUE(run(std::move(plan)));
  std::size_t longest_sparse = 0;
  for (const Seen& one : seen) {
    if (one.dense) {
      EXPECT_LE(one.longest, 16U);
    } else {
      longest_sparse = std::max(longest_sparse, one.longest);
    }
  }
  EXPECT_TRUE(seen.front().dense);
  EXPECT_FALSE(seen.back().dense);
  EXPECT_EQ(longest_sparse, 32U);
}

}  // namespace
}  // namespace hadal::train
