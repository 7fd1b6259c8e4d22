#include "eval_texts.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "progress.h"
#include "train/data/inputs.h"

namespace hadal::apps {
namespace {

/// Takes a document while `left` bytes last; the last one is cut before a character. False: no more is wanted.
bool take_document(train::Document&& document, std::optional<std::int64_t>& left, TextInput& input) {
  bool more = true;
  if (left) {
    const std::size_t whole = document.text.size();
    auto size = static_cast<std::size_t>(std::min<std::int64_t>(*left, std::ssize(document.text)));
    while (size > 0 && size < whole && (document.text[size] & 0xC0) == 0x80) --size;
    document.text.resize(size);
    *left -= static_cast<std::int64_t>(size);
    more = size == whole && *left > 0;
  }
  if (!document.text.empty()) input.documents.push_back(std::move(document));
  return more;
}

Result<TextInput> read_text(const train::InputFile& file, const TextFlags& flags, std::stop_token stop) {
  TextInput input{.path = file.path.string(), .documents = {}, .counts = {}};
  std::optional<std::int64_t> left;
  if (flags.limit_bytes > 0) left = flags.limit_bytes;
  bool enough = false;
  bool chats = false;
  const auto sink = [&](train::Document&& document) -> Status {
    chats = document.is_chat();
    enough = !chats && !take_document(std::move(document), left, input);
    if (chats || enough) return fail(ErrorCode::kCancelled, "enough");
    return {};
  };
  train::SeenTexts seen;
  const Status read = train::read_documents(
      file, {.join_books = !flags.no_join}, seen, input.counts, [&](std::int64_t) { return !stop.stop_requested(); },
      sink);
  if (chats) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: holds chats; only records with a 'text' can be measured", input.path));
  }
  if (!read && !enough) return tl::unexpected<Error>(read.error());
  if (input.documents.empty()) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("{}: there is no text in it", input.path));
  }
  return input;
}

/// Bytes of the longest text: it has no more tokens.
std::int64_t longest_text(const std::vector<TextInput>& inputs) {
  std::int64_t most = 0;
  for (const TextInput& input : inputs) {
    for (const train::Document& document : input.documents) most = std::max<std::int64_t>(most, document.text.size());
  }
  return most;
}

/// The length that positions were trained up to.
std::int64_t trained_length(const formats::ModelConfig& config) {
  const std::int64_t original = config.rope_scaling.original_max_position_embeddings;
  return original > 0 ? original : config.max_position_embeddings;
}

Result<std::vector<std::int64_t>> text_tokens(const LoadedModel& loaded, std::string_view text) {
  HADAL_ASSIGN(const auto ids, loaded.tokenizer->encode(text, {.added_tokens = text::AddedTokens::kOff}));
  std::vector<std::int64_t> tokens{loaded.model->config().bos_token_id};
  tokens.insert(tokens.end(), ids.begin(), ids.end());
  return tokens;
}

}  // namespace

void add_text_files(CLI::App& command, TextFlags& flags, const std::string& what) {
  command
      .add_option(
          "FILE", flags.files,
          what + ": *.txt or *.md (a text each), *.jsonl (a 'text' a line), folders of these, or packed as *.zst")
      ->required();
  command.add_option("--limit-bytes", flags.limit_bytes, "Most bytes of each file (default: all)")
      ->check(CLI::PositiveNumber);
  command.add_flag("--no-join", flags.no_join,
                   "Take each record by itself instead of joining those of a book that follow each other");
}

void add_window_flags(CLI::App& command, TextFlags& flags) {
  command.add_option("--stride", flags.stride,
                     "Tokens by which the window of --context tokens (default: the length that the model's positions "
                     "were trained for) moves on (default: half of it)");
}

Result<std::vector<TextInput>> read_texts(const TextFlags& flags, std::stop_token stop) {
  const std::vector<std::filesystem::path> paths(flags.files.begin(), flags.files.end());
  std::int64_t skipped = 0;
  HADAL_ASSIGN(const std::vector<train::InputFile> files, train::find_inputs(paths, skipped));
  std::vector<TextInput> inputs;
  for (const train::InputFile& file : files) {
    HADAL_ASSIGN(inputs.emplace_back(), read_text(file, flags, stop));
  }
  return inputs;
}

Status require_tokenizer(const LoadedModel& loaded, const ModelFlags& flags) {
  if (loaded.tokenizer) return {};
  return fail(ErrorCode::kNotFound,
              fmt::format("{}: has no tokenizer.json; name one with --tokenizer", flags.checkpoint));
}

std::int64_t logits_rows(const formats::ModelConfig& config, std::int64_t rows) {
  constexpr std::int64_t kFloats = std::int64_t{8} << 20;
  return std::clamp<std::int64_t>(kFloats / config.vocab_size, 1, rows);
}

std::int64_t text_window(const LoadedModel& loaded, const ModelFlags& flags, const std::vector<TextInput>& inputs) {
  const std::int64_t most = flags.context > 0 ? flags.context : trained_length(loaded.model->config());
  return std::max<std::int64_t>(2, std::min(most, longest_text(inputs) + 1));
}

Status make_text_executor(LoadedModel& loaded, const ModelFlags& flags, std::int64_t window) {
  const std::int64_t rows = std::min(flags.chunk, window);
  return make_executor(loaded, {.max_rows = rows,
                                .max_sequences = 1,
                                .max_logits_rows = logits_rows(loaded.model->config(), rows),
                                .max_tokens = window});
}

Status for_each_text(const std::vector<TextInput>& inputs, const LoadedModel& loaded,
                     const std::function<Status(const MeasuredText&)>& measure) {
  std::int64_t total = 0;
  for (const TextInput& input : inputs) total += input.bytes();
  ProgressBar bar("Measuring", "bytes");
  std::int64_t before = 0;
  for (std::size_t file = 0; file < inputs.size(); ++file) {
    for (const train::Document& document : inputs[file].documents) {
      const auto bytes = static_cast<std::int64_t>(document.text.size());
      HADAL_ASSIGN(std::vector<std::int64_t> tokens, text_tokens(loaded, document.text));
      HADAL_TRY(measure({.file = file,
                         .document = document,
                         .tokens = std::move(tokens),
                         .progress = [&](std::int64_t done, std::int64_t count) {
                           bar.update(before + bytes * done / count, total);
                         }}));
      before += bytes;
    }
  }
  return {};
}

}  // namespace hadal::apps
