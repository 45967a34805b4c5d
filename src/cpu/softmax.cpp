#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/softmax.cpp"
#define HWY_DISABLED_TARGETS HWY_SSSE3
#include "cpu/softmax.hpp"

#include <algorithm>

#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// Highway first
#include "cpu/math-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace tenon::cpu {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kLanes = HWY_LANES(float);
constexpr float kLowest = -std::numeric_limits<float>::infinity();

float row_max(const float* x, int64_t n) {
  V m0(kLowest), m1(kLowest);
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    m0 = max(m0, load(x + i));
    m1 = max(m1, load(x + i + kLanes));
  }
  for (; i + kLanes <= n; i += kLanes) m0 = max(m0, load(x + i));
  if (i < n) m0 = max(m0, load_n(x + i, n - i, kLowest));
  return max_lanes(max(m0, m1));
}

/// Sum of exp(x - shift); writes the terms to y unless kLog.
template <bool kLog>
float row_exp_sum(const float* x, float* y, int64_t n, float shift) {
  const V s(shift);
  V sum(0.0);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const V e = exp(load(x + i) - s);
    if constexpr (!kLog) store(e, y + i);
    sum = sum + e;
  }
  if (i < n) {
    const V e = exp(load_n(x + i, n - i, kLowest) - s);  // the filling adds exp(-inf) = 0
    if constexpr (!kLog) store_n(e, y + i, n - i);
    sum = sum + e;
  }
  return sum_lanes(sum);
}

template <bool kLog>
void row(const float* x, float* y, int64_t n) {
  const float largest = row_max(x, n);
  const float sum = row_exp_sum<kLog>(x, y, n, largest);
  const V factor(1.0f / sum), shift(largest), log_sum(kLog ? ::logf(sum) : 0.0f);
  const float* from = kLog ? x : y;
  int64_t i = 0;
  const auto last = [&](V v) { return kLog ? v - shift - log_sum : v * factor; };
  for (; i + kLanes <= n; i += kLanes) store(last(load(from + i)), y + i);
  if (i < n) store_n(last(load_n(from + i, n - i)), y + i, n - i);
}

/// One vector's width (or n < that) of columns, the axis far apart.
template <bool kLog>
void column(const float* x, int64_t x_step, float* y, int64_t y_step, int64_t axis, int64_t n) {
  const bool whole = n == kLanes;
  const auto get = [&](const float* p) { return whole ? load(p) : load_n(p, n); };
  const auto put = [&](V v, float* p) { whole ? store(v, p) : store_n(v, p, n); };
  V largest(kLowest);
  for (int64_t k = 0; k < axis; ++k) largest = max(largest, get(x + k * x_step));
  V sum(0.0);
  for (int64_t k = 0; k < axis; ++k) {
    const V e = exp(get(x + k * x_step) - largest);
    if constexpr (!kLog) put(e, y + k * y_step);
    sum = sum + e;
  }
  const V factor = V(1.0) / sum, log_sum = kLog ? log(sum) : sum;
  for (int64_t k = 0; k < axis; ++k) {
    if constexpr (kLog) {
      put(get(x + k * x_step) - largest - log_sum, y + k * y_step);
    } else {
      put(get(y + k * y_step) * factor, y + k * y_step);
    }
  }
}

/// No dimension has stride 1: one element at a time.
template <bool kLog>
void scattered(const float* x, int64_t x_step, float* y, int64_t y_step, int64_t axis) {
  float largest = kLowest, sum = 0;
  for (int64_t k = 0; k < axis; ++k) {
    const float v = x[k * x_step];
    largest = v > largest || v != v ? v : largest;
  }
  for (int64_t k = 0; k < axis; ++k) sum += ::expf(x[k * x_step] - largest);
  const float log_sum = ::logf(sum);
  for (int64_t k = 0; k < axis; ++k) {
    const float v = x[k * x_step] - largest;
    y[k * y_step] = kLog ? v - log_sum : ::expf(v) / sum;
  }
}

/// Units: rows when the axis is contiguous, else (outer, vector of columns).
template <bool kLog>
void work(const SoftmaxShape& s, const float* src, float* dst, int64_t begin, int64_t end) {
  const bool rows = s.src_axis == 1 && s.dst_axis == 1;
  const bool columns = !rows && s.src_inner == 1 && s.dst_inner == 1;
  for (int64_t unit = begin; unit < end;) {
    const int64_t outer = unit / s.inner, inner = unit % s.inner;
    const float* x = src + outer * s.src_outer + inner * s.src_inner;
    float* y = dst + outer * s.dst_outer + inner * s.dst_inner;
    int64_t done = 1;
    if (rows) {
      row<kLog>(x, y, s.axis);
    } else if (columns) {
      done = std::min({kLanes, s.inner - inner, end - unit});
      column<kLog>(x, s.src_axis, y, s.dst_axis, s.axis, done);
    } else {
      scattered<kLog>(x, s.src_axis, y, s.dst_axis, s.axis);
    }
    unit += done;
  }
}

}  // namespace

void softmax_work(const SoftmaxShape& s, const float* src, float* dst, int64_t begin, int64_t end) {
  work<false>(s, src, dst, begin, end);
}
void log_softmax_work(const SoftmaxShape& s, const float* src, float* dst, int64_t begin, int64_t end) {
  work<true>(s, src, dst, begin, end);
}

}  // namespace HWY_NAMESPACE
}  // namespace tenon::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tenon::cpu {

HWY_EXPORT(softmax_work);
HWY_EXPORT(log_softmax_work);

namespace {
int64_t grain(const SoftmaxShape& s) { return 1 + 16384 / std::max<int64_t>(s.axis, 1); }
}  // namespace

void softmax(const SoftmaxShape& shape, const float* src, float* dst, ThreadPool& pool) {
  const auto work = HWY_DYNAMIC_DISPATCH(softmax_work);
  pool.run_ranges(shape.outer * shape.inner, grain(shape),
                  [&](int64_t begin, int64_t end) { work(shape, src, dst, begin, end); });
}

void log_softmax(const SoftmaxShape& shape, const float* src, float* dst, ThreadPool& pool) {
  const auto work = HWY_DYNAMIC_DISPATCH(log_softmax_work);
  pool.run_ranges(shape.outer * shape.inner, grain(shape),
                  [&](int64_t begin, int64_t end) { work(shape, src, dst, begin, end); });
}

}  // namespace tenon::cpu
#endif
