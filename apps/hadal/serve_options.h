#pragma once

#include <CLI/App.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "load_model.h"
#include "server/http_server.h"

namespace hadal::apps {

/// Flags of `hadal serve`.
struct ServeOptions {
  ModelFlags model;
  std::string served_name;
  std::vector<std::string> aliases;
  std::string accept_any_model;
  std::string thinking;
  std::int64_t parallel = 16;
  std::string state_memory;
  std::string drafts = "auto";
  std::int64_t max_drafts = 3;
  // Prefix cache.
  std::string cache_memory = "1G";
  std::string cache_directory;
  std::string cache_disk = "8G";
  std::string isolation;
  // HTTP.
  server::HttpOptions http;
  std::int64_t keep_alive = 10, write_timeout = 60, request_timeout = 3600, queue_timeout = 600, drain = 60;
  // API.
  std::string sampling;
  std::int64_t max_choices = 16;
  std::int64_t queue = 1024;
  bool strict_fields = false, strict_reasoning = false;
  // Keys and accounts.
  std::string keys, ledger;
  bool no_auth = false, revoke_aborts = false;
  std::int64_t account_concurrency = 500;
  std::string access_log, content_log;
  std::string metrics_prefix = "hadal:";
  bool metrics_open = false;
  // To try clients.
  std::string script;
  std::int64_t step_delay = 0;
};

void add_serve_flags(CLI::App& command, ServeOptions& options);

}  // namespace hadal::apps
