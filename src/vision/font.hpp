// Our own lettering, ASCII 32..126, as strokes on a small grid: x to the right, y down, capitals from y 0 to
// y 8, small letters from y 3, descenders to y 11. Constant data; any thread may read it.
#pragma once

#include <vector>

namespace tenon::vision {

struct Stroke {
  std::vector<double> x;
  std::vector<double> y;
};
struct Glyph {
  std::vector<Stroke> strokes;  // polylines, curves already subdivided; one point = a dot
  double advance = 0;
};

inline constexpr double kCapitalHeight = 8;
inline constexpr double kDescent = 3;

/// Bytes outside 32..126 give the question mark.
const Glyph& glyph(char c);

}  // namespace tenon::vision
