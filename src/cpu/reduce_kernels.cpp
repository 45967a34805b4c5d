#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/reduce_kernels.cpp"
#define HWY_DISABLED_TARGETS HWY_SSSE3
#include "cpu/reduce_kernels.hpp"

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
constexpr int64_t kPiece = 1024;
constexpr float kInf = std::numeric_limits<float>::infinity();

template <Fold kFold>
HWY_INLINE V fold(V acc, V x, V shift) {
  if constexpr (kFold == Fold::kSum) return acc + x;
  if constexpr (kFold == Fold::kAbs) return acc + abs(x);
  if constexpr (kFold == Fold::kSquare) return fma(x, x, acc);
  if constexpr (kFold == Fold::kExp) return acc + exp(x - shift);
  if constexpr (kFold == Fold::kMax) return max(acc, x);
  if constexpr (kFold == Fold::kMin) return min(acc, x);
  if constexpr (kFold == Fold::kProd) return acc * x;
}

template <Fold kFold>
constexpr float start() {
  return kFold == Fold::kMax ? -kInf : kFold == Fold::kMin ? kInf : kFold == Fold::kProd ? 1.0f : 0.0f;
}

/// A filling that changes nothing.
template <Fold kFold>
constexpr float filling() {
  return kFold == Fold::kExp ? -kInf : start<kFold>();
}

template <Fold kFold>
HWY_INLINE V join(V a, V b) {
  if constexpr (kFold == Fold::kMax) return max(a, b);
  if constexpr (kFold == Fold::kMin) return min(a, b);
  if constexpr (kFold == Fold::kProd) return a * b;
  return a + b;
}

template <Fold kFold>
double join_lanes(V v) {
  if constexpr (kFold == Fold::kMax) return max_lanes(v);
  if constexpr (kFold == Fold::kMin) return min_lanes(v);
  if constexpr (kFold == Fold::kProd) {
    HWY_ALIGN float lanes[HWY_LANES(float)];
    store(v, lanes);
    double product = 1;
    for (float lane : lanes) product *= lane;
    return product;
  }
  return sum_lanes(v);
}

template <Fold kFold>
double row_fold(const float* x, int64_t n, float shift_value) {
  const V shift(shift_value);
  // Max and min stay exact in float; sums go to a double every piece.
  constexpr bool kExact = kFold == Fold::kMax || kFold == Fold::kMin;
  const int64_t piece = kExact ? n : kPiece;
  double total = start<kFold>();
  for (int64_t from = 0; from < n; from += piece) {
    const int64_t end = std::min(n, from + piece);
    V a0(start<kFold>()), a1 = a0, a2 = a0, a3 = a0;
    int64_t i = from;
    for (; i + 4 * kLanes <= end; i += 4 * kLanes) {
      a0 = fold<kFold>(a0, load(x + i), shift);
      a1 = fold<kFold>(a1, load(x + i + kLanes), shift);
      a2 = fold<kFold>(a2, load(x + i + 2 * kLanes), shift);
      a3 = fold<kFold>(a3, load(x + i + 3 * kLanes), shift);
    }
    for (; i + kLanes <= end; i += kLanes) a0 = fold<kFold>(a0, load(x + i), shift);
    if (i < end) a1 = fold<kFold>(a1, load_n(x + i, end - i, filling<kFold>()), shift);
    const double part = join_lanes<kFold>(join<kFold>(join<kFold>(a0, a1), join<kFold>(a2, a3)));
    if constexpr (kExact) {
      total = part;
    } else {
      total = kFold == Fold::kProd ? total * part : total + part;
    }
  }
  return total;
}

template <Fold kFold>
void columns_fold(const float* x, float* acc, const float* shift, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(fold<kFold>(load(acc + i), load(x + i), load(shift + i)), acc + i);
  if (i < n) {
    const V v = fold<kFold>(load_n(acc + i, n - i), load_n(x + i, n - i), load_n(shift + i, n - i));
    store_n(v, acc + i, n - i);
  }
}

double row(Fold fold, const float* x, int64_t n, float shift) {
  switch (fold) {
    case Fold::kSum: return row_fold<Fold::kSum>(x, n, shift);
    case Fold::kAbs: return row_fold<Fold::kAbs>(x, n, shift);
    case Fold::kSquare: return row_fold<Fold::kSquare>(x, n, shift);
    case Fold::kExp: return row_fold<Fold::kExp>(x, n, shift);
    case Fold::kMax: return row_fold<Fold::kMax>(x, n, shift);
    case Fold::kMin: return row_fold<Fold::kMin>(x, n, shift);
    case Fold::kProd: return row_fold<Fold::kProd>(x, n, shift);
  }
  return 0;
}

void columns(Fold fold, const float* x, float* acc, const float* shift, int64_t n) {
  switch (fold) {
    case Fold::kSum: return columns_fold<Fold::kSum>(x, acc, shift, n);
    case Fold::kAbs: return columns_fold<Fold::kAbs>(x, acc, shift, n);
    case Fold::kSquare: return columns_fold<Fold::kSquare>(x, acc, shift, n);
    case Fold::kExp: return columns_fold<Fold::kExp>(x, acc, shift, n);
    case Fold::kMax: return columns_fold<Fold::kMax>(x, acc, shift, n);
    case Fold::kMin: return columns_fold<Fold::kMin>(x, acc, shift, n);
    case Fold::kProd: return columns_fold<Fold::kProd>(x, acc, shift, n);
  }
}

void range(const float* x, int64_t n, float* smallest, float* largest) {
  V lo(kInf), hi(-kInf);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const V v = load(x + i);
    lo = min(lo, v);
    hi = max(hi, v);
  }
  if (i < n) {
    const V v = load_n(x + i, n - i, x[i]);
    lo = min(lo, v);
    hi = max(hi, v);
  }
  *smallest = min_lanes(lo);
  *largest = max_lanes(hi);
}

int64_t find(const float* x, int64_t n, float value) {
  const V wanted(value);
  const bool nan = value != value;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const V v = load(x + i);
    const int64_t lane = hn::FindFirstTrue(DF(), (nan ? v != v : v == wanted).m);
    if (lane >= 0) return i + lane;
  }
  for (; i < n; ++i) {
    if (nan ? x[i] != x[i] : x[i] == value) return i;
  }
  return n;
}

}  // namespace

const ReduceTable* target_reduce_table() {
  static const ReduceTable table = {row, columns, range, find};
  return &table;
}

}  // namespace HWY_NAMESPACE
}  // namespace tenon::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tenon::cpu {

HWY_EXPORT(target_reduce_table);

const ReduceTable& reduce_table() { return *HWY_DYNAMIC_DISPATCH(target_reduce_table)(); }

}  // namespace tenon::cpu
#endif
