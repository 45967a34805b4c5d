#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/resize_kernels.cpp"
#define HWY_DISABLED_TARGETS HWY_SSSE3
#include "cpu/resize_kernels.hpp"

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
constexpr int64_t kBuffer = 2048;  // floats of the row-joined line

/// Two by two taps, the linear case: four pointers, four weights.
void pixel_2x2(const ResizePlan& p, const float* src, float* dst, int64_t y, int64_t x) {
  const float* top = src + p.y.index[2 * y] * p.src_h;
  const float* bottom = src + p.y.index[2 * y + 1] * p.src_h;
  const int64_t left = p.x.index[2 * x] * p.src_w, right = p.x.index[2 * x + 1] * p.src_w;
  const V w0(p.y.weight[2 * y]), w1(p.y.weight[2 * y + 1]), u0(p.x.weight[2 * x]), u1(p.x.weight[2 * x + 1]);
  const auto blend = [&](V a, V b, V c, V d) { return w0 * fma(u0, a, u1 * b) + w1 * fma(u0, c, u1 * d); };
  int64_t c = 0;
  for (; c + kLanes <= p.channels; c += kLanes) {
    store(blend(load(top + left + c), load(top + right + c), load(bottom + left + c), load(bottom + right + c)),
          dst + c);
  }
  const int64_t n = p.channels - c;
  if (n > 0) {
    const V v = blend(load_n(top + left + c, n), load_n(top + right + c, n), load_n(bottom + left + c, n),
                      load_n(bottom + right + c, n));
    store_n(v, dst + c, n);
  }
}

void pixel_any(const ResizePlan& p, const float* src, float* dst, int64_t y, int64_t x) {
  const int32_t* yi = p.y.index.data() + y * p.y.taps;
  const int32_t* xi = p.x.index.data() + x * p.x.taps;
  const float* yw = p.y.weight.data() + y * p.y.taps;
  const float* xw = p.x.weight.data() + x * p.x.taps;
  for (int64_t c = 0; c < p.channels; c += kLanes) {
    const int64_t n = std::min(kLanes, p.channels - c);
    V total(0.0);
    for (int64_t i = 0; i < p.y.taps; ++i) {
      const float* row = src + yi[i] * p.src_h + c;
      V sum(0.0);
      for (int64_t j = 0; j < p.x.taps; ++j) {
        const float* at = row + xi[j] * p.src_w;
        sum = fma(V(xw[j]), n == kLanes ? load(at) : load_n(at, n), sum);
      }
      total = fma(V(yw[i]), sum, total);
    }
    if (n == kLanes) {
      store(total, dst + c);
    } else {
      store_n(total, dst + c, n);
    }
  }
}

/// Source columns [lo, hi) of the rows that output row y reads, blended.
void blend_rows(const ResizePlan& p, const float* src, int64_t y, int64_t lo, int64_t hi, float* line) {
  for (int64_t t = 0; t < p.y.taps; ++t) {
    const float* row = src + p.y.index[y * p.y.taps + t] * p.src_h;
    const float weight = p.y.weight[y * p.y.taps + t];
    int64_t i = lo;
    if (p.src_w == 1) {
      const V w(weight);
      for (; i + kLanes <= hi; i += kLanes) {
        const V v = load(row + i) * w;
        store(t == 0 ? v : load(line + i - lo) + v, line + i - lo);
      }
    }
    for (; i < hi; ++i) line[i - lo] = (t == 0 ? 0.0f : line[i - lo]) + row[i * p.src_w] * weight;
  }
}

/// Outputs [begin, end) out of the blended line, whose first column is source column `lo`.
void gather_line(const ResizePlan& p, const float* line, int64_t lo, int64_t begin, int64_t end, float* dst) {
  const int64_t taps = p.x.taps;
  int64_t x = begin;
  if (taps == 2 && p.dst_w == 1) {
    const DI di;
    const float* weight = p.x.weight.data();
    const auto origin = hn::Set(di, static_cast<int32_t>(lo));
    for (; x + kLanes <= end; x += kLanes) {
      hn::Vec<DI> i0, i1;
      VF w0, w1;
      hn::LoadInterleaved2(di, p.x.index.data() + 2 * x, i0, i1);
      hn::LoadInterleaved2(DF(), weight + 2 * x, w0, w1);
      const V a = hn::GatherIndex(DF(), line, hn::Sub(i0, origin)),
              b = hn::GatherIndex(DF(), line, hn::Sub(i1, origin));
      store(fma(a, V(w0), b * V(w1)), dst + x);
    }
  }
  for (; x < end; ++x) {
    float sum = 0;
    for (int64_t t = 0; t < taps; ++t) sum += p.x.weight[x * taps + t] * line[p.x.index[x * taps + t] - lo];
    dst[x * p.dst_w] = sum;
  }
}

void line_row(const ResizePlan& p, const float* src, float* dst, int64_t y) {
  alignas(64) float line[kBuffer];
  const int64_t taps = p.x.taps;
  if (p.x.in <= kBuffer) {
    blend_rows(p, src, y, 0, p.x.in, line);
    gather_line(p, line, 0, 0, p.x.out, dst);
    return;
  }
  for (int64_t x = 0; x < p.x.out;) {
    // As many outputs as read a span of source columns that fits the buffer.
    int64_t end = x, lo = p.x.in, hi = 0;
    for (; end < p.x.out; ++end) {
      int64_t l = lo, h = hi;
      for (int64_t t = 0; t < taps; ++t) {
        l = std::min<int64_t>(l, p.x.index[end * taps + t]);
        h = std::max<int64_t>(h, p.x.index[end * taps + t] + 1);
      }
      if (h - l > kBuffer) break;
      lo = l;
      hi = h;
    }
    if (end == x) {  // one output reads more than the buffer holds: sum it directly
      float total = 0;
      for (int64_t i = 0; i < p.y.taps; ++i) {
        const float* row = src + p.y.index[y * p.y.taps + i] * p.src_h;
        float sum = 0;
        for (int64_t t = 0; t < taps; ++t) sum += p.x.weight[x * taps + t] * row[p.x.index[x * taps + t] * p.src_w];
        total += p.y.weight[y * p.y.taps + i] * sum;
      }
      dst[x++ * p.dst_w] = total;
      continue;
    }
    blend_rows(p, src, y, lo, hi, line);
    gather_line(p, line, lo, x, end, dst);
    x = end;
  }
}

void pixels_row(const ResizePlan& p, const float* src, float* dst, int64_t y) {
  const bool small = p.y.taps == 2 && p.x.taps == 2;
  for (int64_t x = 0; x < p.x.out; ++x) (small ? pixel_2x2 : pixel_any)(p, src, dst + x * p.dst_w, y, x);
}

}  // namespace

const ResizeKernels* target_resize_kernels() {
  static const ResizeKernels kernels = {pixels_row, line_row};
  return &kernels;
}

}  // namespace HWY_NAMESPACE
}  // namespace tenon::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tenon::cpu {

HWY_EXPORT(target_resize_kernels);

const ResizeKernels& resize_kernels() { return *HWY_DYNAMIC_DISPATCH(target_resize_kernels)(); }

}  // namespace tenon::cpu
#endif
