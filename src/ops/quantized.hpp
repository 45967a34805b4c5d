// Rounding to quantised integers, shared by the references of quantised ops.
#pragma once

#include <algorithm>
#include <cmath>

#include "tensor/dtype.hpp"

namespace tenon {

/// round(value) + zero_point, halves to even, saturated to the type; NaN gives the zero point.
inline int64_t quantized(double value, int64_t zero_point, DType dtype) {
  double span = std::ldexp(1.0, bits(dtype));
  double low = is_signed(dtype) ? -span / 2 : 0, high = low + span - 1;
  double q = std::isnan(value) ? 0 : std::nearbyint(value);
  return static_cast<int64_t>(std::clamp(q + static_cast<double>(zero_point), low, high));
}

}  // namespace tenon
