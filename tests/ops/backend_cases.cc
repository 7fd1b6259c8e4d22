#include "ops/backend_cases.h"

#include "ops/reference/reference_backend.h"

namespace hadal::testing {

std::vector<BackendCase> backends_under_test() {
  return {{.name = "reference",
           .create = []() -> std::unique_ptr<ops::Backend> { return std::make_unique<ops::ReferenceBackend>(); },
           .f64 = true}};
}

}  // namespace hadal::testing
