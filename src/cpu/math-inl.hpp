// `V`, a vector of floats that the expressions of elementwise.def compile with, and the functions they call.
// Included once per target (no pragma once: Highway's toggled guard), after hwy/foreach_target.h. max and min
// give NaN if either side is NaN. Largest errors in ulp against double, FMA targets / SSE4, over all
// magnitudes (tests/unit/cpu_pointwise_test.cpp holds them):
//   exp 2, expm1 3, log 2, log1p 3, tanh 6, erf 7, sigmoid 4; sin, cos, pow and the other rare ones call libm
//   lane by lane.
// Overflow gives infinity, NaN stays NaN; exp gives 0 where the result would be subnormal.
#if defined(TENON_CPU_MATH_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef TENON_CPU_MATH_INL_HPP
#undef TENON_CPU_MATH_INL_HPP
#else
#define TENON_CPU_MATH_INL_HPP
#endif

#include <math.h>
#include <stdint.h>

#include <limits>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tenon::cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using DF = hn::ScalableTag<float>;
using DI = hn::RebindToSigned<DF>;
using VF = hn::Vec<DF>;

struct M {
  hn::Mask<DF> m;
};

struct V {
  VF v;
  V() = default;
  HWY_INLINE V(VF raw) : v(raw) {}
  HWY_INLINE explicit V(double c) : v(hn::Set(DF(), static_cast<float>(c))) {}
};

HWY_INLINE V load(const float* p) { return hn::LoadU(DF(), p); }
HWY_INLINE void store(V x, float* p) { hn::StoreU(x.v, DF(), p); }

/// The first n (< a vector) floats of p, the rest `fill`; nothing past them is touched.
HWY_INLINE V load_n(const float* p, int64_t n, float fill = 0.0f) {
#if HWY_TARGET <= HWY_AVX2  // masked loads that do not read what is masked
  const auto first = hn::FirstN(DF(), static_cast<size_t>(n));
  return hn::IfThenElse(first, hn::MaskedLoad(first, DF(), p), hn::Set(DF(), fill));
#else
  HWY_ALIGN float lanes[HWY_LANES(float)];
  for (int64_t i = 0; i < static_cast<int64_t>(HWY_LANES(float)); ++i) lanes[i] = i < n ? p[i] : fill;
  return load(lanes);
#endif
}
HWY_INLINE void store_n(V x, float* p, int64_t n) {
#if HWY_TARGET <= HWY_AVX2
  hn::BlendedStore(x.v, hn::FirstN(DF(), static_cast<size_t>(n)), DF(), p);
#else
  HWY_ALIGN float lanes[HWY_LANES(float)];
  store(x, lanes);
  for (int64_t i = 0; i < n; ++i) p[i] = lanes[i];
#endif
}
HWY_INLINE float sum_lanes(V x) { return hn::GetLane(hn::SumOfLanes(DF(), x.v)); }

HWY_INLINE V operator+(V a, V b) { return hn::Add(a.v, b.v); }
HWY_INLINE V operator-(V a, V b) { return hn::Sub(a.v, b.v); }
HWY_INLINE V operator*(V a, V b) { return hn::Mul(a.v, b.v); }
HWY_INLINE V operator/(V a, V b) { return hn::Div(a.v, b.v); }
HWY_INLINE V operator-(V a) { return hn::Neg(a.v); }
HWY_INLINE M operator<(V a, V b) { return {hn::Lt(a.v, b.v)}; }
HWY_INLINE M operator<=(V a, V b) { return {hn::Le(a.v, b.v)}; }
HWY_INLINE M operator>(V a, V b) { return {hn::Gt(a.v, b.v)}; }
HWY_INLINE M operator>=(V a, V b) { return {hn::Ge(a.v, b.v)}; }
HWY_INLINE M operator==(V a, V b) { return {hn::Eq(a.v, b.v)}; }
HWY_INLINE M operator!=(V a, V b) { return {hn::Not(hn::Eq(a.v, b.v))}; }
HWY_INLINE M operator&(M a, M b) { return {hn::And(a.m, b.m)}; }
HWY_INLINE M operator|(M a, M b) { return {hn::Or(a.m, b.m)}; }
HWY_INLINE M operator^(M a, M b) { return {hn::Xor(a.m, b.m)}; }
HWY_INLINE M operator!(M a) { return {hn::Not(a.m)}; }
HWY_INLINE V select(M m, V yes, V no) { return hn::IfThenElse(m.m, yes.v, no.v); }

HWY_INLINE V abs(V x) { return hn::Abs(x.v); }
HWY_INLINE V sqrt(V x) { return hn::Sqrt(x.v); }
HWY_INLINE V floor(V x) { return hn::Floor(x.v); }
HWY_INLINE V ceil(V x) { return hn::Ceil(x.v); }
HWY_INLINE V trunc(V x) { return hn::Trunc(x.v); }
HWY_INLINE V rint(V x) { return hn::Round(x.v); }
HWY_INLINE V fma(V a, V b, V c) { return hn::MulAdd(a.v, b.v, c.v); }
HWY_INLINE V fnma(V a, V b, V c) { return hn::NegMulAdd(a.v, b.v, c.v); }

