#include "backends/registry.h"

#include <fmt/format.h>

#include <array>

#include "backends/cpu/cpu_backend.h"
#include "base/thread_pool.h"
#include "ops/reference/reference_backend.h"

namespace hadal::backends {
namespace {

constexpr std::array<std::string_view, 2> kNames{"cpu", "reference"};  // the first is the programs' default

}  // namespace

std::span<const std::string_view> backend_names() { return kNames; }

Result<std::unique_ptr<ops::Backend>> create_backend(std::string_view name, int threads) {
  if (threads < 0) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("the number of threads is {}, but must be 0 (all processors) or more", threads));
  }
  if (name == "cpu") {
    HADAL_ASSIGN(std::unique_ptr<ops::Backend> backend,
                 cpu::CpuBackend::create(threads == 0 ? available_processors() : threads));
    return backend;
  }
  if (name == "reference") return std::make_unique<ops::ReferenceBackend>();
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("backend '{}' is unknown; known are {}", name, fmt::join(kNames, ", ")));
}

std::string_view default_numerics(const ops::Backend& backend) {
  return backend.name() == "reference" ? "exact" : "bf16";
}

}  // namespace hadal::backends
