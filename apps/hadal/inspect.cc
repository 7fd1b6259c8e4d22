#include <unistd.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "command.h"
#include "plan/inspection.h"
#include "shipped_model.h"
#include "standard_streams.h"

namespace hadal::apps {
namespace {

struct Options {
  std::string path;
  std::string numerics = "bf16";
  std::int64_t context = 0;
  double memory_gib = 0;
  bool json = false;
};

std::int64_t installed_memory() { return std::int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE); }

Status inspect(const Options& options) {
  const std::int64_t memory =
      options.memory_gib > 0 ? static_cast<std::int64_t>(options.memory_gib * 0x1p30) : installed_memory();
  HADAL_ASSIGN(const std::string path, find_model(options.path));
  HADAL_ASSIGN(
      const plan::Inspection inspection,
      plan::inspect({.path = path, .context = options.context, .memory_bytes = memory, .numerics = options.numerics}));
  return write_standard_output(options.json ? plan::report_json(inspection) : plan::report_text(inspection));
}

}  // namespace

void add_inspect(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  CLI::App* const command = app.add_subcommand("inspect", "What a checkpoint is, what it holds, and what it needs");
  command->add_option("PATH", options->path, "A checkpoint directory, nano, or a config.json alone")->required();
  command->add_option("--context", options->context, "Tokens of a sequence (default: the model's context length)")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40));
  command->add_option("--memory", options->memory_gib, "GiB of the machine in question (default: this machine's)")
      ->check(CLI::Range(0.001, 1e6));
  command->add_option("--numerics", options->numerics, "Numerics profile whose rows the state holds")
      ->capture_default_str();
  command->add_flag("--json", options->json, "One JSON object instead of the report");
  command->callback([options, &outcome] { outcome.status = inspect(*options); });
}

}  // namespace hadal::apps
