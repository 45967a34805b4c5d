// The elementwise ops of elementwise.def as an enum, a table of facts, and naive host functions (ref_Relu(x),
// ...) for double, float, integers and bool. Header only; everything is constexpr data or pure functions,
// safe from any thread. Integer semantics: add, sub and mul wrap; x / 0 and x % 0 are 0; MIN / -1 is MIN;
// shifts by the width or more give 0.
#pragma once

#include <cmath>
#include <cstdint>
#include <iterator>
#include <limits>
#include <optional>
#include <string_view>
#include <type_traits>

namespace tenon {

enum class EwOp : uint8_t {
#define TENON_EW_UNARY(Name, Types, expr) k##Name,
#define TENON_EW_UNARY_BOOL(Name, Types, expr) k##Name,
#define TENON_EW_BINARY(Name, Types, expr) k##Name,
#define TENON_EW_BINARY_BOOL(Name, Types, expr) k##Name,
#define TENON_EW_TERNARY(Name, Types, expr) k##Name,
#include "ops/elementwise.def"
  kCount
};

enum class EwTypes : uint8_t { kFloat, kNum, kInt, kLogic };

struct EwInfo {
  const char* name;
  int arity;
  EwTypes types;
  bool gives_bool;
  const char* text;  // the expression, for code generators: in x, p, q; a, b; or a, b, c; with T the element type
};

inline constexpr EwInfo kEwInfo[] = {
#define TENON_EW_UNARY(Name, Types, expr) {#Name, 1, EwTypes::k##Types, false, #expr},
#define TENON_EW_UNARY_BOOL(Name, Types, expr) {#Name, 1, EwTypes::k##Types, true, #expr},
#define TENON_EW_BINARY(Name, Types, expr) {#Name, 2, EwTypes::k##Types, false, #expr},
#define TENON_EW_BINARY_BOOL(Name, Types, expr) {#Name, 2, EwTypes::k##Types, true, #expr},
#define TENON_EW_TERNARY(Name, Types, expr) {#Name, 3, EwTypes::k##Types, false, #expr},
#include "ops/elementwise.def"
};

inline constexpr const EwInfo& info(EwOp op) { return kEwInfo[static_cast<int>(op)]; }

/// The op of that name ("Relu", "Silu", ...), or nothing.
inline std::optional<EwOp> find_elementwise(std::string_view name) {
  for (int i = 0; i < static_cast<int>(EwOp::kCount); ++i) {
    if (name == kEwInfo[i].name) return static_cast<EwOp>(i);
  }
  return std::nullopt;
}

/// What the expressions may call, on the host.
namespace ew {

/// An integer with defined overflow and division; the expressions see it as an ordinary number.
template <class I>
struct Int {
  using U = std::make_unsigned_t<I>;
  // Wide enough that small types do not promote to a signed int which could overflow in the multiplication.
  using W = std::conditional_t<(sizeof(I) < 4), uint32_t, U>;
  I v = 0;
  Int() = default;
  template <class N>
  constexpr explicit Int(N n) : v(static_cast<I>(n)) {}
  template <class N>
  constexpr explicit operator N() const {
    return static_cast<N>(v);
  }
  static constexpr Int from(W w) { return Int(static_cast<I>(w)); }
  friend constexpr Int operator+(Int a, Int b) { return from(W(a.v) + W(b.v)); }
  friend constexpr Int operator-(Int a, Int b) { return from(W(a.v) - W(b.v)); }
  friend constexpr Int operator*(Int a, Int b) { return from(W(a.v) * W(b.v)); }
  friend constexpr Int operator/(Int a, Int b) {
    if (b.v == 0) return Int(0);
    if constexpr (std::is_signed_v<I>) {
      if (b.v == -1) return -a;
    }
    return Int(a.v / b.v);
  }
  constexpr Int operator-() const { return from(W(0) - W(v)); }
  constexpr Int operator~() const { return Int(~v); }
  friend constexpr Int operator&(Int a, Int b) { return Int(a.v & b.v); }
  friend constexpr Int operator|(Int a, Int b) { return Int(a.v | b.v); }
  friend constexpr Int operator^(Int a, Int b) { return Int(a.v ^ b.v); }
  static constexpr bool shifts_out(Int b) { return U(b.v) >= sizeof(I) * 8; }
  friend constexpr Int operator<<(Int a, Int b) { return shifts_out(b) ? Int(0) : from(W(a.v) << b.v); }
  friend constexpr Int operator>>(Int a, Int b) { return shifts_out(b) ? Int(0) : Int(a.v >> b.v); }
  friend constexpr bool operator==(Int a, Int b) { return a.v == b.v; }
  friend constexpr bool operator!=(Int a, Int b) { return a.v != b.v; }
  friend constexpr bool operator<(Int a, Int b) { return a.v < b.v; }
  friend constexpr bool operator<=(Int a, Int b) { return a.v <= b.v; }
  friend constexpr bool operator>(Int a, Int b) { return a.v > b.v; }
  friend constexpr bool operator>=(Int a, Int b) { return a.v >= b.v; }
};

template <class S>
struct ArithOf {
  using type = Int<S>;
};
template <>
struct ArithOf<bool> {
  using type = Int<uint8_t>;
};
template <>
struct ArithOf<float> {
  using type = float;
};
template <>
struct ArithOf<double> {
  using type = double;
};

template <class T>
T select(bool condition, T yes, T no) {
  return condition ? yes : no;
}
template <class T>
T max(T a, T b) {
  return (a > b) | (a != a) ? a : b;
}
template <class T>
T min(T a, T b) {
  return (a < b) | (a != a) ? a : b;
}
template <class T>
T abs(T x) {
  if constexpr (std::is_floating_point_v<T>) {
    return std::fabs(x);
  } else {
    return x < T(0) ? -x : x;
  }
}
template <class T>
T fma(T a, T b, T c) {
  if constexpr (std::is_floating_point_v<T>) {
    return std::fma(a, b, c);
  } else {
    return a * b + c;
  }
}
template <class T>
T fmod(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    return std::fmod(a, b);
  } else {
    return b == T(0) ? T(0) : a - a / b * b;
  }
}
/// The remainder with the sign of the divisor.
template <class T>
T mod(T a, T b) {
  T r = fmod(a, b);
  return r != T(0) && (r < T(0)) != (b < T(0)) ? r + b : r;
}
template <class I>
Int<I> pow(Int<I> base, Int<I> exponent) {
  if (exponent < Int<I>(0)) {  // 1 / base^n, truncated
    if (base == Int<I>(1)) return base;
    if (base + Int<I>(1) == Int<I>(0)) return (exponent & Int<I>(1)) == Int<I>(0) ? Int<I>(1) : base;
    return Int<I>(0);
  }
  Int<I> out(1);
  for (auto n = exponent.v; n > 0; n = static_cast<I>(n >> 1)) {
    if (n & 1) out = out * base;
    base = base * base;
  }
  return out;
}
#define TENON_EW_STD(name) \
  template <class T> \
  T name(T x) { \
    return std::name(x); \
  }
TENON_EW_STD(floor)
TENON_EW_STD(ceil)
TENON_EW_STD(trunc)
TENON_EW_STD(sqrt)
TENON_EW_STD(exp)
TENON_EW_STD(expm1)
TENON_EW_STD(log)
TENON_EW_STD(log1p)
TENON_EW_STD(erf)
TENON_EW_STD(sin)
TENON_EW_STD(cos)
TENON_EW_STD(tan)
TENON_EW_STD(asin)
TENON_EW_STD(acos)
TENON_EW_STD(atan)
TENON_EW_STD(sinh)
TENON_EW_STD(cosh)
TENON_EW_STD(tanh)
TENON_EW_STD(asinh)
TENON_EW_STD(acosh)
TENON_EW_STD(atanh)
#undef TENON_EW_STD
/// To the nearest integer, halves to even, whatever the thread's rounding mode is.
template <class T>
T rint(T x) {
  T r = std::round(x);
  return std::fabs(x - std::trunc(x)) == T(0.5) ? T(2) * std::round(x / T(2)) : r;
}
inline float pow(float a, float b) { return std::pow(a, b); }
inline double pow(double a, double b) { return std::pow(a, b); }

template <class S>
using Arith = typename ArithOf<S>::type;

#define TENON_EW_UNARY(Name, Types, expr) \
  template <class S> \
  S ref_##Name(S x_, [[maybe_unused]] S p_ = S(), [[maybe_unused]] S q_ = S()) { \
    using T = Arith<S>; \
    const T x(x_); \
    [[maybe_unused]] const T p(p_), q(q_); \
    return static_cast<S>(expr); \
  }
#define TENON_EW_UNARY_BOOL(Name, Types, expr) \
  template <class S> \
  bool ref_##Name(S x_, [[maybe_unused]] S p_ = S(), [[maybe_unused]] S q_ = S()) { \
    using T = Arith<S>; \
    const T x(x_); \
    [[maybe_unused]] const T p(p_), q(q_); \
    return expr; \
  }
#define TENON_EW_BINARY(Name, Types, expr) \
  template <class S> \
  S ref_##Name(S a_, S b_) { \
    using T = Arith<S>; \
    const T a(a_), b(b_); \
    return static_cast<S>(expr); \
  }
#define TENON_EW_BINARY_BOOL(Name, Types, expr) \
  template <class S> \
  bool ref_##Name(S a_, S b_) { \
    using T = Arith<S>; \
    const T a(a_), b(b_); \
    return expr; \
  }
#define TENON_EW_TERNARY(Name, Types, expr) \
  template <class S> \
  S ref_##Name(S a_, S b_, S c_) { \
    using T = Arith<S>; \
    const T a(a_), b(b_), c(c_); \
    return static_cast<S>(expr); \
  }
#include "ops/elementwise.def"

}  // namespace ew
}  // namespace tenon
