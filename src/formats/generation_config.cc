#include "formats/generation_config.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "base/mapped_file.h"
#include "formats/json.h"

namespace hadal::formats {
namespace {

constexpr std::int64_t kMaxBytes = 1 << 16;
constexpr const char* kName = "generation_config.json";

/// The number under `key`, if it is there and not null.
Result<std::optional<double>> number(const nlohmann::ordered_json& root, const char* key, double most,
                                     std::string_view where) {
  const auto found = root.find(key);
  if (found == root.end() || found->is_null()) return std::optional<double>();
  if (!found->is_number() || !(found->get<double>() >= 0 && found->get<double>() <= most)) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("{}: '{}' must be a number from 0 to {}", where, key, most));
  }
  return std::optional(found->get<double>());
}

}  // namespace

Result<GenerationConfig> parse_generation_config(std::string_view text, std::string_view where) {
  HADAL_ASSIGN(const auto root, parse_json(text, where, kMaxBytes));
  if (!root.is_object()) return fail(ErrorCode::kCorrupt, fmt::format("{}: is no JSON object", where));
  GenerationConfig config;
  HADAL_ASSIGN(config.temperature, number(root, "temperature", 100, where));
  HADAL_ASSIGN(config.top_p, number(root, "top_p", 1, where));
  HADAL_ASSIGN(const auto top_k, number(root, "top_k", 1 << 30, where));
  if (top_k) config.top_k = static_cast<std::int64_t>(*top_k);
  const auto draws = root.find("do_sample");
  if (draws != root.end() && draws->is_boolean() && !draws->get<bool>()) config.temperature = 0;
  return config;
}

Result<GenerationConfig> read_generation_config(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / kName;
  if (!std::filesystem::exists(path)) return GenerationConfig();
  HADAL_ASSIGN(const std::string text, read_file(path, kMaxBytes));
  return parse_generation_config(text, path.string());
}

}  // namespace hadal::formats
