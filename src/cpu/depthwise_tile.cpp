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
#if HWY_TARGET <= HWY_AVX2  // masked accesses that touch nothing else
  hn::Mask<D> mask;
  explicit First(int64_t n) : count(n), mask(hn::FirstN(D(), static_cast<size_t>(n))) {}
  TENON_INLINE V load(const float* p) const { return hn::MaskedLoad(mask, D(), p); }
  TENON_INLINE void store(V v, float* p) const { hn::BlendedStore(v, mask, D(), p); }
#else
  explicit First(int64_t n) : count(n) {}
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
#endif
};

// Holds a value in a register; the compiler would load it again for each use.
TENON_INLINE void keep(V& v) {
#if HWY_TARGET <= HWY_AVX3
  asm("" : "+v"(v.raw));
#else
  asm("" : "+x"(v.raw));
#endif
}

TENON_INLINE V activate(const DepthwiseRow& r, V v) {
  if (r.swish) {
    const D d;
    const V gate = hn::MulAdd(v, hn::Set(d, 1.0f / 6), hn::Set(d, 0.5f));
    const V y = hn::Mul(v, hn::Min(hn::Set(d, 1.0f), hn::Max(hn::Zero(d), gate)));
    return hn::MulAdd(y, hn::Set(d, r.mul), hn::Set(d, r.add));
  }
  if (!r.clamp) return v;
  return hn::Min(hn::Set(D(), r.hi), hn::Max(hn::Set(D(), r.lo), v));
}

// One block of channels.
struct Channels {
  const float* src;
  const float* weights;
  float* dst;
  V start;
};

template <class Access>
TENON_INLINE Channels channels_at(const DepthwiseRow& r, const Access& access, int64_t block) {
  const int64_t c = ChannelBlocks{r.channels, kLanes}.begin(block);
  return {r.src + c, r.weights + block * r.block_weights, r.dst + c,
          r.bias == nullptr ? hn::Zero(D()) : access.load(r.bias + c)};
}

// T outputs from x on for a filter KW wide, all channels: each input value is loaded once for all the outputs that use
// it. With Edge, columns outside of the image are passed over.
template <int KW, int S, int T, bool Edge, class Access>
void fixed_tile(const DepthwiseRow& shared, const Access& access, int64_t x) {
  const DepthwiseRow r = shared;  // a local copy: the stores below cannot change it
  constexpr int kColumns = (T - 1) * S + KW;
  const D d;
  const int64_t at = x * S - r.pad_left, first = -at, last = r.w - at;
  for (int64_t block = r.block_begin; block < r.block_end; ++block) {
    const Channels c = channels_at(r, access, block);
    V acc[T];
    TENON_UNROLL
    for (int t = 0; t < T; ++t) acc[t] = c.start;
    const float* HWY_RESTRICT in = c.src + at * r.pixel;
    const float* HWY_RESTRICT weights = c.weights;
    for (int64_t y = 0; y < r.rows; ++y, in += r.row, weights += KW * kLanes) {
      V w[KW];
      TENON_UNROLL
      for (int k = 0; k < KW; ++k) w[k] = hn::LoadU(d, weights + k * kLanes);
      const float* p = in;
      TENON_UNROLL
      for (int j = 0; j < kColumns; ++j, p += r.pixel) {
        if (Edge && (j < first || j >= last)) continue;
        V v = access.load(p);
        keep(v);
        TENON_UNROLL
        for (int t = 0; t < T; ++t) {
          if (j >= t * S && j < t * S + KW) acc[t] = hn::MulAdd(v, w[j - t * S], acc[t]);
        }
      }
    }
    float* HWY_RESTRICT out = c.dst + x * r.dst_pixel;
    TENON_UNROLL
    for (int t = 0; t < T; ++t) access.store(activate(r, acc[t]), out + t * r.dst_pixel);
  }
}