#if HWY_TARGET == HWY_SCALAR
HWY_INLINE V max(V a, V b) { return select((a > b) | (a != a), a, b); }
HWY_INLINE V min(V a, V b) { return select((a < b) | (a != a), a, b); }
HWY_INLINE V clamp_number(V x, float lo, float hi) { return min(max(x, V(lo)), V(hi)); }
#else
// x86's max and min return the second operand when either is NaN.
HWY_INLINE V max(V a, V b) { return select(b != b, b, hn::Max(b.v, a.v)); }
HWY_INLINE V min(V a, V b) { return select(b != b, b, hn::Min(b.v, a.v)); }
/// Into [lo, hi], NaN stays NaN.
HWY_INLINE V clamp_number(V x, float lo, float hi) {
  return hn::Max(hn::Set(DF(), lo), hn::Min(hn::Set(DF(), hi), x.v));
}
#endif

/// The largest lane, NaN if any is.
HWY_INLINE float max_lanes(V x) {
  const float largest = hn::GetLane(hn::MaxOfLanes(DF(), x.v));
  return hn::AllTrue(DF(), (x == x).m) ? largest : std::numeric_limits<float>::quiet_NaN();
}
HWY_INLINE float min_lanes(V x) { return -max_lanes(-x); }

/// 2^n for integral n in [-126, 127].
HWY_INLINE V exp2_integral(hn::Vec<DI> n) {
  const DI di;
  return hn::BitCast(DF(), hn::ShiftLeft<23>(hn::Add(n, hn::Set(di, 127))));
}

/// x = n ln2 + r with |r| <= ln2 / 2; returns n, sets r.
HWY_INLINE V reduce_ln2(V x, V& r) {
  const V n = rint(x * V(1.44269504088896341));
  r = fnma(n, V(0.693359375), x);
  r = fnma(n, V(-2.12194440054690583e-4), r);
  return n;
}

/// (e^r - 1 - r) / r^2 on |r| <= ln2 / 2 (weighted minimax, 1.3e-8 of e^r - 1).
HWY_INLINE V exp_tail(V r) {
  V q(1.3882515486329794e-3);
  q = fma(q, r, V(8.366548456251621e-3));
  q = fma(q, r, V(4.166720062494278e-2));
  q = fma(q, r, V(0.1666654348373413));
  return fma(q, r, V(0.4999999701976776));
}

/// 0 where the result would be subnormal: processors take a hundred cycles for each such number, and a masked softmax
/// or a sigmoid of a large value is made of them.
HWY_INLINE V exp(V x) {
  constexpr float kSmallest = -87.33654f;  // the logarithm of the smallest normal number
  V r;
  const V n = reduce_ln2(clamp_number(x, kSmallest, 89.0f), r);
  const V p = fma(fma(exp_tail(r), r, V(1.0)), r, V(1.0));
#if HWY_TARGET <= HWY_AVX3
  const V y = VF{_mm512_scalef_ps(p.v.raw, n.v.raw)};
#else
  const auto whole = hn::ConvertTo(DI(), n.v);  // two factors: 2^128 does not exist
  const auto half = hn::ShiftRight<1>(whole);
  const V y = p * exp2_integral(half) * exp2_integral(hn::Sub(whole, half));
#endif
  return select(x < V(kSmallest), V(0.0), y);
}

HWY_INLINE V expm1(V x) {
  V r;
  const V n = reduce_ln2(clamp_number(x, -20.0f, 89.0f), r);
  const V p = fma(exp_tail(r) * r, r, r);
  const V half = exp2_integral(hn::Sub(hn::ConvertTo(DI(), n.v), hn::Set(DI(), 1)));  // 2^128 does not exist
  return V(2.0) * fma(half, p, half - V(0.5));
}

