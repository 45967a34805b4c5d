#include "cpu/gemm.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>

#include "base/error.hpp"
#include "base/thread_pool.hpp"
#include "cpu_kernel_testing.hpp"

namespace tenon::cpu {
namespace {

struct Case {
  int64_t m, n, k;
};

const Case kCases[] = {{1, 1, 1},     {1, 33, 17},    {1, 100, 1030}, {2, 5, 3},    {3, 64, 64},  {4, 48, 100},
                       {5, 16, 31},   {7, 24, 40},    {8, 31, 5},     {13, 17, 19}, {14, 32, 64}, {15, 33, 65},
                       {28, 96, 7},   {29, 1, 600},   {50, 70, 0},    {0, 5, 3},    {4, 0, 2},    {64, 80, 1},
                       {33, 70, 513}, {30, 40, 1100}, {300, 9, 27}};

double activate(const Epilogue& e, double v) {
  if (e.act == Epilogue::kRelu) return std::max(0.0, v);
  if (e.act == Epilogue::kClip) return std::min<double>(e.hi, std::max<double>(e.lo, v));
  return v;
}

struct PostCheck {
  std::atomic<int64_t> covered{0};
  static void negate(const void* ctx, float* data, int64_t row_begin, int64_t rows, int64_t ld, int64_t col_begin,
                     int64_t cols) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        data[r * ld + c] = -data[r * ld + c] + static_cast<float>((row_begin + r) % 5 + (col_begin + c) % 3);
      }
    }
    static_cast<PostCheck*>(const_cast<void*>(ctx))->covered.fetch_add(rows * cols);
  }
};

void check_gemm(const Case& s, int threads, Epilogue epilogue, bool with_bias, bool with_post, bool accumulate,
                bool transposed) {
  ThreadPool pool(threads);
  const int64_t lda = s.k + 3, ldc = s.n + 5;
  Floats a(s.m * lda), b(std::max<int64_t>(1, s.k * s.n)), bias(s.n), c(s.m * ldc);
  fill_random(a, 1);
  fill_random(b, 2);
  fill_random(bias, 3);
  fill_random(c, 4);
  std::vector<float> before(c.data(), c.data() + c.size());
  const int64_t row_stride = transposed ? 1 : s.n, col_stride = transposed ? s.k : 1;
  Floats packed(packed_b_floats(s.k, s.n));
  pack_b(b.data(), row_stride, col_stride, s.k, s.n, packed.data(), 0.5f);
  PostCheck post;
  epilogue.bias = with_bias ? bias.data() : nullptr;
  if (with_post) epilogue.post = {&PostCheck::negate, &post};
  gemm(pool, GemmArgs{s.m, s.n, s.k, a.data(), lda, packed.data(), c.data(), ldc, accumulate, epilogue});
  ASSERT_TRUE(c.intact() && packed.intact());
  ASSERT_EQ(post.covered.load(), with_post ? s.m * s.n : 0);
  for (int64_t i = 0; i < s.m; ++i) {
    for (int64_t j = 0; j < ldc; ++j) {
      if (j >= s.n) {
        ASSERT_EQ(c[i * ldc + j], before[i * ldc + j]) << "written beyond the columns";
        continue;
      }
      double sum = 0;
      for (int64_t x = 0; x < s.k; ++x) sum += 0.5 * a[i * lda + x] * b[x * row_stride + j * col_stride];
      if (with_bias) sum += bias[j];
      if (accumulate) sum += before[i * ldc + j];
      sum = activate(epilogue, sum);
      if (with_post) sum = -sum + static_cast<double>(i % 5 + j % 3);
      ASSERT_NEAR(c[i * ldc + j], sum, tolerance(s.k)) << i << ", " << j << " of " << s.m << "x" << s.n << "x" << s.k;
    }
  }
}

TEST(CpuGemm, MatchesNaive) {
  for_each_isa([](const std::string&) {
    for (const Case& s : kCases) {
      for (int threads : {1, 2, 3}) {
        check_gemm(s, threads, Epilogue{}, false, false, false, threads == 2);
        check_gemm(s, threads, Epilogue{.act = Epilogue::kRelu}, true, true, false, false);
        check_gemm(s, threads, Epilogue{.act = Epilogue::kClip, .lo = -0.25f, .hi = 0.5f}, true, false, true, true);
      }
    }
  });
}