// One output of any filter, taps [first, last) of each tap row; T outputs where all taps lie in the image.
template <int T, class Access>
void any_tile(const DepthwiseRow& shared, const Access& access, int64_t x, int64_t first, int64_t last) {
  const DepthwiseRow r = shared;
  const D d;
  const int64_t step = r.stride * r.pixel;
  for (int64_t block = r.block_begin; block < r.block_end; ++block) {
    const Channels c = channels_at(r, access, block);
    V acc[T];
    TENON_UNROLL
    for (int t = 0; t < T; ++t) acc[t] = c.start;
    for (int64_t y = 0; y < r.rows; ++y) {
      const float* in = c.src + y * r.row + (x * r.stride - r.pad_left + first * r.dilation) * r.pixel;
      const float* w = c.weights + (y * r.kw + first) * kLanes;
      for (int64_t k = first; k < last; ++k, in += r.dilation * r.pixel, w += kLanes) {
        const V weight = hn::LoadU(d, w);
        TENON_UNROLL
        for (int t = 0; t < T; ++t) acc[t] = hn::MulAdd(access.load(in + t * step), weight, acc[t]);
      }
    }
    TENON_UNROLL
    for (int t = 0; t < T; ++t) access.store(activate(r, acc[t]), c.dst + (x + t) * r.dst_pixel);
  }
}

// Outputs [begin, end) have their windows inside of the row.
struct Inside {
  int64_t begin, end;
  explicit Inside(const DepthwiseRow& r) {
    const int64_t room = r.w + r.pad_left - (r.kw - 1) * r.dilation - 1;
    begin = std::min(r.ow, (r.pad_left + r.stride - 1) / r.stride);
    end = std::clamp(room < 0 ? 0 : room / r.stride + 1, begin, r.ow);
  }
  bool covers(int64_t x, int64_t count) const { return x >= begin && x + count <= end; }
};

template <int KW, int S, class Access>
void fixed_row(const DepthwiseRow& r, const Access& access) {
  const Inside inside(r);
  const int64_t big = r.ow % 7 == 0 && r.ow % 8 != 0 ? 7 : 8;
  int64_t x = 0;
  for (; x + big <= r.ow; x += big) {
    if (big == 7) {
      inside.covers(x, 7) ? fixed_tile<KW, S, 7, false>(r, access, x) : fixed_tile<KW, S, 7, true>(r, access, x);
    } else {
      inside.covers(x, 8) ? fixed_tile<KW, S, 8, false>(r, access, x) : fixed_tile<KW, S, 8, true>(r, access, x);
    }
  }
  if (x + 4 <= r.ow) fixed_tile<KW, S, 4, true>(r, access, x), x += 4;
  if (x + 2 <= r.ow) fixed_tile<KW, S, 2, true>(r, access, x), x += 2;
  if (x < r.ow) fixed_tile<KW, S, 1, true>(r, access, x);
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
void any_row(const DepthwiseRow& r, const Access& access) {
  const Inside inside(r);
  edge_columns(r, access, 0, inside.begin);
  int64_t x = inside.begin;
  for (; x + 8 <= inside.end; x += 8) any_tile<8>(r, access, x, 0, r.kw);
  for (; x + 2 <= inside.end; x += 2) any_tile<2>(r, access, x, 0, r.kw);
  if (x < inside.end) any_tile<1>(r, access, x, 0, r.kw);
  edge_columns(r, access, inside.end, r.ow);
}

template <class Access>
void row_of(const DepthwiseRow& r, const Access& access) {
  if (r.dilation == 1 && r.kw == 3 && r.stride == 1) return fixed_row<3, 1>(r, access);
  if (r.dilation == 1 && r.kw == 3 && r.stride == 2) return fixed_row<3, 2>(r, access);
  if (r.dilation == 1 && r.kw == 5 && r.stride == 1) return fixed_row<5, 1>(r, access);
  if (r.dilation == 1 && r.kw == 5 && r.stride == 2) return fixed_row<5, 2>(r, access);
  any_row(r, access);
}

void row(const DepthwiseRow& r) { r.channels < kLanes ? row_of(r, First(r.channels)) : row_of(r, Whole()); }

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