HWY_INLINE V log(V x) {
  const DI di;
  const M tiny = x < V(1.17549435e-38);
  const V scaled = select(tiny, x * V(33554432.0), x);
  const auto bits = hn::BitCast(di, scaled.v);
  const auto exponent = hn::ShiftRight<23>(hn::Sub(bits, hn::Set(di, 0x3f3504f3)));  // mantissa in [sqrt(1/2), sqrt(2))
  const V f = V(hn::BitCast(DF(), hn::Sub(bits, hn::ShiftLeft<23>(exponent)))) - V(1.0);
  const V e = V(hn::ConvertTo(DF(), exponent)) - select(tiny, V(25.0), V(0.0));
  V p(-7.634491473436356e-2);
  p = fma(p, f, V(0.12761574983596802));
  p = fma(p, f, V(-0.13160184025764465));
  p = fma(p, f, V(0.14201758801937103));
  p = fma(p, f, V(-0.16623356938362122));
  p = fma(p, f, V(0.20001226663589478));
  p = fma(p, f, V(-0.2500081956386566));
  p = fma(p, f, V(0.3333333134651184));
  const V f2 = f * f;
  V y = fma(e, V(-2.12194440054690583e-4), p * f * f2);
  y = fma(f2, V(-0.5), y) + f;
  y = fma(e, V(0.693359375), y);
  constexpr double kInf = std::numeric_limits<double>::infinity();
  const V edge = select(x == V(0.0), V(-kInf), select(x > V(0.0), x, V(std::numeric_limits<double>::quiet_NaN())));
  return select((x > V(0.0)) & (x < V(kInf)), y, edge);
}

HWY_INLINE V log1p(V x) {
  const V u = V(1.0) + x;
  const V y = log(u);
  const V lost = x - (u - V(1.0));
  return select((u > V(0.0)) & (u < V(std::numeric_limits<double>::infinity())), y + lost / u, y);
}

/// y within [-1, 1], and exactly +-1 where |x| >= limit.
HWY_INLINE V saturate_at(double limit, V x, V y) {
  const V one = hn::CopySign(hn::Set(DF(), 1.0f), x.v);
  return select(abs(x) >= V(limit), one, clamp_number(y, -1.0f, 1.0f));
}

HWY_INLINE V tanh(V x) {
  const V s = x * x;
  V p(1.3319061409333699e-8);
  p = fma(p, s, V(2.05834730877541e-5));
  p = fma(p, s, V(3.494034055620432e-3));
  p = fma(p, s, V(0.13379716873168945));
  p = fma(p, s, V(1.0));
  V q(7.762014888612612e-7);
  q = fma(q, s, V(3.2830919371917844e-4));
  q = fma(q, s, V(2.5871070101857185e-2));
  q = fma(q, s, V(0.4671303331851959));
  q = fma(q, s, V(1.0));
  return saturate_at(9.02, x, x * p / q);
}

HWY_INLINE V erf(V x) {
  const V s = x * x;
  V p(1.9815340479567567e-8);
  p = fma(p, s, V(-1.9553838228603126e-6));
  p = fma(p, s, V(1.4249466767068952e-4));
  p = fma(p, s, V(3.736809128895402e-3));
  p = fma(p, s, V(5.0689272582530975e-2));
  p = fma(p, s, V(0.20080672204494476));
  p = fma(p, s, V(1.1283791065216064));
  V q(9.63913684245199e-4);
  q = fma(q, s, V(1.4426958747208118e-2));
  q = fma(q, s, V(0.11536199599504471));
  q = fma(q, s, V(0.5112919211387634));
  q = fma(q, s, V(1.0));
  return saturate_at(3.93, x, x * p / q);
}

// Rare functions: libm on each lane.
template <class F>
HWY_INLINE V each_lane(V x, F f) {
  HWY_ALIGN float lanes[HWY_MAX_BYTES / sizeof(float)];
  store(x, lanes);
  for (size_t i = 0; i < HWY_LANES(float); ++i) lanes[i] = f(lanes[i]);
  return load(lanes);
}
template <class F>
HWY_INLINE V each_lane(V a, V b, F f) {
  HWY_ALIGN float x[HWY_MAX_BYTES / sizeof(float)];
  HWY_ALIGN float y[HWY_MAX_BYTES / sizeof(float)];
  store(a, x);
  store(b, y);
  for (size_t i = 0; i < HWY_LANES(float); ++i) x[i] = f(x[i], y[i]);
  return load(x);
}
#define TENON_EACH_LANE(name) \
  HWY_INLINE V name(V x) { return each_lane(x, ::name##f); }
TENON_EACH_LANE(sin)
TENON_EACH_LANE(cos)
TENON_EACH_LANE(tan)
TENON_EACH_LANE(asin)
TENON_EACH_LANE(acos)
TENON_EACH_LANE(atan)
TENON_EACH_LANE(sinh)
TENON_EACH_LANE(cosh)
TENON_EACH_LANE(asinh)
TENON_EACH_LANE(acosh)
TENON_EACH_LANE(atanh)
#undef TENON_EACH_LANE
HWY_INLINE V pow(V a, V b) { return each_lane(a, b, ::powf); }
HWY_INLINE V fmod(V a, V b) { return each_lane(a, b, ::fmodf); }
HWY_INLINE V mod(V a, V b) {
  const V r = fmod(a, b);
  return select((r != V(0.0)) & ((r < V(0.0)) ^ (b < V(0.0))), r + b, r);
}

}  // namespace HWY_NAMESPACE
}  // namespace tenon::cpu
HWY_AFTER_NAMESPACE();

#endif
