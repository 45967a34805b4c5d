// Overflow-checked sizes. Every size that comes from a file is multiplied and added through these.
#pragma once

#include <cstdint>
#include <optional>

#include "base/error.hpp"

namespace tenon {

template <class T>
std::optional<T> try_mul(T a, T b) noexcept {
  T out;
  if (__builtin_mul_overflow(a, b, &out)) return std::nullopt;
  return out;
}

template <class T>
std::optional<T> try_add(T a, T b) noexcept {
  T out;
  if (__builtin_add_overflow(a, b, &out)) return std::nullopt;
  return out;
}

template <class T>
T checked_mul(T a, T b) {
  auto out = try_mul(a, b);
  expect(out.has_value(), "size {} x {} is larger than 64 bits can hold", a, b);
  return *out;
}

template <class T>
T checked_add(T a, T b) {
  auto out = try_add(a, b);
  expect(out.has_value(), "size {} + {} is larger than 64 bits can hold", a, b);
  return *out;
}

/// Rounds up to a multiple of `step` (a power of two).
constexpr int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) & ~(step - 1); }

}  // namespace tenon
