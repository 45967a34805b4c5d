#include "cpu/depthwise_tile.hpp"

#include <algorithm>
#include <cstdint>

#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS HWY_SSSE3
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/depthwise_tile.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#ifndef TENON_INLINE
#define TENON_INLINE __attribute__((always_inline)) inline
#define TENON_UNROLL _Pragma("GCC unroll 32")
#endif

HWY_BEFORE_NAMESPACE();
namespace tenon::cpu {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET <= HWY_AVX3
using D = hn::CappedTag<float, 16>;
#elif HWY_TARGET == HWY_AVX2
using D = hn::CappedTag<float, 8>;
#else
using D = hn::CappedTag<float, 4>;
#endif
using V = hn::VFromD<D>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));

// Whole vectors, or the first channels only.
struct Whole {
  TENON_INLINE V load(const float* p) const { return hn::LoadU(D(), p); }
  TENON_INLINE void store(V v, float* p) const { hn::StoreU(v, D(), p); }
};

struct First {
  int64_t count;
  TENON_INLINE V load(const float* p) const {
    HWY_ALIGN float buffer[kLanes] = {};
    for (int64_t i = 0; i < count; ++i) buffer[i] = p[i];
    return hn::Load(D(), buffer);
  }
  TENON_INLINE void store(V v, float* p) const {
    HWY_ALIGN float buffer[kLanes];
    hn::Store(v, D(), buffer);
    for (int64_t i = 0; i < count; ++i) p[i] = buffer[i];
  }
};

TENON_INLINE V activate(const DepthwiseRow& r, V v) {
  if (!r.clamp) return v;
  return hn::Min(hn::Set(D(), r.hi), hn::Max(hn::Set(D(), r.lo), v));
}

// T outputs from x on, all columns of their windows inside of the row, for a filter KW wide: each input value is loaded
// once for all the outputs that use it.
template <int KW, int S, int T>
TENON_INLINE void fixed_tile(const DepthwiseRow& r, int64_t x) {
  const D d;
  V acc[T];
  const V start = hn::LoadU(d, r.bias);
  TENON_UNROLL
  for (int t = 0; t < T; ++t) acc[t] = start;
  const float* HWY_RESTRICT in = r.src + (x * S - r.pad_left) * r.pixel;
  const float* HWY_RESTRICT weights = r.weights;
  for (int64_t y = 0; y < r.rows; ++y, in += r.row, weights += KW * kLanes) {
    V w[KW];
    TENON_UNROLL
    for (int k = 0; k < KW; ++k) w[k] = hn::LoadU(d, weights + k * kLanes);
    const float* p = in;
    TENON_UNROLL
    for (int j = 0; j < (T - 1) * S + KW; ++j, p += r.pixel) {
      const V v = hn::LoadU(d, p);
      TENON_UNROLL
      for (int t = 0; t < T; ++t) {
        if (j >= t * S && j < t * S + KW) acc[t] = hn::MulAdd(v, w[j - t * S], acc[t]);
      }
    }
  }
  float* HWY_RESTRICT out = r.dst + x * r.dst_pixel;
  TENON_UNROLL
  for (int t = 0; t < T; ++t) hn::StoreU(activate(r, acc[t]), d, out + t * r.dst_pixel);
}

template <int KW, int S>
void fixed_columns(const DepthwiseRow& r, int64_t begin, int64_t end) {
  constexpr int kTile = kLanes > 4 ? 8 : 4;
  int64_t x = begin;
  for (; x + kTile <= end; x += kTile) fixed_tile<KW, S, kTile>(r, x);
  if (kTile > 4 && x + 4 <= end) fixed_tile<KW, S, 4>(r, x), x += 4;
  if (x + 2 <= end) fixed_tile<KW, S, 2>(r, x), x += 2;
  if (x < end) fixed_tile<KW, S, 1>(r, x);
}

