#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/pointwise_kernels.cpp"
#define HWY_DISABLED_TARGETS HWY_SSSE3
#include "cpu/pointwise_kernels.hpp"

#include <math.h>
#include <string.h>

#include <type_traits>

#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// Highway first
#include "cpu/math-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace tenon::cpu {
namespace HWY_NAMESPACE {
namespace {

HWY_INLINE V value_of(V x) { return x; }
HWY_INLINE V value_of(M m) { return select(m, V(1.0), V(0.0)); }

using T = V;
constexpr int64_t kLanes = HWY_LANES(float);

// One loop an op. Int-only ops have no float form: the type class picks the real macro or nothing.
#define TENON_LOOP(Name, setup, expr) \
  void loop_##Name([[maybe_unused]] const float* pa, [[maybe_unused]] const float* pb, \
                   [[maybe_unused]] const float* pc, float* dst, [[maybe_unused]] float p_, [[maybe_unused]] float q_, \
                   int64_t n) { \
    [[maybe_unused]] const V p(p_), q(q_); \
    for (int64_t i = 0; i < n; i += kLanes) { \
      setup store(value_of(expr), dst + i); \
    } \
  }
#define TENON_X const V x = load(pa + i);
#define TENON_AB const V a = load(pa + i), b = load(pb + i);
#define TENON_ABC const V a = load(pa + i), b = load(pb + i), c = load(pc + i);
#define TENON_IF_Float(...) __VA_ARGS__
#define TENON_IF_Num(...) __VA_ARGS__
#define TENON_IF_Logic(...) __VA_ARGS__
#define TENON_IF_Int(...)

#define TENON_EW_UNARY(Name, Types, expr) TENON_IF_##Types(TENON_LOOP(Name, TENON_X, expr))
#define TENON_EW_UNARY_BOOL(Name, Types, expr) TENON_IF_##Types(TENON_LOOP(Name, TENON_X, expr))
#define TENON_EW_BINARY(Name, Types, expr) TENON_IF_##Types(TENON_LOOP(Name, TENON_AB, expr))
#define TENON_EW_BINARY_BOOL(Name, Types, expr) TENON_IF_##Types(TENON_LOOP(Name, TENON_AB, expr))
#define TENON_EW_TERNARY(Name, Types, expr) TENON_IF_##Types(TENON_LOOP(Name, TENON_ABC, expr))
#include "ops/elementwise.def"

/// What `to_bf16` keeps: the upper 16 bits, rounded to nearest even; NaN stays NaN.
HWY_INLINE hn::Vec<DI> bf16_bits(V x) {
  const DI di;
  const auto bits = hn::BitCast(di, x.v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(di, 1));
  const auto rounded = hn::Add(hn::Add(bits, hn::Set(di, 0x7fff)), odd);
  const auto quiet = hn::Or(bits, hn::Set(di, 0x400000));
  return hn::ShiftRight<16>(
      hn::BitCast(di, hn::IfThenElse((x != x).m, hn::BitCast(DF(), quiet), hn::BitCast(DF(), rounded))));
}
HWY_INLINE V round_bf16(V x) { return hn::BitCast(DF(), hn::ShiftLeft<16>(bf16_bits(x))); }

#if HWY_TARGET <= HWY_AVX2  // F16C
HWY_INLINE hn::Vec<hn::Rebind<hwy::float16_t, DF>> to_f16(V x) {
  return hn::DemoteTo(hn::Rebind<hwy::float16_t, DF>(), x.v);
}
HWY_INLINE V from_f16(hn::Vec<hn::Rebind<hwy::float16_t, DF>> h) { return hn::PromoteTo(DF(), h); }
#else
// Highway's own emulation truncates, and knows no infinity.
HWY_INLINE V from_f16(hn::Vec<hn::Rebind<hwy::float16_t, DF>> half) {
  const DI di;
  const auto h = hn::PromoteTo(di, hn::BitCast(hn::Rebind<int16_t, DF>(), half));
  const auto m = hn::ShiftLeft<13>(hn::And(h, hn::Set(di, 0x7fff)));
  const V scaled = V(hn::BitCast(DF(), m)) * V(5.192296858534828e33);  // 2^112; normalises subnormals too
  const V special = hn::BitCast(DF(), hn::Or(m, hn::Set(di, 0x7f800000)));
  const auto sign = hn::ShiftLeft<16>(hn::And(h, hn::Set(di, 0x8000)));
  return hn::Or(select(scaled >= V(65536.0), special, scaled).v, hn::BitCast(DF(), sign));
}
/// To nearest even.
HWY_INLINE hn::Vec<hn::Rebind<hwy::float16_t, DF>> to_f16(V x) {
  const DI di;
  const auto bits = hn::BitCast(di, x.v);
  const auto sign = hn::And(hn::ShiftRight<16>(bits), hn::Set(di, 0x8000));
  const V magnitude = abs(x);
  const auto m = hn::BitCast(di, magnitude.v);
  const auto odd = hn::And(hn::ShiftRight<13>(m), hn::Set(di, 1));
  const auto normal = hn::ShiftRight<13>(hn::Add(hn::Add(m, odd), hn::Set(di, 0xfff - (112 << 23))));
  // The last bit of 0.5f is that of a subnormal half, so the addition rounds.
  const auto small = hn::Sub(hn::BitCast(di, (magnitude + V(0.5)).v), hn::Set(di, 0x3f000000));
  const auto pick = [](M mask, auto yes, auto no) {
    return hn::BitCast(DI(), hn::IfThenElse(mask.m, hn::BitCast(DF(), yes), hn::BitCast(DF(), no)));
  };
  auto h = pick(magnitude < V(6.103515625e-05), small, normal);
  h = pick(magnitude >= V(65520.0), hn::Set(di, 0x7c00), h);
  h = hn::Or(pick(x != x, hn::Set(di, 0x7e00), h), sign);
  const hn::Rebind<int16_t, DF> d16;
  const auto narrow = hn::DemoteTo(d16, hn::ShiftRight<16>(hn::ShiftLeft<16>(h)));
  return hn::BitCast(hn::Rebind<hwy::float16_t, DF>(), narrow);
}
#endif
HWY_INLINE V round_f16(V x) { return from_f16(to_f16(x)); }

TENON_LOOP(Copy, TENON_X, x)
TENON_LOOP(Quantize, TENON_ABC, min(max(rint(a / b) + c, p), q))
/// a / d from r = 1 / d: a division takes 16 cycles a vector, this a few. The remainder of the first quotient is exact,
/// so the second is rounded as a division is; where it would overflow the first one has done so already.
HWY_INLINE V divide(V a, V d, [[maybe_unused]] V r) {
#if HWY_TARGET <= HWY_AVX2
  const V q = a * r;
  return select(abs(q) < V(3.4e38), fma(fnma(q, d, a), r, q), q);
#else
  return a / d;  // without a fused multiply-add the remainder would be rounded
#endif
}

void loop_QuantizeEven(const float* pa, const float* pb, const float* pc, float* dst, float p_, float q_, int64_t n) {
  const V p(p_), q(q_), b = load(pb), c = load(pc), r = V(1.0) / b;
  for (int64_t i = 0; i < n; i += kLanes) store(min(max(rint(divide(load(pa + i), b, r)) + c, p), q), dst + i);
}

TENON_LOOP(Dequantize, TENON_ABC, (a - c) * b)
TENON_LOOP(DivConst, TENON_X, divide(x, p, q))
TENON_LOOP(RoundFloat16, TENON_X, round_f16(x))
TENON_LOOP(RoundBFloat16, TENON_X, round_bf16(x))
TENON_LOOP(Truncate, TENON_X, min(max(trunc(x), p), q))
TENON_LOOP(Truth, TENON_X, x != V(0.0))

// Loads: one vector of each memory type.
template <class S>
HWY_INLINE V load_as(const S* p) {
  if constexpr (std::is_same_v<S, float>) {
    return load(p);
  } else if constexpr (std::is_same_v<S, int32_t>) {
    return hn::ConvertTo(DF(), hn::LoadU(DI(), p));
  } else if constexpr (std::is_same_v<S, hwy::float16_t>) {
    return from_f16(hn::LoadU(hn::Rebind<S, DF>(), p));
  } else if constexpr (std::is_same_v<S, hwy::bfloat16_t>) {
    return hn::PromoteTo(DF(), hn::LoadU(hn::Rebind<S, DF>(), p));
  } else {
    return hn::ConvertTo(DF(), hn::PromoteTo(DI(), hn::LoadU(hn::Rebind<S, DF>(), p)));
  }
}

template <class S>
void load_loop(const void* src, float* dst, int64_t n) {
  const S* from = static_cast<const S*>(src);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(load_as(from + i), dst + i);
  if (i < n) {
    alignas(64) S tail[HWY_MAX_BYTES / sizeof(float)] = {};
    memcpy(tail, from + i, static_cast<size_t>(n - i) * sizeof(S));
    store(load_as(tail), dst + i);
  }
}

template <class S>
void load_plain(const void* src, float* dst, int64_t n) {
  const S* from = static_cast<const S*>(src);
  for (int64_t i = 0; i < n; ++i) dst[i] = static_cast<float>(from[i]);
}

// Stores.
template <class S>
HWY_INLINE void store_as(V x, S* p) {
  if constexpr (std::is_same_v<S, float>) {
    store(x, p);
  } else if constexpr (std::is_same_v<S, hwy::float16_t>) {
    const hn::Rebind<S, DF> d;
    hn::StoreU(to_f16(x), d, p);
  } else if constexpr (std::is_same_v<S, hwy::bfloat16_t>) {
    const hn::Rebind<int16_t, DF> d;
    hn::StoreU(hn::DemoteTo(d, bf16_bits(x)), d, reinterpret_cast<int16_t*>(p));
  } else if constexpr (std::is_same_v<S, bool>) {
    const hn::Rebind<uint8_t, DF> d;
    hn::StoreU(hn::DemoteTo(d, hn::ConvertTo(DI(), value_of(x != V(0.0)).v)), d, reinterpret_cast<uint8_t*>(p));
  } else if constexpr (std::is_same_v<S, int32_t>) {
    hn::StoreU(hn::ConvertTo(DI(), select(x != x, V(0.0), x).v), DI(), p);
  } else {
    const V whole = clamp_number(select(x != x, V(0.0), x), -1e6f, 1e6f);  // the demotion saturates
    const hn::Rebind<S, DF> d;
    hn::StoreU(hn::DemoteTo(d, hn::ConvertTo(DI(), whole.v)), d, p);
  }
}

template <class S>
void store_loop(const float* src, void* dst, int64_t n) {
  S* to = static_cast<S*>(dst);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store_as(load(src + i), to + i);
  if (i < n) {
    alignas(64) S tail[HWY_MAX_BYTES / sizeof(float)];
    store_as(load(src + i), tail);
    memcpy(to + i, tail, static_cast<size_t>(n - i) * sizeof(S));
  }
}

/// `lo` and `past` are the type's range in float: [lo, past).
template <class S>
void store_plain(const float* src, void* dst, int64_t n, float lo, float past, S max_value) {
  S* to = static_cast<S*>(dst);
  for (int64_t i = 0; i < n; ++i) {
    const float x = src[i];
    to[i] = x != x ? S(0) : x >= past ? max_value : x < lo ? static_cast<S>(lo) : static_cast<S>(x);
  }
}
void store_i64(const float* src, void* dst, int64_t n) {
  store_plain<int64_t>(src, dst, n, -9223372036854775808.0f, 9223372036854775808.0f, INT64_MAX);
}
void store_u64(const float* src, void* dst, int64_t n) {
  store_plain<uint64_t>(src, dst, n, 0.0f, 18446744073709551616.0f, UINT64_MAX);
}
void store_u32(const float* src, void* dst, int64_t n) {
  store_plain<uint32_t>(src, dst, n, 0.0f, 4294967296.0f, UINT32_MAX);
}
void store_f64(const float* src, void* dst, int64_t n) {
  for (int64_t i = 0; i < n; ++i) static_cast<double*>(dst)[i] = src[i];
}

}  // namespace

