#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "formats/safetensors.h"
#include "testing/golden_path.h"

namespace hadal::testing {

/// All values of a tensor, in the file's element type T.
template <class T>
std::vector<T> golden_values(const formats::SafetensorsFile& file, const std::string& name) {
  const auto tensor = file.tensor(name);
  if (!tensor) {
    ADD_FAILURE() << tensor.error().message;
    return {};
  }
  std::vector<T> values(static_cast<std::size_t>(tensor->shape.elements()));
  EXPECT_EQ(values.size() * sizeof(T), static_cast<std::size_t>(tensor->bytes)) << name;
  std::memcpy(values.data(), tensor->data, values.size() * sizeof(T));
  return values;
}

}  // namespace hadal::testing
