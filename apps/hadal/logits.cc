#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "base/log.h"
#include "base/mapped_file.h"
#include "command.h"
#include "engine/recorder.h"
#include "engine/vector_set.h"
#include "formats/safetensors.h"
#include "formats/safetensors_writer.h"
#include "load_model.h"
#include "prompt_ids.h"
#include "trace_file.h"

namespace hadal::apps {
namespace {

struct Options {
  ModelFlags model;
  std::string trace;
  std::string tokens;
  std::string out;
  std::int64_t batch = 1;
  bool layers = false;
  bool draft = false;
  std::vector<std::int64_t> positions;
};

constexpr std::int64_t kMaxTextBytes = std::int64_t{64} << 20;

Result<std::vector<std::int64_t>> read_tokens(const std::string& path) {
  if (path.ends_with(".safetensors")) {
    HADAL_ASSIGN(const auto file, formats::SafetensorsFile::open(path));
    return engine::integers(*file, "tokens");
  }
  HADAL_ASSIGN(const std::string text, read_file(path, kMaxTextBytes));
  return parse_ids(text, true);
}

/// The tensors that the command promises; the recording holds more.
bool wanted(std::string_view name, bool layers) {
  if (name == "logits" || name == "logits_positions" || name.starts_with("dspark.") || name == "mtp.0.logits" ||
      name == "mtp.0.logits_positions") {
    return true;
  }
  return layers && (name.ends_with(".output") || name.ends_with(".experts") || name.ends_with(".index_selected"));
}

Status logits(const Options& options) {
  HADAL_ASSIGN(const LoadedModel loaded, load_model(options.model));
  HADAL_ASSIGN(const std::vector<std::int64_t> tokens, read_tokens(options.tokens));
  engine::RecordOptions record{.chunk = options.model.chunk,
                               .batch = options.batch,
                               .logits_positions = options.positions,
                               .mtp_logits_positions = {},
                               .trace_positions = {},
                               .drafter = options.draft,
                               .context_positions = {},
                               .anchors = {},
                               .full_positions = {},
                               .forced_inputs = nullptr};
  if (record.logits_positions.empty()) {
    record.logits_positions.resize(tokens.size());
    std::iota(record.logits_positions.begin(), record.logits_positions.end(), 0);
  }
  std::sort(record.logits_positions.begin(), record.logits_positions.end());
  if (options.layers) record.trace_positions = record.logits_positions;
  if (options.draft && loaded.model->drafter().kind == formats::DrafterKind::kNone) {
    log::warning("{}: holds no drafter, so --draft adds nothing", options.model.checkpoint);
    record.drafter = false;
  }
  if (record.drafter && loaded.model->drafter().kind == formats::DrafterKind::kDSpark) {
    record.context_positions = record.logits_positions;
    for (const std::int64_t position : record.logits_positions) {
      const auto next = static_cast<std::size_t>(position) + 1;
      record.anchors.push_back(next < tokens.size() ? tokens[next] : -1);
    }
  }
  HADAL_ASSIGN(const auto recorded, engine::record(*loaded.model, tokens, record));
  std::vector<formats::NamedTensor> tensors;
  for (const std::string& name : recorded->names()) {
    if (!wanted(name, options.layers)) continue;
    HADAL_ASSIGN(const formats::HostTensor tensor, recorded->tensor(name));
    tensors.push_back({.name = name, .tensor = tensor});
  }
  return formats::write_safetensors(options.out, std::move(tensors));
}

}  // namespace

void add_logits(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  CLI::App* const command = app.add_subcommand("logits", "Writes the logits that a model computes for given tokens");
  add_model_flags(*command, options->model);
  command
      ->add_option("--tokens", options->tokens,
                   "A safetensors file with an I64 tensor 'tokens', or a text file with ids")
      ->required();
  command->add_option("--out", options->out, "The safetensors file to write")->required();
  command->add_option("--batch", options->batch, "Runs this many sequences in the same steps; the first is written")
      ->check(CLI::Range(1, 64));
  command->add_flag("--layers", options->layers, "Also each layer's output, experts and selected entries");
  command->add_flag("--draft", options->draft, "Also what the drafter computes at the positions");
  command->add_option("--positions", options->positions, "Positions whose logits are written (default: all)")
      ->delimiter(',');
  add_trace_flag(*command, options->trace);
  command->callback([options, &outcome] { outcome.status = traced(options->trace, [&] { return logits(*options); }); });
}

}  // namespace hadal::apps
