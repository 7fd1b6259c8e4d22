#pragma once

#include <string>

#include "train/run_log.h"

namespace hadal::train {

/// An SVG picture of a run: loss (of steps and of held-out text), gradient norm, load of the experts, learning rate,
/// each over the tokens seen. Long runs are shown as means of neighbouring steps.
[[nodiscard]] std::string plot_svg(const RunLog& log, std::string_view title);

}  // namespace hadal::train
