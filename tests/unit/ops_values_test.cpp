// Values that the official test data do not pin down: wrapping, division by zero, empty dims, rare types.
#include <gtest/gtest.h>

#include <cmath>

#include "graph/interpret.hpp"
#include "graph/text.hpp"
#include "ops/elementwise_call.hpp"
#include "ops/op_table.hpp"

namespace tenon {
namespace {

Tensor run(const char* text) {
  GraphPtr g = parse_graph(text);
  return interpret(*g, all_ops(), {}).at(0).tensor;
}

std::vector<int64_t> ints(const char* text) { return run(text).to_ints(); }

using I = std::vector<int64_t>;

TEST(OpValues, IntegersWrap) {
  EXPECT_EQ(ints("graph g () => (y) { a = int8[2] {127, -128}  b = int8[2] {1, -1}  y = Add(a, b) }"), I({-128, 127}));
  EXPECT_EQ(ints("graph g () => (y) { a = uint8[1] {200}  b = uint8[1] {2}  y = Mul(a, b) }"), I({144}));
  EXPECT_EQ(ints("graph g () => (y) { a = int64[1] {-9223372036854775808}  y = Neg(a) }"), I({INT64_MIN}));
  EXPECT_EQ(ints("graph g () => (y) { a = int32[2] {2147483647, 1}  y = ReduceSum(a) }"), I({INT32_MIN}));
}

TEST(OpValues, DivisionIsDefined) {
  EXPECT_EQ(ints("graph g () => (y) { a = int32[3] {7, -2147483648, -7}  b = int32[3] {0, -1, 2}  y = Div(a, b) }"),
            I({0, INT32_MIN, -3}));
  EXPECT_EQ(ints("graph g () => (y) { a = int32[3] {7, -7, 5}  b = int32[3] {0, 3, -3}  y = Mod(a, b) }"),
            I({0, 2, -1}));
}

TEST(OpValues, UnsignedNumbersKeepTheirSize) {
  EXPECT_EQ(ints("graph g () => (y) { a = uint64[1] {18446744073709551615}  b = uint64[1] {2}  y = Div(a, b) }"),
            I({INT64_MAX}));
  EXPECT_EQ(ints("graph g () => (y) { a = uint64[2] {18446744073709551615, 1}  y = ArgMax<keepdims=0>(a) }"), I({0}));
}

TEST(OpValues, EmptyDimensions) {
  Tensor sum = run("graph g () => (y) { x = float32[2,0] zeros  a = int64[1] {1}  y = ReduceSum(x, a) }");
  EXPECT_EQ(sum.dims(), Dims({2, 1}));
  EXPECT_EQ(sum.at(1), 0);
  Tensor top = run("graph g () => (y) { x = float32[0] zeros  y = ReduceMax(x) }");
  EXPECT_TRUE(std::isinf(top.at(0)) && top.at(0) < 0);
  Tensor product = run("graph g () => (y) { a = float32[2,0] zeros  b = float32[0,3] zeros  y = MatMul(a, b) }");
  EXPECT_EQ(product.dims(), Dims({2, 3}));
  EXPECT_EQ(product.at(5), 0);
  EXPECT_EQ(run("graph g () => (y) { x = float32[0,4] zeros  w = float32[4,2] zeros  y = MatMul(x, w) }").size(), 0);
}

TEST(OpValues, NanSpreadsThroughExtrema) {
  EXPECT_TRUE(std::isnan(run("graph g () => (y) { a = float32[2] {nan, 1}  y = ReduceMin(a) }").at(0)));
  EXPECT_TRUE(std::isnan(run("graph g () => (y) { a = float32[1] {nan}  y = Relu(a) }").at(0)));
}

TEST(OpValues, ClipWithMaxBelowMinGivesMax) {
  EXPECT_EQ(
      run("graph g () => (y) { x = float32[] {0}  a = float32[] {3}  b = float32[] {2}  y = Clip(x, a, b) }").at(0), 2);
}

TEST(OpValues, GroupedConvolutionByHand) {
  Tensor y =
      run("graph g () => (y) { x = float32[1,2,1,3] {1, 2, 3, 4, 5, 6}  w = float32[2,1,1,2] {1, 10, 100, 1000} "
          "b = float32[2] {0.5, 0}  y = Conv<group=2, pads=[0, 1, 0, 0]>(x, w, b) }");
  ASSERT_EQ(y.dims(), Dims({1, 2, 1, 3}));
  double expected[] = {10.5, 21.5, 32.5, 4000, 5400, 6500};
  for (int i = 0; i < 6; ++i) EXPECT_EQ(y.at(i), expected[i]) << i;
}

TEST(OpValues, PackedElementsMove) {
  EXPECT_EQ(ints("graph g () => (y) { x = int4[3] {-8, 7, 3}  i = int64[3] {2, 0, 1}  y = Gather(x, i) }"),
            I({3, -8, 7}));
}

TEST(OpValues, LoopStopsByCondition) {
  EXPECT_EQ(
      ints("graph g () => (n) { m = int64[] {100}  t = bool[] {1}  z = int64[] {0} "
           "n = Loop<body=graph b (int64[] i, bool[] c, int64[] s) => (k, u) { one = int64[] {1}  u = Add(s, one) "
           "five = int64[] {5}  k = Less(u, five) }>(m, t, z) }"),
      I({5}));
}

TEST(ElementwiseCall, ReadsAttributesAndConstants) {
  GraphPtr g = parse_graph(
      "graph g (float32[2] x) => (a, b, c) { lo = float32[] {-1}  a = Clip(x, lo)  b = Gelu<approximate=\"tanh\">(x) "
      "c = Max(x, a, b) }");
  std::vector<NodeId> order = g->order();
  auto clip = elementwise_call(*g, g->node(order[0]));
  ASSERT_TRUE(clip.has_value());
  EXPECT_EQ(clip->op, EwOp::kClip);
  EXPECT_EQ(clip->p, -1);
  EXPECT_TRUE(std::isinf(clip->q));
  EXPECT_EQ(elementwise_call(*g, g->node(order[1]))->op, EwOp::kGeluTanh);
  EXPECT_FALSE(elementwise_call(*g, g->node(order[2])).has_value());
}

}  // namespace
}  // namespace tenon
