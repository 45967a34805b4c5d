// How far two results are apart.
#pragma once

#include "graph/type.hpp"

namespace tenon {

struct Difference {
  double max_abs = 0;   ///< largest absolute difference; infinity where shapes, types or NaNs differ
  double scale = 0;     ///< largest finite magnitude of the wanted values
  double relative = 0;  ///< max_abs / scale (or max_abs where the scale is 0)
};

Difference difference(const Tensor& wanted, const Tensor& got);
Difference difference(const Datum& wanted, const Datum& got);  ///< the worst part of a container

}  // namespace tenon
