// Normalizations against the formula in double, with means far from zero.
#include "cpu/norm.hpp"

#include <gmock/gmock.h>

#include <cmath>
#include <random>
#include <vector>

#include "base/error.hpp"
#include "cpu_each_target.hpp"

namespace tenon::cpu {
namespace {

std::vector<float> noise(size_t n, float mean, float deviation, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(mean, deviation);
  std::vector<float> out(n);
  for (auto& v : out) v = normal(rng);
  return out;
}

TEST(Norm, LayerAndRmsRows) {
  for (int64_t size : {1, 7, 16, 31, 64, 257, 1024, 5000}) {
    for (float mean : {0.0f, 100.0f}) {
      for (int affine = 0; affine < 3; ++affine) {
        const int64_t rows = 9, pitch = size + 3;
        const auto x = noise(rows * pitch, mean, 2, 1), scale = noise(size, 1, 1, 2), bias = noise(size, 0, 1, 3);
        RowNorm norm{rows, size, pitch, pitch, affine ? scale.data() : nullptr, affine == 2 ? bias.data() : nullptr,
                     1e-5f};
        for_each_target([&](const char* target) {
          for (int threads = 1; threads <= 3; ++threads) {
            ThreadPool pool(threads);
            std::vector<float> y(x.size(), -9.0f), z(x.size(), -9.0f);
            layer_norm(norm, x.data(), y.data(), pool);
            rms_norm(norm, x.data(), z.data(), pool);
            for (int64_t r = 0; r < rows; ++r) {
              double sum = 0, squares = 0, raw = 0;
              for (int64_t i = 0; i < size; ++i) sum += x[r * pitch + i];
              for (int64_t i = 0; i < size; ++i) {
                squares += std::pow(x[r * pitch + i] - sum / size, 2.0);
                raw += std::pow(double(x[r * pitch + i]), 2.0);
              }
              for (int64_t i = 0; i < pitch; ++i) {
                const int64_t at = r * pitch + i;
                if (i >= size) {
                  ASSERT_EQ(y[at], -9.0f);
                  continue;
                }
                const double s = affine ? scale[i] : 1, b = affine == 2 ? bias[i] : 0;
                const double tolerance = (mean == 0 ? 1e-5 : 1e-4) * (std::fabs(s) + 1);
                if (size > 1) {
                  ASSERT_NEAR(y[at], (x[at] - sum / size) / std::sqrt(squares / size + 1e-5) * s + b, tolerance)
                      << size << " on " << target;
                }
                ASSERT_NEAR(z[at], x[at] / std::sqrt(raw / size + 1e-5) * s + b, tolerance) << size << " on " << target;
              }
            }
          }
        });
      }
    }
  }
}

struct GroupCase {
  int64_t batch, channels, space, groups;
};

void check_groups(const GroupCase& c, bool channels_last) {
  const auto x = noise(c.batch * c.channels * c.space, 50, 3, 4);
  const auto scale = noise(c.channels, 1, 1, 5), bias = noise(c.channels, 0, 1, 6);
  GroupNorm g;
  g.batch = c.batch, g.channels = c.channels, g.space = c.space, g.groups = c.groups;
  g.src_batch = g.dst_batch = c.channels * c.space;
  g.src_channel = g.dst_channel = channels_last ? 1 : c.space;
  g.src_space = g.dst_space = channels_last ? c.channels : 1;
  g.scale = scale.data(), g.bias = bias.data();
  const int64_t per_group = c.channels / c.groups;
  for_each_target([&](const char* target) {
    for (int threads = 1; threads <= 3; ++threads) {
      ThreadPool pool(threads);
      std::vector<float> y(x.size());
      group_norm(g, x.data(), y.data(), pool);
      for (int64_t n = 0; n < c.batch; ++n) {
        for (int64_t group = 0; group < c.groups; ++group) {
          const auto at = [&](int64_t k) {
            return n * g.src_batch + (group * per_group + k / c.space) * g.src_channel + k % c.space * g.src_space;
          };
          const int64_t count = per_group * c.space;
          double sum = 0, squares = 0;
          for (int64_t k = 0; k < count; ++k) sum += x[at(k)];
          for (int64_t k = 0; k < count; ++k) squares += std::pow(x[at(k)] - sum / count, 2.0);
          for (int64_t k = 0; k < count; ++k) {
            const int64_t channel = group * per_group + k / c.space;
            const double factor = 1 / std::sqrt(squares / count + 1e-5);
            const double want = (x[at(k)] - sum / count) * factor * scale[channel] + bias[channel];
            // The mean itself is rounded to float: half an ulp of 50 is 2e-6.
            ASSERT_NEAR(y[at(k)], want,
                        (2e-5 + 4e-6 * factor) * (1 + std::fabs(want)) * (1 + std::fabs(scale[channel])))
                << "channels " << c.channels << " groups " << c.groups << " last " << channels_last << " on " << target;
          }
        }
      }
    }
  });
}

TEST(Norm, GroupsAndInstancesInBothLayouts) {
  const GroupCase cases[] = {{2, 8, 35, 2}, {1, 33, 49, 33},   {2, 300, 17, 300}, {1, 512, 9, 4},
                             {3, 6, 64, 1}, {1, 64, 1100, 32}, {2, 96, 5, 3},     {1, 520, 11, 260}};
  for (const auto& c : cases) {
    check_groups(c, false);
    check_groups(c, true);
  }
}

TEST(Norm, SaysWhatItCannotDo) {
  GroupNorm g;
  g.channels = 7, g.groups = 2;
  ThreadPool pool(1);
  float x = 0;
  EXPECT_THROW(group_norm(g, &x, &x, pool), Error);
  g.groups = 1, g.space = 4, g.src_channel = 8, g.dst_channel = 8, g.src_space = 2, g.dst_space = 2;
  EXPECT_THROW(group_norm(g, &x, &x, pool), Error);
}

}  // namespace
}  // namespace tenon::cpu
