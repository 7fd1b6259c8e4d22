#include "model/numerics.h"

#include <fmt/core.h>

#include <array>
#include <string>

namespace hadal::model {
namespace {

constexpr std::array<NumericsProfile, 6> kProfiles{{
    {.name = "exact"},
    {.name = "sim", .quantize_linear_inputs = true, .quantize_cache = true},
    {.name = "bf16", .product = DType::kBf16, .cache = DType::kBf16, .quantize_cache = true},
    {.name = "bf16_plain", .product = DType::kBf16, .cache = DType::kBf16},
    {.name = "exact64", .real = DType::kF64, .product = DType::kF64, .cache = DType::kF64},
    {.name = "sim64",
     .real = DType::kF64,
     .product = DType::kF64,
     .cache = DType::kF64,
     .quantize_linear_inputs = true,
     .quantize_cache = true},
}};

}  // namespace

Result<NumericsProfile> numerics_profile(std::string_view name) {
  std::string known;
  for (const NumericsProfile& profile : kProfiles) {
    if (profile.name == name) return profile;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", profile.name);
  }
  return fail(ErrorCode::kInvalidArgument, fmt::format("numerics profile '{}' is unknown; there are {}", name, known));
}

}  // namespace hadal::model