PointwiseTable make_table() {
  PointwiseTable t = {};
#define TENON_ENTRY(Name) t.kernels[static_cast<int>(Opcode::k##Name)] = loop_##Name;
#define TENON_EW_UNARY(Name, Types, expr) TENON_IF_##Types(TENON_ENTRY(Name))
#define TENON_EW_UNARY_BOOL(Name, Types, expr) TENON_IF_##Types(TENON_ENTRY(Name))
#define TENON_EW_BINARY(Name, Types, expr) TENON_IF_##Types(TENON_ENTRY(Name))
#define TENON_EW_BINARY_BOOL(Name, Types, expr) TENON_IF_##Types(TENON_ENTRY(Name))
#define TENON_EW_TERNARY(Name, Types, expr) TENON_IF_##Types(TENON_ENTRY(Name))
#include "ops/elementwise.def"
  TENON_ENTRY(Copy)
  TENON_ENTRY(Quantize)
  TENON_ENTRY(QuantizeEven)
  TENON_ENTRY(Dequantize)
  TENON_ENTRY(DivConst)
  TENON_ENTRY(RoundFloat16)
  TENON_ENTRY(RoundBFloat16)
  TENON_ENTRY(Truncate)
  TENON_ENTRY(Truth)
#define TENON_TYPE(Name, loader, storer) \
  t.load[static_cast<int>(DType::k##Name)] = loader; \
  t.store[static_cast<int>(DType::k##Name)] = storer;
  TENON_TYPE(Float32, load_loop<float>, store_loop<float>)
  TENON_TYPE(Float16, load_loop<hwy::float16_t>, store_loop<hwy::float16_t>)
  TENON_TYPE(BFloat16, load_loop<hwy::bfloat16_t>, store_loop<hwy::bfloat16_t>)
  TENON_TYPE(Int8, load_loop<int8_t>, store_loop<int8_t>)
  TENON_TYPE(UInt8, load_loop<uint8_t>, store_loop<uint8_t>)
  TENON_TYPE(Int16, load_loop<int16_t>, store_loop<int16_t>)
  TENON_TYPE(UInt16, load_loop<uint16_t>, store_loop<uint16_t>)
  TENON_TYPE(Int32, load_loop<int32_t>, store_loop<int32_t>)
  TENON_TYPE(Bool, load_loop<uint8_t>, store_loop<bool>)
  TENON_TYPE(UInt32, load_plain<uint32_t>, store_u32)
  TENON_TYPE(Int64, load_plain<int64_t>, store_i64)
  TENON_TYPE(UInt64, load_plain<uint64_t>, store_u64)
  TENON_TYPE(Float64, load_plain<double>, store_f64)
  return t;
}

const PointwiseTable* target_table() {
  static const PointwiseTable table = make_table();
  return &table;
}

}  // namespace HWY_NAMESPACE
}  // namespace tenon::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tenon::cpu {

HWY_EXPORT(target_table);

const PointwiseTable& pointwise_table() { return *HWY_DYNAMIC_DISPATCH(target_table)(); }

}  // namespace tenon::cpu
#endif
