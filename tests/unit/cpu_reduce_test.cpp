// Reductions against loops in double over every combination of axes.
#include "cpu/reduce.hpp"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "base/error.hpp"
#include "cpu_each_target.hpp"

namespace tenon::cpu {
namespace {

const ReduceOp kOps[] = {ReduceOp::kSum,    ReduceOp::kMean,     ReduceOp::kMax, ReduceOp::kMin,
                         ReduceOp::kProd,   ReduceOp::kL1,       ReduceOp::kL2,  ReduceOp::kSumSquare,
                         ReduceOp::kLogSum, ReduceOp::kLogSumExp};

double naive(ReduceOp op, const std::vector<double>& v) {
  double sum = 0, product = 1, absolute = 0, squares = 0, lo = INFINITY, hi = -INFINITY, exps = 0;
  for (double x : v) {
    sum += x, product *= x, absolute += std::fabs(x), squares += x * x;
    lo = x < lo || std::isnan(x) ? x : lo, hi = x > hi || std::isnan(x) ? x : hi;
  }
  for (double x : v) exps += std::exp(x - hi);
  switch (op) {
    case ReduceOp::kSum: return sum;
    case ReduceOp::kMean: return sum / static_cast<double>(v.size());
    case ReduceOp::kMax: return hi;
    case ReduceOp::kMin: return lo;
    case ReduceOp::kProd: return product;
    case ReduceOp::kL1: return absolute;
    case ReduceOp::kL2: return std::sqrt(squares);
    case ReduceOp::kSumSquare: return squares;
    case ReduceOp::kLogSum: return std::log(sum);
    case ReduceOp::kLogSumExp: return hi + std::log(exps);
  }
  return 0;
}

struct Region {
  std::vector<int64_t> dims, src;  // strides
};

/// For each kept index (row-major over kept dimensions), the flat source offsets it reduces.
std::vector<std::vector<int64_t>> groups_of(const Region& r, const std::vector<bool>& reduce) {
  int64_t total = 1, kept = 1;
  for (size_t d = 0; d < r.dims.size(); ++d) {
    total *= r.dims[d];
    if (!reduce[d]) kept *= r.dims[d];
  }
  std::vector<std::vector<int64_t>> out(kept);
  for (int64_t flat = 0; flat < total; ++flat) {
    int64_t rest = flat, offset = 0, at = 0, step = 1;
    for (size_t d = r.dims.size(); d-- > 0; rest /= r.dims[d]) {
      offset += rest % r.dims[d] * r.src[d];
      if (!reduce[d]) at += rest % r.dims[d] * step, step *= r.dims[d];
    }
    out[at].push_back(offset);
  }
  return out;
}

ReducePlan plan_of(ReduceOp op, const Region& r, const std::vector<bool>& reduce) {
  std::vector<int64_t> dst(r.dims.size(), 0);
  int64_t step = 1;
  std::vector<uint8_t> flags(reduce.begin(), reduce.end());
  for (size_t d = r.dims.size(); d-- > 0;) {
    if (!reduce[d]) dst[d] = step, step *= r.dims[d];
  }
  return make_reduce(op, r.dims, r.src, dst, std::span(reinterpret_cast<const bool*>(flags.data()), flags.size()));
}

const Region kRegions[] = {{{3, 5, 7, 11}, {385, 77, 11, 1}},
                           {{2, 4, 5, 300}, {6000, 1500, 300, 1}},
                           {{2, 37, 9, 3}, {999, 1, 111, 37}},
                           {{40, 33}, {66, 2}},
                           {{1, 2100}, {2100, 1}},
                           {{600, 19}, {19, 1}}};

TEST(Reduce, EveryOpOverEveryAxis) {
  for (const Region& r : kRegions) {
    int64_t last = 0;
    for (size_t d = 0; d < r.dims.size(); ++d) last += (r.dims[d] - 1) * r.src[d];
    std::mt19937 rng(11);
    std::uniform_real_distribution<float> uniform(-0.9f, 1.6f);
    std::vector<float> x(last + 1);
    for (auto& v : x) v = uniform(rng);
    x[last / 2] = 60;
    for (unsigned mask = 0; mask < (1u << r.dims.size()); ++mask) {
      std::vector<bool> reduce;
      for (size_t d = 0; d < r.dims.size(); ++d) reduce.push_back(mask >> d & 1);
      const auto groups = groups_of(r, reduce);
      for (ReduceOp op : kOps) {
        const ReducePlan plan = plan_of(op, r, reduce);
        for_each_target([&](const char* target) {
          for (int threads = 1; threads <= 3; threads += 2) {
            ThreadPool pool(threads);
            std::vector<float> y(groups.size() + 16, -77.0f);
            run_reduce(plan, x.data(), y.data(), pool);
            for (size_t i = groups.size(); i < y.size(); ++i) ASSERT_EQ(y[i], -77.0f);
            for (size_t i = 0; i < groups.size(); ++i) {
              std::vector<double> v;
              double absolute = 0;
              for (int64_t o : groups[i]) v.push_back(x[o]), absolute += std::fabs(x[o]);
              const double want = naive(op, v);
              if (std::isnan(want)) {  // the logarithm of a negative sum
                ASSERT_TRUE(std::isnan(y[i]));
                continue;
              }
              if (op == ReduceOp::kLogSum && std::fabs(want) > 3) continue;  // ill-conditioned
              double tolerance = 1e-6 * std::max({std::fabs(want), op == ReduceOp::kSum ? absolute : 0.0, 1e-3});
              if (op == ReduceOp::kLogSum) tolerance = 1e-4 * (1 + absolute);
              if (op == ReduceOp::kLogSumExp) tolerance = 1e-5;
              if (op == ReduceOp::kProd) tolerance = 1e-4 * std::fabs(want) + 1e-30;
              if (op == ReduceOp::kMean) tolerance = 1e-6 * absolute / static_cast<double>(v.size());
              ASSERT_NEAR(y[i], want, tolerance) << "op " << int(op) << " mask " << mask << " on " << target;
            }
          }
        });
      }
    }
  }
}

TEST(Reduce, EmptySpecialAndLongInputs) {
  for_each_target([&](const char* target) {
    ThreadPool pool(1);
    float y = 5;
    const Region none = {{0}, {1}};
    run_reduce(plan_of(ReduceOp::kSum, none, {true}), nullptr, &y, pool);
    EXPECT_EQ(y, 0.0f);
    run_reduce(plan_of(ReduceOp::kMax, none, {true}), static_cast<const float*>(nullptr), &y, pool);
    EXPECT_EQ(y, -INFINITY);
    std::vector<float> x(70, 1.0f);
    const Region row = {{70}, {1}}, pair = {{2, 35}, {35, 1}};
    x[50] = NAN;
    for (ReduceOp op : {ReduceOp::kMax, ReduceOp::kMin, ReduceOp::kSum}) {
      run_reduce(plan_of(op, row, {true}), x.data(), &y, pool);
      EXPECT_TRUE(std::isnan(y)) << target;
    }
    std::vector<float> columns(35);
    run_reduce(plan_of(ReduceOp::kMin, pair, {true, false}), x.data(), columns.data(), pool);
    EXPECT_TRUE(std::isnan(columns[15]) && columns[14] == 1) << target;
    x.assign(70, -INFINITY);
    run_reduce(plan_of(ReduceOp::kLogSumExp, row, {true}), x.data(), &y, pool);
    EXPECT_EQ(y, -INFINITY) << target;
    x[3] = INFINITY;
    run_reduce(plan_of(ReduceOp::kLogSumExp, row, {true}), x.data(), &y, pool);
    EXPECT_EQ(y, INFINITY) << target;
    std::vector<float> large(1 << 20, 0.1f);  // one running float would be off by thousands
    run_reduce(plan_of(ReduceOp::kSum, {{1 << 20}, {1}}, {true}), large.data(), &y, pool);
    EXPECT_NEAR(y, (1 << 20) * double(0.1f), 0.3) << target;
    std::vector<float> two(2);
    run_reduce(plan_of(ReduceOp::kSum, {{1 << 19, 2}, {2, 1}}, {true, false}), large.data(), two.data(), pool);
    EXPECT_NEAR(two[1], (1 << 19) * double(0.1f), 0.3) << target;
  });
}

TEST(Reduce, Integers) {
  const std::vector<int64_t> x = {1, -2, 3, 4, INT64_MAX, 1};
  std::vector<int64_t> y(2), z(3);
  ThreadPool pool(2);
  const Region r = {{2, 3}, {3, 1}};
  run_reduce(plan_of(ReduceOp::kSum, r, {false, true}), x.data(), y.data(), pool);
  EXPECT_THAT(y, testing::ElementsAre(2, INT64_MIN + 4));
  run_reduce(plan_of(ReduceOp::kMax, r, {true, false}), x.data(), z.data(), pool);
  EXPECT_THAT(z, testing::ElementsAre(4, INT64_MAX, 3));
  const std::vector<int32_t> small = {7, -7, 2, 9, 9, 8};
  std::vector<int32_t> mean(2);
  run_reduce(plan_of(ReduceOp::kMean, r, {false, true}), small.data(), mean.data(), pool);
  EXPECT_THAT(mean, testing::ElementsAre(0, 8));
  EXPECT_THROW(run_reduce(plan_of(ReduceOp::kL2, r, {false, true}), small.data(), mean.data(), pool), Error);
}

TEST(Reduce, ArgmaxAndArgminInEveryLayout) {
  std::mt19937 rng(12);
  const int64_t outer = 3, axis = 41, inner = 19;
  std::vector<float> x(outer * axis * inner);
  for (auto& v : x) v = static_cast<float>(rng() % 9);  // many equals
  x[200] = NAN, x[201 + 19] = NAN, x[201 + 38] = NAN;
  for (int layout = 0; layout < 3; ++layout) {
    for (bool largest : {true, false}) {
      for (bool last : {false, true}) {
        ArgReduce a;
        a.largest = largest, a.select_last = last, a.outer = outer, a.axis = axis, a.inner = inner;
        if (layout == 0) a.src_outer = axis * inner, a.src_axis = inner, a.src_inner = 1;
        if (layout == 1) a.src_outer = axis * inner, a.src_axis = 1, a.src_inner = axis;
        if (layout == 2) a.src_outer = 1, a.src_axis = outer, a.src_inner = outer * axis;
        a.dst_outer = inner, a.dst_inner = 1;
        for_each_target([&](const char* target) {
          for (int threads = 1; threads <= 3; ++threads) {
            ThreadPool pool(threads);
            std::vector<int64_t> y(outer * inner, -1);
            run_arg_reduce(a, x.data(), y.data(), pool);
            for (int64_t o = 0; o < outer; ++o) {
              for (int64_t i = 0; i < inner; ++i) {
                int64_t want = 0;
                const auto key = [&](int64_t k) {
                  const float v = x[o * a.src_outer + k * a.src_axis + i * a.src_inner];
                  return std::isnan(v) ? 1e30f : largest ? v : -v;
                };
                for (int64_t k = 1; k < axis; ++k) {
                  if (key(k) > key(want) || (last && key(k) == key(want))) want = k;
                }
                ASSERT_EQ(y[o * inner + i], want) << "layout " << layout << " last " << last << " on " << target;
              }
            }
          }
        });
      }
    }
  }
}

TEST(Reduce, DynamicQuantizationFollowsOnnx) {
  // The values of the example in ONNX's documentation of DynamicQuantizeLinear.
  const std::vector<float> x = {0, 2, -3, -2.5f, 1.34f, 0.5f};
  for_each_target([&](const char* target) {
    ThreadPool pool(2);
    std::vector<uint8_t> y(6);
    float scale = 0;
    uint8_t zero = 0;
    dynamic_quantize(x.data(), 6, y.data(), &scale, &zero, pool);
    EXPECT_NEAR(scale, 0.0196078438, 1e-9) << target;
    EXPECT_EQ(zero, 153) << target;
    EXPECT_THAT(y, testing::ElementsAre(153, 255, 0, 26, 221, 179)) << target;
    const std::vector<float> zeros(100, 0.0f);
    std::vector<uint8_t> quantized(100, 9);
    dynamic_quantize(zeros.data(), 100, quantized.data(), &scale, &zero, pool);
    EXPECT_THAT(quantized, testing::Each(0)) << target;
    std::vector<float> many(100001);
    std::mt19937 rng(1);
    for (auto& v : many) v = static_cast<float>(rng() % 1000) - 400.0f;
    std::vector<uint8_t> out(many.size());
    dynamic_quantize(many.data(), static_cast<int64_t>(many.size()), out.data(), &scale, &zero, pool);
    for (size_t i = 0; i < many.size(); ++i) ASSERT_NEAR((out[i] - zero) * scale, many[i], scale * 0.5001) << target;
  });
}

}  // namespace
}  // namespace tenon::cpu
