#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "base/result.h"
#include "ops/backend.h"

namespace hadal::backends {

/// Names that create_backend() takes; the first is the default of the programs.
[[nodiscard]] std::span<const std::string_view> backend_names();

/// A new backend with `threads` threads (0: as many as this process has processors; those that have no use for threads
/// take 1). The only place that names concrete backends. Errors: kInvalidArgument (unknown name, a negative count),
/// and those of the backend.
[[nodiscard]] Result<std::unique_ptr<ops::Backend>> create_backend(std::string_view name, int threads);

/// The numerics profile that a backend is made for, used unless another one is asked for.
[[nodiscard]] std::string_view default_numerics(const ops::Backend& backend);

}  // namespace hadal::backends
