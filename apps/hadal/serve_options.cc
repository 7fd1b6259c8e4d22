#include "serve_options.h"

#include <CLI/CLI.hpp>

#include "shipped_model.h"

namespace hadal::apps {
namespace {

void add_model_options(CLI::App& command, ServeOptions& options) {
  options.model.checkpoint = kShippedModel;
  add_model_flags(command, options.model);
  command.get_option("CHECKPOINT")->required(false)->capture_default_str();
  command.add_option("--served-name", options.served_name, "Id of the model in requests and answers");
  command.add_option("--alias", options.aliases, "Further names of the model");
  command.add_option("--accept-any-model", options.accept_any_model, "Name that all unknown model names mean");
  command
      .add_option("--thinking", options.thinking,
                  "Whether requests that do not say are answered with reasoning: on, off (default: off for nano)")
      ->check(CLI::IsMember({"on", "off"}));
  command.add_option("--parallel", options.parallel, "Most answers computed at a time")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command.add_option("--state-memory", options.state_memory,
                     "Memory for the states of answers and cached prefixes (default: half of what is free, at most "
                     "what all answers need)");
  command.add_option("--draft", options.drafts, "Draft tokens ahead: off, on, auto (where it pays)")
      ->check(CLI::IsMember({"off", "on", "auto"}))
      ->capture_default_str();
  command.add_option("--max-drafts", options.max_drafts, "Most drafts of a round with an MTP layer")
      ->check(CLI::Range(1, 8))
      ->capture_default_str();
  command.add_option("--cache-memory", options.cache_memory, "Memory for cached prefixes beside the states' pages")
      ->capture_default_str();
  command.add_option("--cache-dir", options.cache_directory,
                     "Folder for cached prefixes that survive a restart (default: none are written)");
  command.add_option("--cache-disk", options.cache_disk, "Most bytes in that folder")->capture_default_str();
  command
      .add_option("--cache-isolation", options.isolation,
                  "Who may share cached prefixes: none (all), key, user (default: by the API's family)")
      ->check(CLI::IsMember({"none", "key", "user"}));
}

void add_http_options(CLI::App& command, ServeOptions& options) {
  command.add_option("--host", options.http.addresses, "Addresses to listen on")->capture_default_str();
  command.add_option("--port", options.http.port, "0: any that is free")->capture_default_str();
  command.add_option("--unix", options.http.unix_path, "Unix socket to listen on as well, for the user and the group");
  command.add_option("--host-name", options.http.host_names, "Further names that requests may give as Host");
  command.add_option("--cors", options.http.cors_origins, "Origins whose pages may use the server");
  command.add_option("--trusted-proxy", options.http.trusted_proxies, "Addresses whose X-Forwarded-For is believed");
  command.add_option("--keepalive", options.keep_alive, "Seconds of silence until a sign of life is sent")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  command.add_option("--write-timeout", options.write_timeout, "Seconds that a client may leave its answer unread")
      ->check(CLI::Range(1, 86400))
      ->capture_default_str();
  command.add_option("--request-timeout", options.request_timeout, "Seconds that a request may take")
      ->check(CLI::Range(1, 86400))
      ->capture_default_str();
  command.add_option("--queue-timeout", options.queue_timeout, "Seconds that a request may wait for its turn")
      ->check(CLI::Range(1, 86400))
      ->capture_default_str();
  command.add_option("--drain", options.drain, "Seconds that running answers get when the server ends")
      ->check(CLI::Range(0, 86400))
      ->capture_default_str();
}

void add_api_options(CLI::App& command, ServeOptions& options) {
  command
      .add_option("--sampling", options.sampling,
                  "official: parameters that DeepSeek ignores are ignored; client: all act (default: by family)")
      ->check(CLI::IsMember({"official", "client"}));
  command.add_option("--max-n", options.max_choices, "Most answers to one request")
      ->check(CLI::Range(1, 128))
      ->capture_default_str();
  command.add_option("--queue", options.queue, "Most requests that wait")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  command.add_flag("--strict-fields", options.strict_fields, "Refuse unknown fields");
  command.add_flag("--strict-reasoning", options.strict_reasoning,
                   "Refuse tool calls in thinking mode that come back without their reasoning");
  command.add_option("--keys", options.keys, "File of keys; without it only this machine may use the server");
  command
      .add_option("--account-concurrency", options.account_concurrency,
                  "Most requests of one account at a time, where the file of keys says nothing else")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  command.add_flag("--revoke-aborts", options.revoke_aborts,
                   "End running answers of keys that are revoked or expire; else they come to their end");
  command.add_flag("--no-auth", options.no_auth, "Serve other machines without keys");
  command.add_option("--ledger", options.ledger, "SQLite file that every request is written to");
  command.add_option("--access-log", options.access_log,
                     "File that a line of JSON a request is appended to, without prompts and answers; - for standard "
                     "error");
  command.add_option("--log-content", options.content_log,
                     "File (for its owner only) that prompts and answers are appended to, a line of JSON a request");
  command.add_option("--metrics-prefix", options.metrics_prefix, "Beginning of the names at /metrics")
      ->capture_default_str();
  command.add_flag("--metrics-open", options.metrics_open, "Show /metrics to other machines without a key");
  command.add_option("--script", options.script,
                     "Play these answers, a JSON string a line, instead of the model's choices: to try clients");
  command.add_option("--step-delay", options.step_delay, "Milliseconds before each step: to try clients")
      ->check(CLI::Range(0, 60'000));
}

}  // namespace

void add_serve_flags(CLI::App& command, ServeOptions& options) {
  add_model_options(command, options);
  add_http_options(command, options);
  add_api_options(command, options);
}

}  // namespace hadal::apps
