#pragma once

#include <CLI/App.hpp>
#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/perplexity.h"
#include "load_model.h"
#include "train/data/document_reader.h"

namespace hadal::apps {

/// Which texts are measured, and how long a window over them is.
struct TextFlags {
  std::vector<std::string> files;
  std::int64_t stride = 0;       // 0: half a window
  std::int64_t limit_bytes = 0;  // of each file; 0: all
  bool no_join = false;
};

void add_text_files(CLI::App& command, TextFlags& flags, const std::string& what);
/// Flags of commands that measure texts in windows.
void add_window_flags(CLI::App& command, TextFlags& flags);

/// The texts of one file.
struct TextInput {
  std::string path;
  std::vector<train::Document> documents;
  train::ReadCounts counts;

  [[nodiscard]] std::int64_t bytes() const {
    std::int64_t sum = 0;
    for (const train::Document& document : documents) sum += static_cast<std::int64_t>(document.text.size());
    return sum;
  }
};

/// The texts of all files, of each at most limit_bytes. Errors: those of find_inputs and read_documents,
/// kInvalidArgument (a file of chats, or without text).
[[nodiscard]] Result<std::vector<TextInput>> read_texts(const TextFlags& flags, std::stop_token stop);

/// Error: kNotFound.
[[nodiscard]] Status require_tokenizer(const LoadedModel& loaded, const ModelFlags& flags);

/// Rows of logits of a step of `rows` rows: about 32 MiB of them.
[[nodiscard]] std::int64_t logits_rows(const formats::ModelConfig& config, std::int64_t rows);

/// Tokens that are fed together: --context, else the length that positions were trained up to; no more than the longest
/// text can have.
[[nodiscard]] std::int64_t text_window(const LoadedModel& loaded, const ModelFlags& flags,
                                       const std::vector<TextInput>& inputs);

/// An executor for texts in windows. Errors: those of make_executor.
[[nodiscard]] Status make_text_executor(LoadedModel& loaded, const ModelFlags& flags, std::int64_t window);

/// A document that is being measured.
struct MeasuredText {
  std::size_t file;  // index into the inputs
  const train::Document& document;
  std::vector<std::int64_t> tokens;  // bos first
  std::function<void(std::int64_t done, std::int64_t count)> progress;

  [[nodiscard]] engine::PerplexityOptions options(std::int64_t window, std::int64_t stride, std::int64_t chunk) const {
    return {.window = window, .stride = stride, .chunk = chunk, .progress = progress};
  }
};

/// Calls measure(text) for each document in order, with a progress bar over the bytes of all.
[[nodiscard]] Status for_each_text(const std::vector<TextInput>& inputs, const LoadedModel& loaded,
                                   const std::function<Status(const MeasuredText&)>& measure);

}  // namespace hadal::apps
