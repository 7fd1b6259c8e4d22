#include "shipped_model.h"

#include <fmt/format.h>

#include <filesystem>

namespace hadal::apps {

namespace fs = std::filesystem;

Result<std::string> find_model(const std::string& checkpoint) {
  std::error_code error;
  if (checkpoint != kShippedModel || fs::exists(checkpoint, error)) return checkpoint;
  const fs::path program = fs::read_symlink("/proc/self/exe", error).parent_path();
  const fs::path beside = program / kShippedModel;
  const fs::path installed = (program / "../share/hadal" / kShippedModel).lexically_normal();
  for (const fs::path& place : {beside, installed}) {
    if (fs::exists(place / "config.json", error)) return place.string();
  }
  return fail(ErrorCode::kNotFound,
              fmt::format("{}, the model that ships with Hadal, is neither in {} nor in {}; build or install Hadal "
                          "again, or name a checkpoint directory",
                          kShippedModel, beside.string(), installed.string()));
}

}  // namespace hadal::apps
