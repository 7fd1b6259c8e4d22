#include <CLI/CLI.hpp>
#include <memory>

#include "command.h"
#include "export_checkpoint.h"
#include "standard_streams.h"

namespace hadal::apps {
namespace {

Status run(const ExportOptions& options) {
  HADAL_ASSIGN(const std::string text, export_checkpoint(options));
  return write_standard_output(text);
}

}  // namespace

void add_export(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<ExportOptions>();
  CLI::App* const command = app.add_subcommand("export", "Write a trained model as a checkpoint directory");
  command->add_option("CHECKPOINT", options->checkpoint, "A .ckpt file of hadal train, a checkpoint directory, or nano")
      ->required();
  command->add_option("--out", options->out, "Directory to make; it must not exist or be empty")->required();
  command->add_option("--format", options->format, "fp8+fp4: the official layout; bf16: all matrices BF16")
      ->check(CLI::IsMember({"bf16", "fp8+fp4"}))
      ->capture_default_str();
  command->add_option("--tokenizer", options->tokenizer,
                      "tokenizer.json, or the folder with it, to put beside the weights (default: the checkpoint's)");
  command->add_flag("--report", options->report, "Print the error of every tensor");
  command->callback([options, &outcome] { outcome.status = run(*options); });
}

}  // namespace hadal::apps
