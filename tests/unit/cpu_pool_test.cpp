// Pooling against loops over windows in double, both layouts, with guard zones.
#include "cpu/pool.hpp"

#include <gmock/gmock.h>

#include <cmath>
#include <random>
#include <vector>

#include "cpu_each_target.hpp"

namespace tenon::cpu {
namespace {

constexpr int64_t kGuard = 80;

struct Case {
  int64_t batch, channels, h, w, kernel_h, kernel_w, stride, pad_top, pad_left, pad_bottom, pad_right, dilation;
  bool ceil_mode, include_pad;
};

Pool2D shape_of(const Case& c, bool last) {
  Pool2D p;
  p.batch = c.batch, p.channels = c.channels, p.in_h = c.h, p.in_w = c.w;
  p.kernel_h = c.kernel_h, p.kernel_w = c.kernel_w, p.stride_h = p.stride_w = c.stride;
  p.pad_top = c.pad_top, p.pad_left = c.pad_left, p.pad_bottom = c.pad_bottom, p.pad_right = c.pad_right;
  p.dilation_h = p.dilation_w = c.dilation;
  p.count_include_pad = c.include_pad;
  p.out_h = pool_output_size(c.h, c.kernel_h, c.stride, c.pad_top, c.pad_bottom, c.dilation, c.ceil_mode);
  p.out_w = pool_output_size(c.w, c.kernel_w, c.stride, c.pad_left, c.pad_right, c.dilation, c.ceil_mode);
  p.src_n = c.channels * c.h * c.w, p.dst_n = c.channels * p.out_h * p.out_w;
  p.src_c = last ? 1 : c.h * c.w, p.dst_c = last ? 1 : p.out_h * p.out_w;
  p.src_h = last ? c.w * c.channels : c.w, p.dst_h = last ? p.out_w * c.channels : p.out_w;
  p.src_w = last ? c.channels : 1, p.dst_w = last ? c.channels : 1;
  return p;
}

/// maximum: what the largest cell is; else the average. `empty`: for windows without a cell.
template <class T>
double naive(const Pool2D& p, const std::vector<T>& x, int64_t n, int64_t c, int64_t oy, int64_t ox, bool maximum,
             double empty) {
  double largest = empty, sum = 0;
  int64_t cells = 0, padded = 0;
  for (int64_t i = 0; i < p.kernel_h; ++i) {
    for (int64_t j = 0; j < p.kernel_w; ++j) {
      const int64_t y = oy * p.stride_h - p.pad_top + i * p.dilation_h,
                    xx = ox * p.stride_w - p.pad_left + j * p.dilation_w;
      if (y < p.in_h + p.pad_bottom && xx < p.in_w + p.pad_right) ++padded;
      if (y < 0 || xx < 0 || y >= p.in_h || xx >= p.in_w) continue;
      const double v = x[n * p.src_n + c * p.src_c + y * p.src_h + xx * p.src_w];
      sum += v;
      ++cells;
      if (v > largest || std::isnan(v)) largest = v;
      if (std::isnan(v)) return v;
    }
  }
  if (maximum) return largest;
  const int64_t count = p.count_include_pad ? padded : cells;
  return count ? sum / count : 0;
}

template <class T, class Run>
void check(const Case& c, bool maximum, double empty, Run run) {
  for (bool last : {false, true}) {
    const Pool2D p = shape_of(c, last);
    std::vector<T> x(c.batch * p.src_n);
    std::mt19937 rng(8);
    for (auto& v : x) v = static_cast<T>(static_cast<int>(rng() % 251) - (std::is_signed_v<T> ? 125 : 0));
    if constexpr (std::is_floating_point_v<T>) {
      for (auto& v : x) v *= 0.37f;
      x[x.size() / 3] = 1e6f;
      if (maximum) x[x.size() / 2] = NAN, x[0] = -INFINITY;
    }
    for_each_target([&](const char* target) {
      for (int threads = 1; threads <= 3; ++threads) {
        ThreadPool pool(threads);
        std::vector<T> y(c.batch * p.dst_n + 2 * kGuard, T(99));
        run(p, x.data(), y.data() + kGuard, pool);
        for (int64_t i = 0; i < kGuard; ++i)
          ASSERT_TRUE(y[i] == T(99) && y[y.size() - 1 - i] == T(99)) << "guard " << i;
        for (int64_t n = 0; n < p.batch; ++n) {
          for (int64_t ch = 0; ch < p.channels; ++ch) {
            for (int64_t oy = 0; oy < p.out_h; ++oy) {
              for (int64_t ox = 0; ox < p.out_w; ++ox) {
                const double want = naive(p, x, n, ch, oy, ox, maximum, empty);
                const double got = y[kGuard + n * p.dst_n + ch * p.dst_c + oy * p.dst_h + ox * p.dst_w];
                if (std::isnan(want) || std::isinf(want)) {
                  ASSERT_TRUE(std::isnan(want) ? std::isnan(got) : got == want) << target << " " << got;
                } else {
                  ASSERT_NEAR(got, want, 1e-5 * std::max(1.0, std::fabs(want)) + (maximum ? 0 : 0.02))
                      << "channels " << c.channels << " at " << oy << ", " << ox << " last " << last << " on "
                      << target;
                }
              }
            }
          }
        }
      }
    });
  }
}

const Case kCases[] = {
    {2, 3, 11, 13, 3, 3, 2, 1, 1, 1, 1, 1, false, false},  {1, 64, 14, 14, 2, 2, 2, 0, 0, 0, 0, 1, false, false},
    {1, 37, 9, 9, 5, 5, 1, 2, 2, 2, 2, 1, false, true},    {1, 100, 7, 8, 3, 3, 2, 0, 0, 1, 1, 1, true, true},
    {1, 5, 10, 70, 3, 3, 1, 2, 2, 2, 2, 2, false, false},  {1, 17, 6, 6, 6, 6, 1, 0, 0, 0, 0, 1, false, false},
    {3, 1, 5, 33, 1, 4, 3, 0, 1, 0, 3, 1, true, true},     {1, 130, 4, 5, 3, 2, 1, 1, 0, 1, 1, 1, false, true},
    {1, 2, 3, 5000, 1, 3, 2, 0, 1, 0, 1, 1, false, false}, {1, 4, 1, 6, 1, 3, 3, 0, 0, 0, 0, 3, true, false}};

TEST(Pool, MaximumOfFloats) {
  for (const Case& c : kCases) {
    check<float>(c, true, -INFINITY,
                 [](const Pool2D& p, const float* x, float* y, ThreadPool& pool) { max_pool(p, x, y, pool); });
  }
}

TEST(Pool, MaximumOfBytes) {
  for (const Case& c : kCases) {
    check<int8_t>(c, true, -128,
                  [](const Pool2D& p, const int8_t* x, int8_t* y, ThreadPool& pool) { max_pool(p, x, y, pool); });
    check<uint8_t>(c, true, 0,
                   [](const Pool2D& p, const uint8_t* x, uint8_t* y, ThreadPool& pool) { max_pool(p, x, y, pool); });
  }
}

TEST(Pool, Averages) {
  for (const Case& c : kCases) {
    check<float>(c, false, 0,
                 [](const Pool2D& p, const float* x, float* y, ThreadPool& pool) { average_pool(p, x, y, pool); });
  }
}

TEST(Pool, OutputSizes) {
  EXPECT_EQ(pool_output_size(112, 3, 2, 1, 1, 1, false), 56);
  EXPECT_EQ(pool_output_size(4, 3, 2, 0, 0, 1, true), 2);
  EXPECT_EQ(pool_output_size(2, 1, 2, 0, 0, 1, true), 1);  // the second window would start past the end
  EXPECT_EQ(pool_output_size(2, 3, 1, 0, 0, 1, false), 0);
}

}  // namespace
}  // namespace tenon::cpu
