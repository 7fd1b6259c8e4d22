#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/utc_time.h"
#include "command.h"
#include "server/key_changes.h"
#include "server/key_file.h"
#include "server/key_list.h"
#include "standard_streams.h"

namespace hadal::apps {
namespace {

struct Options {
  std::string file = "keys.json";
  std::string name;
  std::string expires;
  std::vector<std::string> permissions;
  server::NewKey wish;
  bool json = false;
};

std::chrono::sys_seconds now() { return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()); }

/// Shows the key that `change` makes: on standard output alone, so that a script can keep it.
Status show_new_key(const Options& options, const std::function<Result<std::string>(server::KeyFile&)>& change) {
  std::string text;
  HADAL_TRY(server::change_key_file(options.file, [&](server::KeyFile& file) -> Status {
    HADAL_ASSIGN(text, change(file));
    return {};
  }));
  HADAL_TRY(write_standard_output(text + "\n"));
  fmt::print(stderr, "This is the only time the key is shown; {} holds its hash only.\n", options.file);
  return {};
}

Status add(Options& options) {
  server::NewKey& wish = options.wish;
  if (!options.expires.empty()) {
    wish.expires = read_utc(options.expires);
    if (!wish.expires) {
      return fail(
          ErrorCode::kInvalidArgument,
          fmt::format("--expires: '{}' is no time such as 2026-12-31 or 2026-12-31T18:00:00Z", options.expires));
    }
  }
  if (!options.permissions.empty()) wish.permissions = {};
  for (const std::string& name : options.permissions) {
    const auto found = std::ranges::find(server::kPermissionNames, name);
    wish.permissions.add(static_cast<server::Permission>(found - server::kPermissionNames.begin()));
  }
  return show_new_key(options, [&](server::KeyFile& file) { return server::add_key(file, wish, now()); });
}

Status list(const Options& options) {
  HADAL_ASSIGN(const server::KeyFile file, server::read_key_file(options.file));
  return write_standard_output(options.json ? server::keys_json(file, now()) : server::keys_table(file, now()));
}

void add_limit_flags(CLI::App& command, server::RateLimits& limits) {
  for (const server::RateLimitField& field : server::kRateLimitFields) {
    std::string flag = "--" + std::string(field.name);
    std::ranges::replace(flag, '_', '-');
    command.add_option(flag, limits.*field.value, "Limit of this key; default: none")
        ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 50))
        ->type_name("N");
  }
}

CLI::App* add_command(CLI::App& keys, const std::shared_ptr<Options>& options, const char* name, const char* text) {
  CLI::App* const command = keys.add_subcommand(name, text);
  command->add_option("--keys", options->file, "The file of keys")->capture_default_str();
  return command;
}

void add_add(CLI::App& keys, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  CLI::App* const command = add_command(keys, options, "add", "Makes a key and prints it");
  command->add_option("NAME", options->wish.name, "What people call it: A-Z a-z 0-9 . _ @ -")->required();
  command->add_option("--account", options->wish.account, "Who is counted and limited; default: NAME");
  command->add_option("--expires", options->expires, "Day or time (UTC) from which on it is worth nothing");
  command->add_option("--permissions", options->permissions, "infer, raw, metrics, admin; default: infer")
      ->delimiter(',')
      ->check(CLI::IsMember({"infer", "raw", "metrics", "admin"}));
  command->add_option("--models", options->wish.models, "Models that it may use; default: all")->delimiter(',');
  command->add_option("--priority", options->wish.priority, "Added to that of its requests; lower ones first")
      ->check(CLI::Range(-100, 100))
      ->capture_default_str();
  add_limit_flags(*command, options->wish.rate);
  command->callback([options, &outcome] { outcome.status = add(*options); });
}

void add_list(CLI::App& keys, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  CLI::App* const command = add_command(keys, options, "list", "Shows the keys, without what is secret of them");
  command->add_flag("--json", options->json, "A JSON array instead of the table");
  command->callback([options, &outcome] { outcome.status = list(*options); });
}

void add_revoke(CLI::App& keys, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  CLI::App* const command =
      add_command(keys, options, "revoke", "Makes a key worthless; a running server notices within a second");
  command->add_option("NAME", options->name, "Its name or id")->required();
  command->callback([options, &outcome] {
    outcome.status = server::change_key_file(
        options->file, [&](server::KeyFile& file) { return server::revoke_key(file, options->name, now()); });
  });
}

void add_rotate(CLI::App& keys, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  CLI::App* const command =
      add_command(keys, options, "rotate", "Puts a new key in the place of one, with its limits, and prints it");
  command->add_option("NAME", options->name, "Its name or id")->required();
  command->callback([options, &outcome] {
    outcome.status =
        show_new_key(*options, [&](server::KeyFile& file) { return server::rotate_key(file, options->name, now()); });
  });
}

}  // namespace

void add_keys(CLI::App& app, Outcome& outcome) {
  CLI::App* const keys = app.add_subcommand("keys", "Keys of the clients of hadal serve");
  keys->require_subcommand(1);
  add_add(*keys, outcome);
  add_list(*keys, outcome);
  add_revoke(*keys, outcome);
  add_rotate(*keys, outcome);
}

}  // namespace hadal::apps