// T outputs of any filter, taps [first, last) of each tap row.
template <int T, class Access>
TENON_INLINE void any_tile(const DepthwiseRow& r, const Access& access, int64_t x, int64_t first, int64_t last) {
  const D d;
  V acc[T];
  const V start = hn::LoadU(d, r.bias);
  TENON_UNROLL
  for (int t = 0; t < T; ++t) acc[t] = start;
  const int64_t step = r.stride * r.pixel;
  for (int64_t y = 0; y < r.rows; ++y) {
    const float* in = r.src + y * r.row + (x * r.stride - r.pad_left + first * r.dilation) * r.pixel;
    const float* w = r.weights + (y * r.kw + first) * kLanes;
    for (int64_t k = first; k < last; ++k, in += r.dilation * r.pixel, w += kLanes) {
      const V weight = hn::LoadU(d, w);
      TENON_UNROLL
      for (int t = 0; t < T; ++t) acc[t] = hn::MulAdd(access.load(in + t * step), weight, acc[t]);
    }
  }
  TENON_UNROLL
  for (int t = 0; t < T; ++t) access.store(activate(r, acc[t]), r.dst + (x + t) * r.dst_pixel);
}

// Outputs whose windows reach over the edge: only the taps inside are visited.
template <class Access>
void edge_columns(const DepthwiseRow& r, const Access& access, int64_t begin, int64_t end) {
  for (int64_t x = begin; x < end; ++x) {
    const int64_t at = x * r.stride - r.pad_left;  // column of tap 0
    const int64_t first = at < 0 ? (-at + r.dilation - 1) / r.dilation : 0;
    const int64_t last = at >= r.w ? 0 : (r.w - 1 - at) / r.dilation + 1;
    any_tile<1>(r, access, x, std::min(first, r.kw), std::clamp(last, std::min(first, r.kw), r.kw));
  }
}

template <class Access>
void any_columns(const DepthwiseRow& r, const Access& access, int64_t begin, int64_t end) {
  int64_t x = begin;
  for (; x + 8 <= end; x += 8) any_tile<8>(r, access, x, 0, r.kw);
  for (; x + 2 <= end; x += 2) any_tile<2>(r, access, x, 0, r.kw);
  if (x < end) any_tile<1>(r, access, x, 0, r.kw);
}

void inner_columns(const DepthwiseRow& r, int64_t begin, int64_t end) {
  if (r.dilation == 1 && r.kw == 3 && r.stride == 1) return fixed_columns<3, 1>(r, begin, end);
  if (r.dilation == 1 && r.kw == 3 && r.stride == 2) return fixed_columns<3, 2>(r, begin, end);
  if (r.dilation == 1 && r.kw == 5 && r.stride == 1) return fixed_columns<5, 1>(r, begin, end);
  if (r.dilation == 1 && r.kw == 5 && r.stride == 2) return fixed_columns<5, 2>(r, begin, end);
  any_columns(r, Whole(), begin, end);
}

void row(const DepthwiseRow& r) {
  const int64_t span = (r.kw - 1) * r.dilation + 1;
  // Outputs [begin, end) have their windows inside of the row.
  const int64_t begin = std::min(r.ow, (r.pad_left + r.stride - 1) / r.stride);
  const int64_t room = r.w + r.pad_left - span;
  const int64_t end = std::clamp(room < 0 ? 0 : room / r.stride + 1, begin, r.ow);
  if (r.channels == kLanes) {
    edge_columns(r, Whole(), 0, begin);
    inner_columns(r, begin, end);
    edge_columns(r, Whole(), end, r.ow);
  } else {
    edge_columns(r, First{r.channels}, 0, begin);
    any_columns(r, First{r.channels}, begin, end);
    edge_columns(r, First{r.channels}, end, r.ow);
  }
}

constexpr DepthwiseKernels kKernels{kLanes, &row};

}  // namespace

const DepthwiseKernels* depthwise_set() { return &kKernels; }

}  // namespace HWY_NAMESPACE
}  // namespace tenon::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tenon::cpu {

HWY_EXPORT(depthwise_set);

const DepthwiseKernels& depthwise_kernels() { return *HWY_DYNAMIC_DISPATCH(depthwise_set)(); }

}  // namespace tenon::cpu
#endif
