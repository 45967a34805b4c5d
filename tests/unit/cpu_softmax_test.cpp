// Softmax and log-softmax against the formula in double.
#include "cpu/softmax.hpp"

#include <gmock/gmock.h>

#include <cmath>
#include <random>
#include <vector>

#include "cpu_each_target.hpp"

namespace tenon::cpu {
namespace {

struct Case {
  SoftmaxShape shape;
  const char* what;
};

/// The formula, element by element. Returns NaN where it has a NaN.
std::vector<double> naive(const SoftmaxShape& s, const std::vector<float>& x, bool logarithm, size_t size) {
  std::vector<double> y(size, -7.0);
  for (int64_t o = 0; o < s.outer; ++o) {
    for (int64_t i = 0; i < s.inner; ++i) {
      double largest = -INFINITY, sum = 0;
      const auto at = [&](int64_t k) { return double(x[o * s.src_outer + k * s.src_axis + i * s.src_inner]); };
      for (int64_t k = 0; k < s.axis; ++k) largest = at(k) > largest || std::isnan(at(k)) ? at(k) : largest;
      for (int64_t k = 0; k < s.axis; ++k) sum += std::exp(at(k) - largest);
      for (int64_t k = 0; k < s.axis; ++k) {
        const double v = at(k) - largest;
        y[o * s.dst_outer + k * s.dst_axis + i * s.dst_inner] = logarithm ? v - std::log(sum) : std::exp(v) / sum;
      }
    }
  }
  return y;
}

void check(const SoftmaxShape& s, size_t src_size, size_t dst_size, float scale, const std::string& what) {
  std::mt19937 rng(5);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> x(src_size);
  for (auto& v : x) v = normal(rng);
  if (src_size > 20) x[3] = 90.0f, x[7] = -1000.0f, x[src_size / 2] = -INFINITY;
  for (bool logarithm : {false, true}) {
    const auto want = naive(s, x, logarithm, dst_size);
    for_each_target([&](const char* target) {
      for (int threads = 1; threads <= 3; ++threads) {
        ThreadPool pool(threads);
        std::vector<float> y(dst_size, -7.0f);
        (logarithm ? log_softmax : softmax)(s, x.data(), y.data(), pool);
        for (size_t i = 0; i < dst_size; ++i) {
          if (std::isinf(want[i])) {
            ASSERT_EQ(y[i], want[i]);
          } else {
            ASSERT_NEAR(y[i], want[i], 1e-5 * std::max(logarithm ? 1.0 : 0.0, std::fabs(want[i])) + 1e-37)
                << what << " element " << i << " log " << logarithm << " on " << target << ", " << threads
                << " threads";
          }
        }
      }
    });
  }
}

TEST(Softmax, RowsColumnsAndViews) {
  for (int64_t axis : {1, 2, 15, 16, 17, 33, 100, 1000}) {
    check(SoftmaxShape::dense(13, axis, 1), 13 * axis, 13 * axis, 3, "rows of " + std::to_string(axis));
  }
  for (int64_t inner : {2, 15, 16, 17, 100}) {
    check(SoftmaxShape::dense(3, 21, inner), 3 * 21 * inner, 3 * 21 * inner, 3, "columns " + std::to_string(inner));
  }
  check({4, 30, 5, 300, 2, 60, 150, 5, 1}, 1200, 600, 1, "every second element");
  check({4, 30, 1, 40, 1, 1, 32, 1, 1}, 4 * 40, 4 * 32, 1, "rows with gaps");
  check(SoftmaxShape::dense(1, 64, 6400), 64 * 6400, 64 * 6400, 20, "many columns");
  check(SoftmaxShape::dense(400, 400, 1), 160000, 160000, 20, "many rows");
}

TEST(Softmax, SpecialRowsFollowTheFormula) {
  for_each_target([&](const char* target) {
    ThreadPool pool(1);
    for (float bad : {NAN, INFINITY}) {
      std::vector<float> x(40, 1.0f), y(40);
      x[29] = bad;
      softmax(SoftmaxShape::dense(1, 40, 1), x.data(), y.data(), pool);
      EXPECT_TRUE(std::isnan(y[29])) << bad << " on " << target;
      softmax(SoftmaxShape::dense(1, 2, 20), x.data(), y.data(), pool);
      EXPECT_TRUE(std::isnan(y[29])) << bad << " on " << target;
      EXPECT_EQ(y[3], 0.5f) << target;
    }
    std::vector<float> x(37, -INFINITY), y(37);
    softmax(SoftmaxShape::dense(1, 37, 1), x.data(), y.data(), pool);
    for (float v : y) EXPECT_TRUE(std::isnan(v)) << target;
    std::vector<float> in_place = {1000, 1000, 999, -1000};
    softmax(SoftmaxShape::dense(1, 4, 1), in_place.data(), in_place.data(), pool);
    EXPECT_NEAR(in_place[0], 1 / (2 + std::exp(-1.0)), 1e-6) << target;
  });
}

}  // namespace
}  // namespace tenon::cpu
