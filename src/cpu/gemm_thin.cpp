#include "cpu/gemm_thin.hpp"

#include <cstdint>

#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS HWY_SSSE3
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/gemm_thin.cpp"
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

// NV vectors of columns from `col` on.
template <int MR, int NV>
TENON_INLINE void row_block(const Thin& t, int64_t col) {
  const D d;
  V acc[MR][NV];
  TENON_UNROLL
  for (int r = 0; r < MR; ++r) TENON_UNROLL
  for (int j = 0; j < NV; ++j) acc[r][j] = hn::Zero(d);
  const float* b = t.b + col;
  for (int64_t k = 0; k < t.k; ++k, b += t.ldb) {
    TENON_UNROLL
    for (int j = 0; j < NV; ++j) {
      const V v = hn::LoadU(d, b + j * kLanes);
      TENON_UNROLL
      for (int r = 0; r < MR; ++r) acc[r][j] = hn::MulAdd(hn::Set(d, t.a[r * t.lda + k]), v, acc[r][j]);
    }
  }
  TENON_UNROLL
  for (int r = 0; r < MR; ++r) TENON_UNROLL
  for (int j = 0; j < NV; ++j) hn::StoreU(acc[r][j], d, t.c + r * t.ldc + col + j * kLanes);
}

template <int MR>
void by_rows_of(const Thin& t) {
  int64_t col = 0;
  for (; col + 4 * kLanes <= t.n; col += 4 * kLanes) row_block<MR, 4>(t, col);
  for (; col + kLanes <= t.n; col += kLanes) row_block<MR, 1>(t, col);
  for (; col < t.n; ++col) {
    float sums[MR] = {};
    for (int64_t k = 0; k < t.k; ++k) {
      for (int r = 0; r < MR; ++r) sums[r] += t.a[r * t.lda + k] * t.b[k * t.ldb + col];
    }
    for (int r = 0; r < MR; ++r) t.c[r * t.ldc + col] = sums[r];
  }
}

// The sums of products of MR rows with NC columns, all contiguous in k.
template <int MR, int NC>
TENON_INLINE void column_block(const Thin& t, int64_t col) {
  const D d;
  V acc[MR][NC];
  TENON_UNROLL
  for (int r = 0; r < MR; ++r) TENON_UNROLL
  for (int j = 0; j < NC; ++j) acc[r][j] = hn::Zero(d);
  const float* b = t.b + col * t.ldb;
  int64_t k = 0;
  for (; k + kLanes <= t.k; k += kLanes) {
    V a[MR];
    TENON_UNROLL
    for (int r = 0; r < MR; ++r) a[r] = hn::LoadU(d, t.a + r * t.lda + k);
    TENON_UNROLL
    for (int j = 0; j < NC; ++j) {
      const V v = hn::LoadU(d, b + j * t.ldb + k);
      TENON_UNROLL
      for (int r = 0; r < MR; ++r) acc[r][j] = hn::MulAdd(a[r], v, acc[r][j]);
    }
  }
  TENON_UNROLL
  for (int r = 0; r < MR; ++r) {
    TENON_UNROLL
    for (int j = 0; j < NC; ++j) {
      float sum = hn::GetLane(hn::SumOfLanes(d, acc[r][j]));
      for (int64_t rest = k; rest < t.k; ++rest) sum += t.a[r * t.lda + rest] * b[j * t.ldb + rest];
      t.c[r * t.ldc + col + j] = sum;
    }
  }
}

template <int MR>
void by_columns_of(const Thin& t) {
  int64_t col = 0;
  for (; col + 4 <= t.n; col += 4) column_block<MR, 4>(t, col);
  for (; col < t.n; ++col) column_block<MR, 1>(t, col);
}

void by_rows(const Thin& t) {
  if (t.rows == 1) return by_rows_of<1>(t);
  if (t.rows == 2) return by_rows_of<2>(t);
  if (t.rows == 3) return by_rows_of<3>(t);
  by_rows_of<4>(t);
}

void by_columns(const Thin& t) {
  if (t.rows == 1) return by_columns_of<1>(t);
  if (t.rows == 2) return by_columns_of<2>(t);
  if (t.rows == 3) return by_columns_of<3>(t);
  by_columns_of<4>(t);
}

void interleave3(const float* x, const float* y, const float* z, int64_t count, float* to) {
  int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const D d;
  for (; i + kLanes <= count; i += kLanes) {
    hn::StoreInterleaved3(hn::LoadU(d, x + i), hn::LoadU(d, y + i), hn::LoadU(d, z + i), d, to + 3 * i);
  }
#endif
  for (; i < count; ++i) {
    to[3 * i] = x[i];
    to[3 * i + 1] = y[i];
    to[3 * i + 2] = z[i];
  }
}

void interleave3_bytes(const uint8_t* x, const uint8_t* y, const uint8_t* z, int64_t count, uint8_t* to) {
  int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::CappedTag<uint8_t, 32> d;
  constexpr auto kBytes = static_cast<int64_t>(hn::MaxLanes(d));
  for (; i + kBytes <= count; i += kBytes) {
    hn::StoreInterleaved3(hn::LoadU(d, x + i), hn::LoadU(d, y + i), hn::LoadU(d, z + i), d, to + 3 * i);
  }
#endif
  for (; i < count; ++i) {
    to[3 * i] = x[i];
    to[3 * i + 1] = y[i];
    to[3 * i + 2] = z[i];
  }
}

constexpr ThinKernels kKernels{&by_rows, &by_columns, &interleave3, &interleave3_bytes};

}  // namespace

const ThinKernels* thin_set() { return &kKernels; }

}  // namespace HWY_NAMESPACE
}  // namespace tenon::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tenon::cpu {

HWY_EXPORT(thin_set);

const ThinKernels& thin_kernels() { return *HWY_DYNAMIC_DISPATCH(thin_set)(); }

}  // namespace tenon::cpu
#endif