TEST(CpuGemm, NanAndInfinityPassThroughActivation) {
  for_each_isa([](const std::string&) {
    ThreadPool pool(1);
    Floats a(2), b(1), c(2), packed(packed_b_floats(1, 1));
    a[0] = std::numeric_limits<float>::quiet_NaN();
    a[1] = std::numeric_limits<float>::infinity();
    b[0] = 1;
    pack_b(b.data(), 1, 1, 1, 1, packed.data());
    gemm(pool, GemmArgs{2, 1, 1, a.data(), 1, packed.data(), c.data(), 1, false, Epilogue{.act = Epilogue::kRelu}});
    EXPECT_TRUE(std::isnan(c[0]));
    EXPECT_EQ(c[1], std::numeric_limits<float>::infinity());
  });
}

void check_batch(int64_t batch, const Case& s, int threads, bool shared_b, bool transposed) {
  ThreadPool pool(threads);
  Floats a(batch * s.m * s.k + 1), b((shared_b ? 1 : batch) * s.k * s.n + 1), c(batch * s.m * s.n);
  fill_random(a, 5);
  fill_random(b, 6);
  PostCheck post;
  BatchGemmArgs args;
  args.batch = batch;
  args.m = s.m, args.n = s.n, args.k = s.k;
  args.a = a.data(), args.lda = s.k, args.a_batch = s.m * s.k;
  args.b = b.data();
  args.b_row = transposed ? 1 : s.n, args.b_col = transposed ? s.k : 1, args.b_batch = shared_b ? 0 : s.k * s.n;
  args.c = c.data(), args.ldc = s.n, args.c_batch = s.m * s.n;
  args.scale = 0.125f;
  Floats bias(s.n);
  fill_random(bias, 7);
  args.epilogue = {bias.data(), Epilogue::kClip, -0.5f, 0.5f, {&PostCheck::negate, &post}};
  args.accumulate = transposed;
  fill_random(c, 8);
  std::vector<float> before(c.data(), c.data() + c.size());
  Floats workspace(batch_gemm_workspace_floats(args, threads));
  batch_gemm(pool, args, workspace.data());
  ASSERT_TRUE(c.intact() && workspace.intact());
  ASSERT_EQ(post.covered.load(), batch * s.m * s.n);
  for (int64_t i = 0; i < batch * s.m; ++i) {
    for (int64_t j = 0; j < s.n; ++j) {
      double sum = 0;
      for (int64_t x = 0; x < s.k; ++x) {
        sum += 0.125 * a[i * s.k + x] * b[i / s.m * args.b_batch + x * args.b_row + j * args.b_col];
      }
      sum += bias[j] + (args.accumulate ? before[i * s.n + j] : 0.0f);
      sum = static_cast<double>(i % 5 + j % 3) - activate(args.epilogue, sum);
      ASSERT_NEAR(c[i * s.n + j], sum, tolerance(s.k));
    }
  }
}

TEST(CpuGemm, BatchMatchesNaive) {
  for_each_isa([](const std::string&) {
    for (const Case& s : kCases) {
      for (int threads : {1, 3}) {
        check_batch(2, s, threads, false, threads == 1);
        check_batch(3, s, threads, true, threads == 3);
      }
    }
  });
}

TEST(CpuIsa, CapIsHonouredAndNamed) {
  const std::string best = isa_name();
  for (const std::string& tier : isa_tiers()) {
    set_isa_cap(tier);
    EXPECT_EQ(isa_name(), tier);
    EXPECT_NE(layout_id(), 0u);
    EXPECT_EQ(vector_lanes(), tier == "avx512" ? 16 : tier == "avx2" ? 8 : 4);
    set_isa_cap("");
  }
  EXPECT_EQ(isa_name(), best);
  EXPECT_THROW(set_isa_cap("pentium"), Error);
}

}  // namespace
}  // namespace tenon::cpu
