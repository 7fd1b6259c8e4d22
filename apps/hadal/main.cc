#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <new>

#include "command.h"

namespace hadal::apps {

int exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return 2;
    case ErrorCode::kNotFound:
      return 3;
    case ErrorCode::kCorrupt:
      return 4;
    case ErrorCode::kUnsupported:
    case ErrorCode::kUnimplemented:
      return 5;
    case ErrorCode::kResourceExhausted:
      return 6;
    case ErrorCode::kUnavailable:
      return 7;
    case ErrorCode::kDeadlineExceeded:
      return 8;
    case ErrorCode::kCancelled:
      return 130;
    case ErrorCode::kInternal:
      return 70;
  }
  return 70;
}

namespace {

int run(int argc, char** argv) {
  CLI::App app{"Hadal: runs DeepSeek V4 from its official checkpoints"};
  app.require_subcommand(1);
  Outcome outcome;
  // Commands, in the order of the help text.
  add_run(app, outcome);
  add_chat(app, outcome);
  add_serve(app, outcome);
  add_inspect(app, outcome);
  add_init(app, outcome);
  add_perplexity(app, outcome);
  add_eval(app, outcome);
  add_logits(app, outcome);
  add_verify(app, outcome);
  add_tokenize(app, outcome);
  add_detokenize(app, outcome);
  add_render(app, outcome);
  add_parse(app, outcome);
  add_data(app, outcome);
  add_train(app, outcome);
  add_finetune(app, outcome);
  add_export(app, outcome);
  add_keys(app, outcome);
  add_usage(app, outcome);

  const auto is_command = [&](const CLI::App* command) { return command->get_name() == argv[1]; };
  const auto commands = app.get_subcommands([](const CLI::App*) { return true; });
  if (argc > 1 && argv[1][0] != '-' && std::none_of(commands.begin(), commands.end(), is_command)) {
    fmt::print(stderr, "hadal: there is no command '{}'; hadal --help lists them\n", argv[1]);
    return exit_code(ErrorCode::kInvalidArgument);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : exit_code(ErrorCode::kInvalidArgument);
  } catch (const std::bad_alloc&) {
    outcome.status = fail(ErrorCode::kResourceExhausted,
                          "the system gives no more memory; free some, or use a smaller --context or --chunk");
  }
  if (!outcome.status) {
    fmt::print(stderr, "hadal: {}\n", outcome.status.error().message);
    return exit_code(outcome.status.error().code);
  }
  return outcome.exit_code;
}

}  // namespace
}  // namespace hadal::apps

int main(int argc, char** argv) { return hadal::apps::run(argc, argv); }
