#include "cpu/winograd_tile.hpp"

#include <algorithm>
#include <cstdint>

#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS HWY_SSSE3
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/winograd_tile.cpp"
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
constexpr int kP = kWinogradPatch;
constexpr int kT = kWinogradTile;

TENON_INLINE V constant(double v) { return hn::Set(D(), static_cast<float>(v)); }

// One axis of the input transform; rows of the matrix are the coefficients of the products of (x - p) over the other
// points.
TENON_INLINE void input_axis(const V (&d)[kP], V (&out)[kP]) {
  constexpr double a = kWinogradA, b = kWinogradB, aa = a * a, bb = b * b;
  const V sum = constant(aa + bb), product = constant(aa * bb);
  out[0] = hn::NegMulAdd(sum, d[2], hn::MulAdd(product, d[0], d[4]));
  out[5] = hn::NegMulAdd(sum, d[3], hn::MulAdd(product, d[1], d[5]));
  const V even_a = hn::NegMulAdd(constant(bb), d[2], d[4]);
  const V odd_a = hn::Mul(constant(a), hn::NegMulAdd(constant(bb), d[1], d[3]));
  out[1] = hn::Add(even_a, odd_a);
  out[2] = hn::Sub(even_a, odd_a);
  const V even_b = hn::NegMulAdd(constant(aa), d[2], d[4]);
  const V odd_b = hn::Mul(constant(b), hn::NegMulAdd(constant(aa), d[1], d[3]));
  out[3] = hn::Add(even_b, odd_b);
  out[4] = hn::Sub(even_b, odd_b);
}

// One axis of the output transform: powers of the points.
TENON_INLINE void output_axis(const V (&m)[kP], V (&out)[kT]) {
  constexpr double a = kWinogradA, b = kWinogradB;
  const V plus_a = hn::Add(m[1], m[2]), minus_a = hn::Sub(m[1], m[2]);
  const V plus_b = hn::Add(m[3], m[4]), minus_b = hn::Sub(m[3], m[4]);
  out[0] = hn::Add(m[0], hn::Add(plus_a, plus_b));
  out[1] = hn::MulAdd(constant(a), minus_a, hn::Mul(constant(b), minus_b));
  out[2] = hn::MulAdd(constant(a * a), plus_a, hn::Mul(constant(b * b), plus_b));
  out[3] = hn::MulAdd(constant(a * a * a), minus_a, hn::MulAdd(constant(b * b * b), minus_b, m[5]));
}

template <bool Edge>
TENON_INLINE void input_block(const WinogradInput& in, const float* src, float* points) {
  const D d;
  V half[kP][kP];
  TENON_UNROLL
  for (int x = 0; x < kP; ++x) {
    V column[kP], out[kP];
    TENON_UNROLL
    for (int y = 0; y < kP; ++y) {
      const bool inside = !Edge || (y >= in.y0 && y < in.y1 && x >= in.x0 && x < in.x1);
      column[y] = inside ? hn::LoadU(d, src + y * in.row + x * in.pixel) : hn::Zero(d);
    }
    input_axis(column, out);
    TENON_UNROLL
    for (int y = 0; y < kP; ++y) half[y][x] = out[y];
  }
  TENON_UNROLL
  for (int y = 0; y < kP; ++y) {
    V out[kP];
    input_axis(half[y], out);
    TENON_UNROLL
    for (int x = 0; x < kP; ++x) hn::StoreU(out[x], d, points + (y * kP + x) * in.point);
  }
}

template <bool Edge>
void input_channels(const WinogradInput& shared) {
  const WinogradInput in = shared;
  // The last vector reaches back over the one before, so that none is partial.
  for (int64_t c = 0; c < in.channels; c += kLanes) {
    const int64_t at = std::min(c, in.channels - kLanes);
    input_block<Edge>(in, in.src + at, in.points + at);
  }
}

void input(const WinogradInput& in) {
  if (in.y0 == 0 && in.y1 == kP && in.x0 == 0 && in.x1 == kP) {
    input_channels<false>(in);
  } else {
    input_channels<true>(in);
  }
}

TENON_INLINE V hard_swish(const WinogradOutput& o, V x) {
  const D d;
  const V gate = hn::MulAdd(x, hn::Set(d, 1.0f / 6), hn::Set(d, 0.5f));
  const V y = hn::Mul(x, hn::Min(hn::Set(d, 1.0f), hn::Max(hn::Zero(d), gate)));
  return hn::MulAdd(y, hn::Set(d, o.mul), hn::Set(d, o.add));
}

TENON_INLINE void store_first(V v, float* p, int64_t count) {
  HWY_ALIGN float buffer[kLanes];
  hn::Store(v, D(), buffer);
  for (int64_t i = 0; i < count; ++i) p[i] = buffer[i];
}

void output(const WinogradOutput& shared) {
  const WinogradOutput o = shared;
  const D d;
  for (int64_t c = 0; c < o.channels; c += kLanes) {
    V half[kT][kP];
    TENON_UNROLL
    for (int x = 0; x < kP; ++x) {
      V column[kP], out[kT];
      TENON_UNROLL
      for (int y = 0; y < kP; ++y) column[y] = hn::LoadU(d, o.points + (y * kP + x) * o.point + c);
      output_axis(column, out);
      TENON_UNROLL
      for (int y = 0; y < kT; ++y) half[y][x] = out[y];
    }
    const V bias = hn::LoadU(d, o.bias + c);
    const int64_t lanes = std::min<int64_t>(kLanes, o.channels - c);
    TENON_UNROLL
    for (int y = 0; y < kT; ++y) {
      if (y >= o.rows) continue;
      V out[kT];
      output_axis(half[y], out);
      TENON_UNROLL
      for (int x = 0; x < kT; ++x) {
        if (x >= o.columns) continue;
        V v = hn::Add(out[x], bias);
        if (o.clamp) v = hn::Min(hn::Set(d, o.hi), hn::Max(hn::Set(d, o.lo), v));
        if (o.swish) v = hard_swish(o, v);
        float* to = o.dst + y * o.row + x * o.pixel + c;
        if (lanes == kLanes) {
          hn::StoreU(v, d, to);
        } else {
          store_first(v, to, lanes);
        }
      }
    }
  }
}

constexpr WinogradKernels kKernels{&input, &output};

}  // namespace

const WinogradKernels* winograd_set() { return &kKernels; }

}  // namespace HWY_NAMESPACE
}  // namespace tenon::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tenon::cpu {

HWY_EXPORT(winograd_set);

const WinogradKernels& winograd_kernels() { return *HWY_DYNAMIC_DISPATCH(winograd_set)(); }

}  // namespace tenon::cpu
#endif
