#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace hadal::apps {

/// Name of the small model that ships with the program, wherever a checkpoint directory can be named.
inline constexpr std::string_view kShippedModel = "nano";

/// `checkpoint` itself, or for kShippedModel (unless there is a directory of that name) the directory beside the
/// program: nano/ in the program's folder, or share/hadal/nano/ beside it. Error: kNotFound, with the places looked at.
[[nodiscard]] Result<std::string> find_model(const std::string& checkpoint);

}  // namespace hadal::apps
