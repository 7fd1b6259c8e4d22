#include "ops/backend_cases.h"

#include <utility>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/kernels/kernels.h"
#include "ops/reference/reference_backend.h"

namespace hadal::testing {
namespace {

enum class Isa { kGeneric, kAvx2, kAvx512, kNeon };
constexpr std::string_view kIsaNames[] = {"generic", "avx2", "avx512", "neon"};

template <Isa isa, int kThreads>
BackendCase cpu_case() {
  const std::string_view name = kIsaNames[static_cast<int>(isa)];
  return {.name = "cpu_" + std::string(name) + "_" + std::to_string(kThreads),
          .create = []() -> std::unique_ptr<ops::Backend> {
            auto backend = cpu::CpuBackend::create(kThreads, kIsaNames[static_cast<int>(isa)]);
            HADAL_CHECK(backend.has_value(), "kernel_table() offered this instruction set");
            return std::move(*backend);
          },
          .f64 = false};
}

template <Isa isa>
void add_cpu_cases(std::vector<BackendCase>& cases) {
  if (!cpu::kernel_table(kIsaNames[static_cast<int>(isa)])) return;
  cases.push_back(cpu_case<isa, 1>());
  cases.push_back(cpu_case<isa, 2>());
}

}  // namespace

std::vector<BackendCase> backends_under_test() {
  std::vector<BackendCase> cases;
  cases.push_back(
      {.name = "reference",
       .create = []() -> std::unique_ptr<ops::Backend> { return std::make_unique<ops::ReferenceBackend>(); },
       .f64 = true});
  add_cpu_cases<Isa::kGeneric>(cases);
  add_cpu_cases<Isa::kAvx2>(cases);
  add_cpu_cases<Isa::kAvx512>(cases);
  add_cpu_cases<Isa::kNeon>(cases);
  return cases;
}

}  // namespace hadal::testing
