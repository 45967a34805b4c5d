// Random ops: distributions, and what a seed promises.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "graph/interpret.hpp"
#include "graph/text.hpp"
#include "ops/op_table.hpp"

namespace tenon {
namespace {

Tensor run(const char* text) {
  GraphPtr g = parse_graph(text);
  infer_types(*g, all_ops());
  return interpret(*g, all_ops(), {}).at(0).tensor;
}

struct Moments {
  double mean = 0, variance = 0, low = INFINITY, high = -INFINITY;
};

Moments moments(const Tensor& t) {
  Moments m;
  for (int64_t i = 0; i < t.size(); ++i) {
    double v = t.at(i);
    m.mean += v / static_cast<double>(t.size());
    m.low = std::min(m.low, v);
    m.high = std::max(m.high, v);
  }
  for (int64_t i = 0; i < t.size(); ++i) m.variance += std::pow(t.at(i) - m.mean, 2) / static_cast<double>(t.size());
  return m;
}

TEST(OpRandom, UniformFillsItsRange) {
  Moments m =
      moments(run("graph g () => (y) { y = RandomUniform<seed=7.0, low=-1.0, high=3.0, shape=[100, 1000]>() }"));
  EXPECT_NEAR(m.mean, 1, 0.02);
  EXPECT_NEAR(m.variance, 16.0 / 12, 0.02);
  EXPECT_GE(m.low, -1);
  EXPECT_LE(m.high, 3);
  EXPECT_LT(m.low, -0.99);
  EXPECT_GT(m.high, 2.99);
}

TEST(OpRandom, NormalHasItsMomentsAndTails) {
  Tensor t = run("graph g () => (y) { y = RandomNormal<seed=1.0, mean=2.0, scale=3.0, dtype=11, shape=[100000]>() }");
  EXPECT_EQ(t.dtype(), DType::kFloat64);
  Moments m = moments(t);
  EXPECT_NEAR(m.mean, 2, 0.05);
  EXPECT_NEAR(m.variance, 9, 0.15);
  int64_t within = 0;
  for (int64_t i = 0; i < t.size(); ++i) within += std::fabs(t.at(i) - 2) < 3 ? 1 : 0;
  EXPECT_NEAR(static_cast<double>(within) / 1e5, 0.6827, 0.01);
}

TEST(OpRandom, ASeedRepeatsAndNoSeedDoesNot) {
  const char* seeded = "graph g () => (y) { x = float32[50] zeros  y = RandomNormalLike<seed=3.5>(x) }";
  EXPECT_TRUE(identical(run(seeded), run(seeded)));
  const char* other = "graph g () => (y) { x = float32[50] zeros  y = RandomNormalLike<seed=4.0>(x) }";
  EXPECT_FALSE(identical(run(seeded), run(other)));
  const char* loose = "graph g () => (y) { x = float32[50] zeros  y = RandomUniformLike(x) }";
  EXPECT_FALSE(identical(run(loose), run(loose)));
}

TEST(OpRandom, BernoulliFollowsItsProbabilities) {
  Tensor t =
      run("graph g () => (y) { p = float32[3] {0, 0.3, 1}  s = int64[2] {20000, 3}  x = Expand(p, s)  "
          "y = Bernoulli<seed=2.0, dtype=9>(x) }");
  EXPECT_EQ(t.dtype(), DType::kBool);
  double count[3] = {};
  for (int64_t i = 0; i < t.size(); ++i) count[i % 3] += static_cast<double>(t.int_at(i));
  EXPECT_EQ(count[0], 0);
  EXPECT_NEAR(count[1] / 20000, 0.3, 0.02);
  EXPECT_EQ(count[2], 20000);
}

TEST(OpRandom, MultinomialDrawsByLogProbability) {
  // exp: 1, 2, 5 and, far below, never.
  Tensor t =
      run("graph g () => (y) { x = float32[1,4] {0, 0.6931472, 1.609438, -1000}  y = Multinomial<seed=5.0, "
          "sample_size=80000>(x) }");
  EXPECT_EQ(t.dtype(), DType::kInt32);
  EXPECT_EQ(t.dims(), Dims({1, 80000}));
  std::map<int64_t, double> share;
  for (int64_t v : t.to_ints()) share[v] += 1.0 / 80000;
  EXPECT_NEAR(share[0], 1.0 / 8, 0.01);
  EXPECT_NEAR(share[1], 2.0 / 8, 0.01);
  EXPECT_NEAR(share[2], 5.0 / 8, 0.01);
  EXPECT_EQ(share.count(3), 0u);
}

}  // namespace
}  // namespace tenon
