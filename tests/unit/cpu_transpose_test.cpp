// Copies against an odometer loop over elements, with guard zones around the destination.
#include "cpu/transpose.hpp"

#include <gmock/gmock.h>

#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "base/error.hpp"

namespace tenon::cpu {
namespace {

constexpr int64_t kGuard = 128;
constexpr uint8_t kGuardByte = 0xa5;

struct Case {
  std::vector<int64_t> dims, src, dst;  // strides in elements
  int64_t src_start = 0;                // where element [0, 0, ...] is (for negative strides)
};

void check(const Case& c, int size) {
  int64_t src_last = 0, dst_last = 0, total = 1;
  for (size_t d = 0; d < c.dims.size(); ++d) {
    src_last += (c.dims[d] - 1) * std::max<int64_t>(c.src[d], 0);
    dst_last += (c.dims[d] - 1) * c.dst[d];
    total *= c.dims[d];
  }
  std::vector<uint8_t> src((c.src_start + src_last + 1) * size), want((dst_last + 1) * size + 2 * kGuard, kGuardByte);
  std::mt19937 rng(3);
  for (auto& byte : src) byte = static_cast<uint8_t>(rng());
  for (int64_t flat = 0; flat < total; ++flat) {
    int64_t from = c.src_start, to = 0, rest = flat;
    for (size_t d = c.dims.size(); d-- > 0; rest /= c.dims[d]) {
      from += rest % c.dims[d] * c.src[d];
      to += rest % c.dims[d] * c.dst[d];
    }
    std::memcpy(want.data() + kGuard + to * size, src.data() + from * size, size);
  }
  const CopyPlan plan = make_copy(size, c.dims, c.src, c.dst);
  for (int threads = 1; threads <= 3; ++threads) {
    ThreadPool pool(threads);
    std::vector<uint8_t> got(want.size(), kGuardByte);
    run_copy(plan, src.data() + c.src_start * size, got.data() + kGuard, pool);
    ASSERT_EQ(got, want) << "element size " << size << ", " << threads << " threads, rank " << c.dims.size();
  }
}

TEST(Transpose, EveryElementSizeAndOddShapes) {
  const Case cases[] = {{{37, 53}, {1, 37}, {53, 1}},  // plain transpose
                        {{16, 16}, {1, 16}, {16, 1}},
                        {{1, 300}, {1, 1}, {300, 1}},
                        {{130, 3}, {1, 130}, {3, 1}},                                  // NCHW -> NHWC, three channels
                        {{3, 130}, {1, 3}, {130, 1}},                                  // and back
                        {{2, 5, 7, 64}, {2240, 7, 1, 35}, {2240, 448, 64, 1}},         // N H W C from NCHW
                        {{2, 64, 5, 9}, {2880, 1, 576, 64}, {2880, 45, 9, 1}},         // N C H W from NHWC
                        {{3, 4, 5, 6, 7}, {1, 3, 12, 60, 360}, {840, 210, 42, 7, 1}},  // all reversed
                        {{4, 100}, {200, 2}, {100, 1}},                                // every second element
                        {{4, 100}, {100, 1}, {300, 2}},                                // into every second element
                        {{5, 6, 7}, {0, 1, 0}, {42, 7, 1}},                            // expand
                        {{10, 4}, {0, 0}, {4, 1}},
                        {{6, 9}, {9, -1}, {9, 1}, 8},  // flip
                        {{6, 9}, {-9, 1}, {20, 1}, 45},
                        {{70, 80, 3}, {3, 210, 1}, {240, 3, 1}},  // swap with a row of three inside
                        {{300, 129}, {1, 320}, {140, 1}},         // both padded
                        {{}, {}, {}},
                        {{1, 1, 1}, {5, 3, 1}, {1, 1, 1}}};
  for (const Case& c : cases) {
    for (int size : {1, 2, 4, 8}) check(c, size);
  }
}

TEST(Transpose, LargeCopiesAreSplit) {
  check({{1 << 20}, {1}, {1}}, 1);
  check({{700, 512}, {512, 1}, {600, 1}}, 4);
  check({{512, 700}, {1, 512}, {700, 1}}, 4);
}

TEST(Transpose, PermutationsAndEmptyDimensions) {
  const std::vector<int64_t> dims = {2, 3, 4}, perm = {2, 0, 1};
  std::vector<int32_t> src(24), dst(24);
  std::iota(src.begin(), src.end(), 0);
  ThreadPool pool(1);
  run_copy(make_transpose(4, dims, perm), src.data(), dst.data(), pool);
  for (int c = 0; c < 4; ++c) {
    for (int a = 0; a < 2; ++a) {
      for (int b = 0; b < 3; ++b) EXPECT_EQ(dst[c * 6 + a * 3 + b], a * 12 + b * 4 + c);
    }
  }
  const std::vector<int64_t> none = {2, 0, 4}, natural = {0, 4, 1};
  const std::vector<int32_t> before = dst;
  run_copy(make_copy(4, none, natural, natural), src.data(), dst.data(), pool);
  EXPECT_EQ(dst, before);
}

TEST(Transpose, GatherRowsChecksItsIndices) {
  const std::vector<float> table = {1, 2, 3, 4, 5, 6};
  const std::vector<int64_t> index = {2, 0, -1, 1};
  std::vector<float> out(8);
  for (int threads = 1; threads <= 3; ++threads) {
    ThreadPool pool(threads);
    gather_rows(table.data(), 3, 8, index.data(), 4, out.data(), pool);
    EXPECT_THAT(out, testing::ElementsAre(5, 6, 1, 2, 5, 6, 3, 4));
    const int32_t bad[] = {0, 3};
    EXPECT_THROW(gather_rows(table.data(), 3, 8, bad, 2, out.data(), pool), Error);
    const int32_t low[] = {-4};
    EXPECT_THROW(gather_rows(table.data(), 3, 8, low, 1, out.data(), pool), Error);
  }
}

}  // namespace
}  // namespace tenon::cpu
