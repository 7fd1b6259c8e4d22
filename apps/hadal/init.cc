#include <fmt/core.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <stop_token>
#include <thread>

#include "base/units.h"
#include "command.h"
#include "formats/presets.h"
#include "formats/random_checkpoint.h"
#include "interrupt.h"
#include "standard_streams.h"

namespace hadal::apps {
namespace {

struct Options {
  std::string directory;
  std::string config;
  std::string preset;
  std::string dtype = "official";
  std::string drafter;
  std::uint64_t seed = 0;
  int threads = static_cast<int>(std::thread::hardware_concurrency());
  bool sparse = false;
};

formats::WeightFormats formats_of(const std::string& dtype) {
  if (dtype == "bf16") return {.linear = DType::kBf16, .expert = DType::kBf16};
  if (dtype == "base") return {.linear = DType::kE4m3, .expert = DType::kE4m3, .scale = DType::kF32};
  return {};
}

/// One line that replaces itself; only on a terminal.
void show_progress(std::int64_t done, std::int64_t total) {
  if (::isatty(STDERR_FILENO) != 0) {
    fmt::print(stderr, "\r{:3} %  {} of {}{}", 100 * (done / 1024) / std::max<std::int64_t>(total / 1024, 1),
               human_bytes(done), human_bytes(total), done == total ? "\n" : "   ");
    std::fflush(stderr);
  }
}

Status init(const Options& options) {
  formats::RandomCheckpoint request;
  if (!options.config.empty()) {
    HADAL_ASSIGN(request.config, formats::read_model_config(options.config));
  } else {
    HADAL_ASSIGN(request.config, formats::preset(options.preset));
  }
  if (!options.drafter.empty()) {
    const auto fields = options.drafter == "mtp"      ? formats::DrafterFields::kMtp
                        : options.drafter == "dspark" ? formats::DrafterFields::kDSpark
                                                      : formats::DrafterFields::kNone;
    request.config = formats::with_drafter(std::move(request.config), fields);
  }
  request.directory = options.directory;
  request.formats = formats_of(options.dtype);
  request.config.expert_dtype = options.dtype == "official" ? "fp4" : "";
  request.seed = options.seed;
  request.sparse = options.sparse;
  request.threads = options.threads;
  ::signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is an error of the write then, like a full disk
  Interrupt interrupt;
  const std::stop_token stop = interrupt.begin();
  request.progress = [&stop](std::int64_t done, std::int64_t total) {
    show_progress(done, total);
    return !stop.stop_requested();
  };
  const Status written = formats::write_random_checkpoint(request);
  if (!written && ::isatty(STDERR_FILENO) != 0) fmt::print(stderr, "\r\x1b[K");  // takes the progress line away
  HADAL_TRY(written);
  return write_standard_output(
      fmt::format("{}: {} checkpoint written\n", options.directory, options.sparse ? "an empty (sparse)" : "a random"));
}

}  // namespace

void add_init(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  CLI::App* const command = app.add_subcommand("init", "Write a random checkpoint in the official layout");
  command->add_option("DIR", options->directory, "Directory to make; it must not exist or be empty")->required();
  CLI::Option_group* const source = command->add_option_group("configuration");
  source->add_option("--config", options->config, "A config.json");
  source->add_option("--preset", options->preset, "One of: " + formats::preset_names());
  source->require_option(1);
  command->add_option("--seed", options->seed, "Seed of the random numbers")->capture_default_str();
  command
      ->add_option("--dtype", options->dtype,
                   "official: FP4 experts, FP8 elsewhere; base: FP8 with F32 scales; bf16: no scales")
      ->check(CLI::IsMember({"official", "base", "bf16"}))
      ->capture_default_str();
  command->add_option("--drafter", options->drafter, "Draft layers instead of those of the configuration")
      ->check(CLI::IsMember({"none", "mtp", "dspark"}));
  command->add_option("--threads", options->threads, "Threads that make the numbers")->check(CLI::Range(1, 1024));
  command->add_flag("--sparse", options->sparse, "True headers and holes for data: takes next to no room");
  command->callback([options, &outcome] { outcome.status = init(*options); });
}

}  // namespace hadal::apps
