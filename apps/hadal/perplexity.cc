#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/mapped_file.h"
#include "base/units.h"
#include "command.h"
#include "engine/perplexity.h"
#include "interrupt.h"
#include "load_model.h"
#include "progress.h"
#include "prompt_ids.h"
#include "standard_streams.h"

namespace hadal::apps {
namespace {

struct Options {
  ModelFlags model;
  std::string file;
  bool ids = false;
  bool bos = false;
  std::int64_t stride = 0;
  bool json = false;
};

Status run(const Options& options) {
  HADAL_ASSIGN(LoadedModel loaded, load_model(options.model));
  std::string text;
  if (options.file == "-") {
    HADAL_ASSIGN(text, read_standard_input(text::Tokenizer::kMaxTextBytes));
  } else {
    HADAL_ASSIGN(text, read_file(options.file, text::Tokenizer::kMaxTextBytes));
  }
  std::vector<std::int64_t> tokens;
  if (options.bos) tokens.push_back(loaded.model->config().bos_token_id);
  if (options.ids || !loaded.tokenizer) {
    HADAL_ASSIGN(const auto ids, parse_ids(text, loaded.tokenizer.has_value()));
    tokens.insert(tokens.end(), ids.begin(), ids.end());
  } else {
    HADAL_ASSIGN(const auto ids, loaded.tokenizer->encode(text, {.added_tokens = text::AddedTokens::kOff}));
    tokens.insert(tokens.end(), ids.begin(), ids.end());
  }

  constexpr std::int64_t kDefaultWindow = 4096;
  const auto count = static_cast<std::int64_t>(tokens.size());
  const std::int64_t window =
      std::min(options.model.context > 0 ? options.model.context : kDefaultWindow, std::max<std::int64_t>(count, 2));
  const std::int64_t rows = std::min(options.model.chunk, window);
  HADAL_TRY(make_executor(loaded, {.max_rows = rows,
                                   .max_sequences = 1,
                                   .max_logits_rows = std::min<std::int64_t>(rows, 64),
                                   .max_tokens = window}));
  ProgressBar progress("Measuring");
  Interrupt interrupt;
  HADAL_ASSIGN(const engine::Perplexity result,
               engine::measure_perplexity(
                   *loaded.executor, loaded.tokenizer_or_null(), tokens,
                   {.window = window,
                    .stride = options.stride,
                    .chunk = options.model.chunk,
                    .progress = [&](std::int64_t done, std::int64_t total) { progress.update(done, total); }},
                   interrupt.begin()));
  progress.clear();
  if (options.json) {
    nlohmann::ordered_json object{{"tokens", count},
                                  {"measured_tokens", result.tokens},
                                  {"bits", result.bits},
                                  {"bits_per_token", result.bits_per_token()},
                                  {"perplexity", result.perplexity()},
                                  {"window", window},
                                  {"windows", result.windows},
                                  {"backend", loaded.backend->name()},
                                  {"instruction_set", loaded.backend->instruction_set()},
                                  {"numerics", loaded.model->profile().name}};
    if (result.bytes > 0) {
      object["bytes"] = result.bytes;
      object["bits_per_byte"] = result.bits_per_byte();
    }
    return write_standard_output(object.dump() + "\n");
  }
  std::string line = fmt::format("{} tokens in {} window{} of {}: {:.4f} bits per token, perplexity {:.4f}",
                                 with_separators(result.tokens), result.windows, result.windows == 1 ? "" : "s",
                                 with_separators(window), result.bits_per_token(), result.perplexity());
  if (result.bytes > 0) line += fmt::format(", {:.4f} bits per byte", result.bits_per_byte());
  return write_standard_output(line + "\n");
}

}  // namespace

void add_perplexity(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  CLI::App* const command = app.add_subcommand("perplexity", "How well the model predicts a text");
  add_model_flags(*command, options->model);
  command->add_option("FILE", options->file, "The text; - for standard input")->required();
  command->add_flag("--ids", options->ids, "The file has token ids (always so without a tokenizer)");
  command->add_flag("--bos", options->bos, "Put the begin-of-sentence token in front, so that every token is measured");
  command->add_option("--stride", options->stride,
                      "Tokens by which the window of --context tokens (default 4096) moves on (default: half of it)");
  command->add_flag("--json", options->json, "Print one JSON object");
  command->callback([options, &outcome] { outcome.status = run(*options); });
}

}  // namespace hadal::apps
