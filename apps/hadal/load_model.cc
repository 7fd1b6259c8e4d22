#include "load_model.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <sstream>

#include "backends/registry.h"
#include "base/log.h"
#include "base/units.h"
#include "model/numerics.h"
#include "open_model.h"
#include "shipped_model.h"

namespace hadal::apps {
namespace {

/// The kernel's estimate of memory that can be had without swapping, or a smaller limit of the control group.
std::int64_t available_memory() {
  std::int64_t bytes = static_cast<std::int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE);
  std::ifstream info("/proc/meminfo");
  for (std::string line; std::getline(info, line);) {
    std::istringstream words(line);
    std::string key;
    std::int64_t kibibytes = 0;
    if (words >> key >> kibibytes && key == "MemAvailable:") bytes = kibibytes << 10;
  }
  std::int64_t limit = 0;
  if (std::ifstream("/sys/fs/cgroup/memory.max") >> limit) bytes = std::min(bytes, limit);  // "max" is no number
  return bytes;
}

void warn(const std::vector<std::string>& warnings) {
  for (const std::string& warning : warnings) log::warning("{}", warning);
}

Status load_tokenizer(const ModelFlags& flags, LoadedModel& loaded) {
  auto tokenizer =
      text::Tokenizer::load(flags.tokenizer.empty() ? loaded.checkpoint->directory().string() : flags.tokenizer);
  if (tokenizer) {
    loaded.tokenizer.emplace(std::move(*tokenizer));
    return {};
  }
  if (flags.tokenizer.empty() && tokenizer.error().code == ErrorCode::kNotFound) return {};
  return tl::unexpected<Error>(tokenizer.error());
}

}  // namespace

void add_model_flags(CLI::App& command, ModelFlags& flags) {
  command
      .add_option(
          "CHECKPOINT", flags.checkpoint,
          fmt::format("Directory of a V4 checkpoint in the official layout, or {}: the model that ships with Hadal",
                      kShippedModel))
      ->required();
  command.add_option("--tokenizer", flags.tokenizer, "tokenizer.json to use instead of the checkpoint's own");
  command.add_option("--backend", flags.backend,
                     fmt::format("What computes: {} (default {})", fmt::join(backends::backend_names(), ", "),
                                 backends::backend_names().front()));
  command.add_option("--numerics", flags.numerics, "What is rounded where: exact, sim, bf16 (default: the backend's)");
  command.add_option("--threads", flags.threads, "Threads of the cpu backend (default: all processors)");
  command.add_option("--context", flags.context, "Most tokens of prompt and answer together");
  command.add_option("--chunk", flags.chunk, "Most tokens of the prompt in one step (default 512)")
      ->check(CLI::Range(1, 65536));
  command.add_option("--memory", flags.memory, "Memory for states and activations, as in 24G (default: what is free)");
}

Result<std::int64_t> parse_bytes(std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  if (unit.ends_with("iB")) unit.remove_suffix(2);
  int exponent = -1;
  if (unit.empty() || unit == "B") exponent = 0;
  for (int i = 0; i < 4; ++i) {
    if (unit.size() == 1 && (unit[0] == "KMGT"[i] || unit[0] == "kmgt"[i])) exponent = 10 * (i + 1);
  }
  const double bytes = std::ldexp(number, std::max(exponent, 0));
  if (error != std::errc() || exponent < 0 || !(bytes >= 1 && bytes < 0x1p60)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("'{}' is no amount of memory; write it as 24G, 512M or a number of bytes", text));
  }
  return static_cast<std::int64_t>(bytes);
}

Result<LoadedModel> open_model(const ModelFlags& flags) {
  LoadedModel loaded;
  if (flags.context < 0) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("the context is {} tokens, but must be at least 1", flags.context));
  }
  loaded.memory = available_memory();
  if (!flags.memory.empty()) {
    HADAL_ASSIGN(loaded.memory, parse_bytes(flags.memory));
  }
  const std::string_view backend = flags.backend.empty() ? backends::backend_names().front() : flags.backend;
  HADAL_ASSIGN(loaded.backend, backends::create_backend(backend, flags.threads));
  HADAL_ASSIGN(const std::string directory, find_model(flags.checkpoint));
  HADAL_ASSIGN(loaded.checkpoint, formats::Checkpoint::open(directory));
  warn(loaded.checkpoint->warnings());
  return loaded;
}

Status load_weights(const ModelFlags& flags, LoadedModel& loaded) {
  HADAL_ASSIGN(const model::NumericsProfile profile,
               model::numerics_profile(flags.numerics.empty() ? backends::default_numerics(*loaded.backend)
                                                              : std::string_view(flags.numerics)));
  HADAL_ASSIGN(loaded.model,
               model::Model::load(*loaded.backend, *loaded.checkpoint, loaded.checkpoint->config(), profile));
  warn(loaded.model->warnings());
  HADAL_TRY(load_tokenizer(flags, loaded));
  if (loaded.checkpoint->weight_bytes() > loaded.memory) {
    log::warning("the weights are {} and {} of memory are free: they will be read from disk again and again",
                 human_bytes(loaded.checkpoint->weight_bytes()), human_bytes(loaded.memory));
  }
  return {};
}

Result<LoadedModel> load_model(const ModelFlags& flags) {
  HADAL_ASSIGN(LoadedModel loaded, open_model(flags));
  HADAL_TRY(load_weights(flags, loaded));
  return loaded;
}

Status make_executor(LoadedModel& loaded, const model::Executor::Limits& limits, std::int64_t pages) {
  const model::StateLayout layout = loaded.model->state_layout();
  const std::int64_t most = (limits.max_tokens + ops::kPageTokens - 1) / ops::kPageTokens;
  if (pages == 0) pages = limits.max_sequences * most;
  const std::int64_t state = limits.max_sequences * layout.slot_bytes + pages * layout.page_bytes;
  if (state > loaded.memory) {
    const std::int64_t fitting =
        layout.page_bytes == 0 ? 0 : (loaded.memory / limits.max_sequences - layout.slot_bytes) / layout.page_bytes;
    const std::string advice = fitting > 0 ? fmt::format("use --context {} or less", fitting * ops::kPageTokens)
                                           : std::string("no context fits; free memory or raise --memory");
    return fail(
        ErrorCode::kResourceExhausted,
        fmt::format("too little memory: the state of {} sequence{} of {} tokens needs {}, but {} are there; {}",
                    limits.max_sequences, limits.max_sequences == 1 ? "" : "s", with_separators(limits.max_tokens),
                    human_bytes(state), human_bytes(loaded.memory), advice));
  }
  HADAL_ASSIGN(loaded.pool, model::StatePool::create(*loaded.backend, layout, limits.max_sequences, pages));
  HADAL_ASSIGN(loaded.executor, model::Executor::create(*loaded.model, *loaded.pool, limits));
  const std::int64_t total = state + loaded.executor->memory_bytes();
  if (total > loaded.memory) {
    return fail(
        ErrorCode::kResourceExhausted,
        fmt::format("too little memory: states need {} and the activations of a step of {} tokens {}, but {} are "
                    "there; use a smaller --chunk or --context",
                    human_bytes(state), limits.max_rows, human_bytes(loaded.executor->memory_bytes()),
                    human_bytes(loaded.memory)));
  }
  return {};
}

}  // namespace hadal::apps
