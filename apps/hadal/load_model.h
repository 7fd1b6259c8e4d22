#pragma once

#include <CLI/App.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "formats/checkpoint.h"
#include "model/executor.h"
#include "model/model.h"
#include "model/state.h"
#include "ops/backend.h"
#include "text/tokenizer.h"

namespace hadal::apps {

/// Flags of every command that runs a model.
struct ModelFlags {
  std::string checkpoint;
  std::string tokenizer;  // empty: the checkpoint's own, if it has one
  std::string backend;    // empty: the first known
  std::string numerics;   // empty: what the backend is made for
  int threads = 0;
  std::int64_t context = 0;  // tokens; 0: as the command sees fit
  std::int64_t chunk = 512;
  std::string memory;  // "24G"; empty: what the system has
};

void add_model_flags(CLI::App& command, ModelFlags& flags);

/// "24G", "512M", "1.5T", "1000000" (bytes) -> bytes. Errors: kInvalidArgument.
[[nodiscard]] Result<std::int64_t> parse_bytes(std::string_view text);

/// A checkpoint with its weights in place. Members are destroyed from the last to the first.
struct LoadedModel {
  std::unique_ptr<ops::Backend> backend;
  std::unique_ptr<formats::Checkpoint> checkpoint;
  std::unique_ptr<model::Model> model;
  std::optional<text::Tokenizer> tokenizer;
  std::int64_t memory = 0;  // bytes that states and activations may take
  std::unique_ptr<model::StatePool> pool;
  std::unique_ptr<model::Executor> executor;

  [[nodiscard]] const text::Tokenizer* tokenizer_or_null() const { return tokenizer ? &*tokenizer : nullptr; }
};

/// Opens and checks the checkpoint, loads model and tokenizer; logs their warnings. Errors: those of the parts.
[[nodiscard]] Result<LoadedModel> load_model(const ModelFlags& flags);

/// Makes room for sequences and steps. Errors: kResourceExhausted before anything is allocated, with the bytes that the
/// states need, the bytes there are and the context that would fit; those of pool and executor.
/// `pages`: of states, for all sequences together; 0: enough for every sequence to reach max_tokens.
[[nodiscard]] Status make_executor(LoadedModel& loaded, const model::Executor::Limits& limits, std::int64_t pages = 0);

}  // namespace hadal::apps
