#pragma once

#include <string>
#include <string_view>

#include "text/json_text.h"

// Bodies of `GET /health`, `/ready` and `/version`.
namespace hadal::api {

inline constexpr std::string_view kHealthy = R"({"status":"ok"})";
inline constexpr std::string_view kReady = R"({"status":"ready"})";
/// With status 503 until the model is there.
inline constexpr std::string_view kLoading =
    R"({"error":{"code":503,"message":"Loading model","type":"unavailable_error"}})";

/// The version and nothing that tells more of the build.
[[nodiscard]] inline std::string version_body(std::string_view version) {
  std::string out = R"({"version":)";
  text::append_json_string(out, version);
  return out + "}";
}

}  // namespace hadal::api
