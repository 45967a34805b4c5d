#include "cpu/gemm_tile.hpp"

#include <cstdint>

#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS HWY_SSSE3
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/gemm_tile.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#define TENON_INLINE __attribute__((always_inline)) inline
#define TENON_UNROLL _Pragma("GCC unroll 32")

HWY_BEFORE_NAMESPACE();
namespace tenon::cpu {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET <= HWY_AVX3
constexpr int kRows = 14;
using D = hn::CappedTag<float, 16>;
#elif HWY_TARGET == HWY_AVX2
constexpr int kRows = 6;
using D = hn::CappedTag<float, 8>;
#else
constexpr int kRows = 4;
using D = hn::CappedTag<float, 4>;
#endif
using V = hn::VFromD<D>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
constexpr int kHalf = 7;

// Fourteen rows at a uniform stride are reached from two pointers and three strides (x86 scales an index by
// 1, 2, 4 or 8): seven registers in all, so that none is spilled inside the loop.
struct Strides {
  int64_t one, three, five;  // bytes
};

template <int R>
TENON_INLINE const float* row_at(const char* p, const Strides& s) {
  static_assert(R >= 0 && R < kHalf);
  if constexpr (R == 0) return reinterpret_cast<const float*>(p);
  if constexpr (R == 1) return reinterpret_cast<const float*>(p + s.one);
  if constexpr (R == 2) return reinterpret_cast<const float*>(p + s.one * 2);
  if constexpr (R == 3) return reinterpret_cast<const float*>(p + s.three);
  if constexpr (R == 4) return reinterpret_cast<const float*>(p + s.one * 4);
  if constexpr (R == 5) return reinterpret_cast<const float*>(p + s.five);
  return reinterpret_cast<const float*>(p + s.three * 2);
}

// One step of k for the rows from R on.
template <int R, int MR, int NV>
TENON_INLINE void step(const char* p0, const char* p1, const Strides& s, const V (&b)[NV], V (&acc)[MR][NV]) {
  if constexpr (R < MR) {
    const D d;
    const V a = hn::Set(d, *row_at<R % kHalf>(R < kHalf ? p0 : p1, s));
    TENON_UNROLL
    for (int j = 0; j < NV; ++j) acc[R][j] = hn::MulAdd(a, b[j], acc[R][j]);
    step<R + 1, MR, NV>(p0, p1, s, b, acc);
  }
}

// B comes from the second-level cache or from memory, and the processor's own prefetching stops at each page: each step
// asks for the values of 16 steps on. Measured with cold weights: 115 -> 170 GFLOP/s for one tile a panel, 161 -> 181
// for eight. A single-vector panel is short of load slots instead, and small.
constexpr int kAhead = 512;

template <int MR, int NV>
TENON_INLINE void multiply_one(const char* p0, const char* p1, const float* pb, const Strides& s, V (&acc)[MR][NV]) {
  const D d;
  if (NV > 1) {
    TENON_UNROLL
    for (int i = 0; i < NV * kLanes; i += 16) __builtin_prefetch(pb + kAhead + i, 0, 3);
  }
  V b[NV];
  TENON_UNROLL
  for (int j = 0; j < NV; ++j) b[j] = hn::Load(d, pb + j * kLanes);
  step<0, MR, NV>(p0, p1, s, b, acc);
}

template <int MR, int NV>
TENON_INLINE void multiply(const Tile& t, V (&acc)[MR][NV]) {
  // A long body no longer fits the decoded-instruction cache well; a short one is worth unrolling.
  constexpr int kUnroll = MR * NV > 14 ? 1 : 4;
  Strides s{t.lda * 4, t.lda * 12, t.lda * 20};
  const float* HWY_RESTRICT pb = t.b;
  // The empty asm statements keep the compiler from making one induction variable of each row's address.
  asm("" : "+r"(s.one), "+r"(s.three), "+r"(s.five));
  for (int64_t g = 0; g < t.segment_count; ++g) {
    const char* p0 = reinterpret_cast<const char*>(t.a + t.segments[g]);
    const char* p1 = MR > kHalf ? p0 + kHalf * s.one : p0;
    int64_t k = t.segment_length;
    for (; k >= kUnroll; k -= kUnroll) {
      asm("" : "+r"(p0), "+r"(p1));
      TENON_UNROLL
      for (int u = 0; u < kUnroll; ++u) multiply_one<MR, NV>(p0 + 4 * u, p1 + 4 * u, pb + u * NV * kLanes, s, acc);
      pb += kUnroll * NV * kLanes;
      p0 += 4 * kUnroll;
      if (MR > kHalf) p1 += 4 * kUnroll;
    }
    for (; k > 0; --k) {
      asm("" : "+r"(p0), "+r"(p1));
      multiply_one<MR, NV>(p0, p1, pb, s, acc);
      pb += NV * kLanes;
      p0 += 4;
      if (MR > kHalf) p1 += 4;
    }
  }
}

// Few rows leave the multiplier idle for the latency of each sum: even and odd k get sums of their own.
template <int MR, int NV>
TENON_INLINE void multiply_few(const Tile& t, V (&acc)[MR][NV]) {
  const D d;
  Strides s{t.lda * 4, t.lda * 12, t.lda * 20};
  const float* HWY_RESTRICT pb = t.b;
  constexpr int kWays = 4;
  V sums[kWays][MR][NV];
  TENON_UNROLL
  for (int w = 0; w < kWays; ++w) TENON_UNROLL
  for (int r = 0; r < MR; ++r) TENON_UNROLL
  for (int j = 0; j < NV; ++j) sums[w][r][j] = hn::Zero(d);
  for (int64_t g = 0; g < t.segment_count; ++g) {
    const char* p = reinterpret_cast<const char*>(t.a + t.segments[g]);
    int64_t k = t.segment_length;
    for (; k >= kWays; k -= kWays) {
      TENON_UNROLL
      for (int w = 0; w < kWays; ++w) {
        V b[NV];
        TENON_UNROLL
        for (int j = 0; j < NV; ++j) b[j] = hn::Load(d, pb + (w * NV + j) * kLanes);
        step<0, MR, NV>(p + 4 * w, p, s, b, sums[w]);
      }
      pb += kWays * NV * kLanes;
      p += 4 * kWays;
    }
    for (; k > 0; --k) {
      V b[NV];
      TENON_UNROLL
      for (int j = 0; j < NV; ++j) b[j] = hn::Load(d, pb + j * kLanes);
      step<0, MR, NV>(p, p, s, b, acc);
      pb += NV * kLanes;
      p += 4;
    }
  }
  TENON_UNROLL
  for (int w = 0; w < kWays; ++w) TENON_UNROLL
  for (int r = 0; r < MR; ++r) TENON_UNROLL
  for (int j = 0; j < NV; ++j) acc[r][j] = hn::Add(acc[r][j], sums[w][r][j]);
}

TENON_INLINE V load_first(float* p, int64_t count) {
  const D d;
#if HWY_TARGET <= HWY_AVX2
  return hn::MaskedLoad(hn::FirstN(d, static_cast<size_t>(count)), d, p);
#else
  HWY_ALIGN float buffer[kLanes] = {};
  for (int64_t i = 0; i < count; ++i) buffer[i] = p[i];
  return hn::Load(d, buffer);
#endif
}

TENON_INLINE void store_first(V v, float* p, int64_t count) {
  const D d;
#if HWY_TARGET <= HWY_AVX2
  hn::BlendedStore(v, hn::FirstN(d, static_cast<size_t>(count)), d, p);
#else
  HWY_ALIGN float buffer[kLanes];
  hn::Store(v, d, buffer);
  for (int64_t i = 0; i < count; ++i) p[i] = buffer[i];
#endif
}

TENON_INLINE V hard_swish(const Tile& t, V x) {
  const D d;
  const V gate = hn::MulAdd(x, hn::Set(d, 1.0f / 6), hn::Set(d, 0.5f));
  const V y = hn::Mul(x, hn::Min(hn::Set(d, 1.0f), hn::Max(hn::Zero(d), gate)));
  return hn::MulAdd(y, hn::Set(d, t.mul), hn::Set(d, t.add));
}

template <int MR, int NV>
TENON_INLINE void finish(const Tile& shared, V (&acc)[MR][NV]) {
  const D d;
  const Tile t = shared;                            // a local copy: the stores below cannot change it
  const int64_t tail = t.cols - (NV - 1) * kLanes;  // values of the last vector
  if (t.accumulate) {
    float* c = t.c;
    TENON_UNROLL
    for (int r = 0; r < MR; ++r, c += t.ldc) {
      TENON_UNROLL
      for (int j = 0; j + 1 < NV; ++j) acc[r][j] = hn::Add(acc[r][j], hn::LoadU(d, c + j * kLanes));
      acc[r][NV - 1] = hn::Add(acc[r][NV - 1], load_first(c + (NV - 1) * kLanes, tail));
    }
  }
  if (t.clamp) {
    // In this order a NaN stays a NaN.
    const V lo = hn::Set(d, t.lo), hi = hn::Set(d, t.hi);
    TENON_UNROLL
    for (int r = 0; r < MR; ++r) TENON_UNROLL
    for (int j = 0; j < NV; ++j) acc[r][j] = hn::Min(hi, hn::Max(lo, acc[r][j]));
  }
  if (t.swish) {
    TENON_UNROLL
    for (int r = 0; r < MR; ++r) TENON_UNROLL
    for (int j = 0; j < NV; ++j) acc[r][j] = hard_swish(t, acc[r][j]);
  }
  float* c = t.c;
  if (tail == kLanes) {
    TENON_UNROLL
    for (int r = 0; r < MR; ++r, c += t.ldc) TENON_UNROLL
    for (int j = 0; j < NV; ++j) hn::StoreU(acc[r][j], d, c + j * kLanes);
  } else {
    TENON_UNROLL
    for (int r = 0; r < MR; ++r, c += t.ldc) {
      TENON_UNROLL
      for (int j = 0; j + 1 < NV; ++j) hn::StoreU(acc[r][j], d, c + j * kLanes);
      store_first(acc[r][NV - 1], c + (NV - 1) * kLanes, tail);
    }
  }
}

template <int MR, int NV>
void tile(const Tile& t) {
  const D d;
  V acc[MR][NV];
  V start[NV];
  TENON_UNROLL
  for (int j = 0; j < NV; ++j) start[j] = hn::LoadU(d, t.init + j * kLanes);
  TENON_UNROLL
  for (int r = 0; r < MR; ++r) TENON_UNROLL
  for (int j = 0; j < NV; ++j) acc[r][j] = start[j];
  if constexpr (MR * NV <= 4 && kRows > 4) {
    multiply_few<MR, NV>(t, acc);
  } else {
    multiply<MR, NV>(t, acc);
  }
  finish<MR, NV>(t, acc);
}

double fma_burst(int64_t rounds) {
  const D d;
  constexpr int kChains = kRows > 4 ? 12 : 8;
  V acc[kChains];
  const V x = hn::Set(d, 0.999f), y = hn::Set(d, 0.001f);
  TENON_UNROLL
  for (int i = 0; i < kChains; ++i) acc[i] = hn::Set(d, static_cast<float>(i));
  for (int64_t r = 0; r < rounds; ++r) {
    TENON_UNROLL
    for (int i = 0; i < kChains; ++i) acc[i] = hn::MulAdd(acc[i], x, y);
  }
  V sum = acc[0];
  TENON_UNROLL
  for (int i = 1; i < kChains; ++i) sum = hn::Add(sum, acc[i]);
  asm volatile("" : : "x"(hn::GetLane(sum)));  // the loop has a reader
  return 2.0 * static_cast<double>(rounds) * kChains * kLanes;
}

template <int NV, int MR>
constexpr void fill_rows(TileKernels& k) {
  if constexpr (MR >= 1) {
    k.tile[NV][MR] = &tile<MR, NV>;
    fill_rows<NV, MR - 1>(k);
  }
}

constexpr TileKernels make_kernels() {
  TileKernels k{};
  k.lanes = kLanes;
  k.max_rows = kRows;
  k.max_vectors = kMaxTileVectors;
  fill_rows<1, kRows>(k);
  fill_rows<2, kRows>(k);
  k.fma_burst = &fma_burst;
  return k;
}

constexpr TileKernels kKernels = make_kernels();

}  // namespace

const TileKernels* kernels() { return &kKernels; }

}  // namespace HWY_NAMESPACE
}  // namespace tenon::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tenon::cpu {

HWY_EXPORT(kernels);

const TileKernels& tile_kernels() { return *HWY_DYNAMIC_DISPATCH(kernels)(); }

}  // namespace tenon::cpu
#endif
