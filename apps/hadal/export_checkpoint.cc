#include "export_checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/mapped_file.h"
#include "base/units.h"
#include "formats/checkpoint.h"
#include "formats/safetensors.h"
#include "interrupt.h"
#include "progress.h"
#include "quant/export.h"
#include "shipped_model.h"
#include "train/checkpoint_file.h"
#include "train/run_state.h"

namespace hadal::apps {
namespace {

namespace fs = std::filesystem;

/// tokenizer.json, tokenizer_config.json and generation_config.json of a folder, or of the folder of a file; those that
/// are there.
Status add_tokenizer(const fs::path& place, quant::ExportRequest& request) {
  constexpr std::int64_t kLargest = std::int64_t{256} << 20;
  const fs::path folder = fs::is_directory(place) ? place : place.parent_path();
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "generation_config.json"}) {
    if (!fs::exists(folder / name)) continue;
    HADAL_ASSIGN(std::string text, read_file(folder / name, kLargest));
    request.files.emplace_back(name, std::move(text));
  }
  return {};
}

std::string report(const std::vector<quant::TensorError>& errors, bool every_tensor) {
  std::string text;
  const quant::TensorError* worst = nullptr;
  for (const quant::TensorError& error : errors) {
    if (every_tensor) {
      text += fmt::format("{:<44} {:<8} relative rms {:.3e}  largest {:.3e}\n", error.name,
                          formats::safetensors_name(error.type), error.relative_rms, error.largest);
    }
    if (worst == nullptr || error.relative_rms > worst->relative_rms) worst = &error;
  }
  if (worst != nullptr) {
    text += fmt::format("{} tensors; the largest relative rms error is {:.3e}, in {} ({})\n",
                        with_separators(static_cast<std::int64_t>(errors.size())), worst->relative_rms, worst->name,
                        formats::safetensors_name(worst->type));
  }
  return text;
}

}  // namespace

Result<std::string> export_checkpoint(const ExportOptions& options) {
  quant::ExportRequest request{.directory = options.out};
  request.format = options.format == "bf16" ? quant::ExportFormat::kBf16 : quant::ExportFormat::kFp8Fp4;
  Interrupt interrupt;
  const std::stop_token stop = interrupt.begin();
  ProgressBar progress("Writing", "bytes");
  request.progress = [&](std::int64_t done, std::int64_t total) {
    progress.update(done, total);
    return !stop.stop_requested();
  };
  if (!options.tokenizer.empty()) HADAL_TRY(add_tokenizer(options.tokenizer, request));

  std::vector<quant::TensorError> errors;
  HADAL_ASSIGN(const std::string place, find_model(options.checkpoint));
  if (fs::is_directory(place)) {
    HADAL_ASSIGN(const auto checkpoint, formats::Checkpoint::open(place));
    if (options.tokenizer.empty()) HADAL_TRY(add_tokenizer(place, request));
    HADAL_ASSIGN(errors, quant::export_model(*checkpoint, checkpoint->config(), request));
  } else {
    HADAL_ASSIGN(const train::CheckpointFile file, train::CheckpointFile::open(place));
    HADAL_ASSIGN(const train::RunState state, train::parse_run_state(file.state_json(), options.checkpoint));
    HADAL_ASSIGN(const formats::ModelConfig config,
                 formats::parse_model_config(state.model_config, options.checkpoint));
    HADAL_ASSIGN(errors, quant::export_model(train::MasterSource(file), config, request));
  }
  progress.clear();
  return report(errors, options.report) + fmt::format("{}: written\n", options.out);
}

}  // namespace hadal::apps
