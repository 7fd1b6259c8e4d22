#include "tensor/tensor.h"

#include <gtest/gtest.h>

namespace hadal {
namespace {

TEST(TensorView, PartsLieInside) {
  float values[12] = {};
  const TensorView view(values, DType::kF32, {3, 4});
  EXPECT_EQ(view.rows(1, 2).as<float>(), values + 4);
  EXPECT_EQ(view.rows(1, 2).shape(), (Shape{2, 4}));
  EXPECT_EQ(view.columns(1, 2).as<float>(), values + 1);
  EXPECT_EQ(view.columns(1, 2).stride(0), 4);
  EXPECT_FALSE(view.columns(1, 2).contiguous());
}

TEST(TensorView, PartsOfAViewWithoutMemoryHaveNone) {
  const TensorView planned(nullptr, DType::kF32, {4096, 8});
  EXPECT_EQ(planned.rows(2048, 2048).bytes(), nullptr);
  EXPECT_EQ(planned.columns(4, 4).bytes(), nullptr);
  EXPECT_EQ(planned.reshaped({8, 4096}).bytes(), nullptr);
}

}  // namespace
}  // namespace hadal
