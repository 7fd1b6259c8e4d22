#pragma once

#include <CLI/App.hpp>

#include "base/result.h"

namespace hadal::apps {

/// What a command leaves for main(): set by its callback.
struct Outcome {
  Status status;      // an error becomes one line on standard error and the exit code of its class
  int exit_code = 0;  // used when status is ok (verify: 1 above tolerance)
};

/// Exit code of an error's class: 2 invalid argument, 3 not found, 4 corrupt, 5 unsupported or unimplemented,
/// 6 resources exhausted, 7 unavailable, 8 deadline exceeded, 130 cancelled, 70 internal.
[[nodiscard]] int exit_code(ErrorCode code);

// One function a command, each in its own file: declares the command with its flags and its callback.
void add_run(CLI::App& app, Outcome& outcome);
void add_chat(CLI::App& app, Outcome& outcome);
void add_serve(CLI::App& app, Outcome& outcome);
void add_inspect(CLI::App& app, Outcome& outcome);
void add_init(CLI::App& app, Outcome& outcome);
void add_train(CLI::App& app, Outcome& outcome);
void add_finetune(CLI::App& app, Outcome& outcome);
void add_export(CLI::App& app, Outcome& outcome);
void add_perplexity(CLI::App& app, Outcome& outcome);
void add_eval(CLI::App& app, Outcome& outcome);
void add_logits(CLI::App& app, Outcome& outcome);
void add_verify(CLI::App& app, Outcome& outcome);
void add_tokenize(CLI::App& app, Outcome& outcome);
void add_detokenize(CLI::App& app, Outcome& outcome);
void add_render(CLI::App& app, Outcome& outcome);
void add_parse(CLI::App& app, Outcome& outcome);
void add_data(CLI::App& app, Outcome& outcome);
void add_keys(CLI::App& app, Outcome& outcome);
void add_usage(CLI::App& app, Outcome& outcome);

}  // namespace hadal::apps
