#include "vision/draw.hpp"

#include <algorithm>
#include <cmath>

#include "base/error.hpp"
#include "vision/font.hpp"

namespace tenon::vision {
namespace {

constexpr Colour kWhite = {255, 255, 255};
constexpr Colour kBlack = {16, 16, 16};

void blend(uint8_t* pixel, const Colour& colour, double coverage) {
  for (int c = 0; c < 3; ++c)
    pixel[c] = static_cast<uint8_t>(std::lround(pixel[c] + (colour[c] - pixel[c]) * coverage));
}

/// Blends every pixel of the rectangle (clipped to the picture) by `coverage(x, y)` at the pixel's centre.
template <class Coverage>
void paint(Image& image, double x0, double y0, double x1, double y1, const Colour& colour, Coverage coverage) {
  if (!(x0 <= x1) || !(y0 <= y1)) return;  // also when a coordinate is not a number
  const auto low = [](double v, int limit) { return static_cast<int>(std::clamp(std::floor(v), 0.0, double(limit))); };
  const auto high = [](double v, int limit) { return static_cast<int>(std::clamp(std::ceil(v), 0.0, double(limit))); };
  const int left = low(x0, image.width), right = high(x1, image.width);
  const int top = low(y0, image.height), bottom = high(y1, image.height);
  for (int y = top; y < bottom; ++y) {
    uint8_t* row = image.row(y);
    for (int x = left; x < right; ++x) {
      const double part = std::clamp(coverage(x + 0.5, y + 0.5), 0.0, 1.0);
      if (part > 0) blend(row + static_cast<size_t>(x) * 3, colour, part);
    }
  }
}

/// Signed distance to a box with rounded corners: negative inside.
double box_distance(double x, double y, double x0, double y0, double x1, double y1, double radius) {
  const double dx = std::abs(x - (x0 + x1) / 2) - (x1 - x0) / 2 + radius;
  const double dy = std::abs(y - (y0 + y1) / 2) - (y1 - y0) / 2 + radius;
  const double outer_x = std::max(dx, 0.0), outer_y = std::max(dy, 0.0);
  return std::sqrt(outer_x * outer_x + outer_y * outer_y) + std::min(std::max(dx, dy), 0.0) - radius;
}

/// Squared, because the root of the smallest is enough.
double squared_distance(double x, double y, double x0, double y0, double x1, double y1) {
  const double dx = x1 - x0, dy = y1 - y0, length = dx * dx + dy * dy;
  const double t = length > 0 ? std::clamp(((x - x0) * dx + (y - y0) * dy) / length, 0.0, 1.0) : 0.0;
  const double ex = x - x0 - t * dx, ey = y - y0 - t * dy;
  return ex * ex + ey * ey;
}

/// A pen stroke with round ends. All segments count once per pixel, so joints do not darken.
void draw_stroke(Image& image, const Stroke& stroke, double x, double y, double scale, double pen,
                 const Colour& colour) {
  const auto [left, right] = std::minmax_element(stroke.x.begin(), stroke.x.end());
  const auto [top, bottom] = std::minmax_element(stroke.y.begin(), stroke.y.end());
  const double reach = pen / 2 + 1;
  paint(image, x + *left * scale - reach, y + *top * scale - reach, x + *right * scale + reach,
        y + *bottom * scale + reach, colour, [&](double px, double py) {
          double nearest = 1e18;
          for (size_t i = 0; i + 1 < stroke.x.size(); ++i)
            nearest = std::min(nearest, squared_distance(px, py, x + stroke.x[i] * scale, y + stroke.y[i] * scale,
                                                         x + stroke.x[i + 1] * scale, y + stroke.y[i + 1] * scale));
          return pen / 2 + 0.5 - std::sqrt(nearest);
        });
}

double luminance(const Colour& c) { return 0.299 * c[0] + 0.587 * c[1] + 0.114 * c[2]; }

struct Sizes {
  double line, text;
};
Sizes sizes_of(const Image& image, const DrawOptions& options) {
  const double mean = (image.width + image.height) / 2.0;
  return {options.line_width > 0 ? options.line_width : std::max(mean * 0.003, 2.0),
          options.text_height > 0 ? options.text_height : std::max(mean * 0.0145, 8.0)};
}

void draw_label(Image& image, const Detection& d, const Detector& detector, const Sizes& size, bool score,
                const Colour& colour) {
  std::string text = detector.class_name(d.class_id);
  if (score) text += fmt::format(" {:.2f}", d.score);
  const double pad = size.text * 0.42, width = text_width(size.text, text) + 2 * pad;
  const double height = size.text * (1 + kDescent / kCapitalHeight) + 1.5 * pad;
  // Above the box; inside it when there is no room above; and always within the picture.
  double top = d.y0 - size.line / 2 - height;
  if (top < 0) top = d.y0 - size.line / 2;
  const double left = std::clamp(d.x0 - size.line / 2, 0.0, std::max(0.0, image.width - width));
  fill_box(image, left, top, left + width, top + height, size.text * 0.3, colour);
  draw_text(image, left + pad, top + pad, size.text, text, luminance(colour) > 150 ? kBlack : kWhite);
}

}  // namespace

Colour class_colour(int class_id) {
  // Hues a golden angle apart, in four rings of brightness and saturation.
  constexpr double kSaturation[] = {0.85, 0.65, 0.95, 0.75}, kValue[] = {0.95, 1.0, 0.75, 0.88};
  const auto ring = static_cast<size_t>(static_cast<unsigned>(class_id) / 7 % 4);
  const double hue = std::fmod(0.04 + 0.618033988749895 * std::abs(static_cast<double>(class_id)), 1.0) * 6;
  Colour out{};
  for (int c = 0; c < 3; ++c) {
    const double k = std::fmod((c == 0 ? 5 : c == 1 ? 3 : 1) + hue, 6.0);
    const double drop = kSaturation[ring] * std::clamp(std::min(k, 4 - k), 0.0, 1.0);
    out[static_cast<size_t>(c)] = static_cast<uint8_t>(std::lround(255 * kValue[ring] * (1 - drop)));
  }
  return out;
}

void draw_box(Image& image, double x0, double y0, double x1, double y1, double line_width, const Colour& colour) {
  const double half = line_width / 2, radius = std::min({line_width * 1.5, (x1 - x0) / 2, (y1 - y0) / 2});
  const auto coverage = [&](double x, double y) {
    return half + 0.5 - std::abs(box_distance(x, y, x0, y0, x1, y1, std::max(radius, 0.0)));
  };
  // Four strips that do not overlap: the inside of a large box is not visited.
  const double reach = half + 1 + std::max(radius, 0.0);
  const double inner_top = std::ceil(std::min(y0 + reach, (y0 + y1) / 2)),
               inner_bottom = std::floor(std::max(y1 - reach, inner_top));
  const double inner_left = std::ceil(std::min(x0 + reach, (x0 + x1) / 2)),
               inner_right = std::floor(std::max(x1 - reach, inner_left));
  paint(image, x0 - reach, y0 - reach, x1 + reach, inner_top, colour, coverage);
  paint(image, x0 - reach, inner_bottom, x1 + reach, y1 + reach, colour, coverage);
  paint(image, x0 - reach, inner_top, inner_left, inner_bottom, colour, coverage);
  paint(image, inner_right, inner_top, x1 + reach, inner_bottom, colour, coverage);
}

void fill_box(Image& image, double x0, double y0, double x1, double y1, double radius, const Colour& colour) {
  paint(image, x0 - 1, y0 - 1, x1 + 1, y1 + 1, colour,
        [&](double x, double y) { return 0.5 - box_distance(x, y, x0, y0, x1, y1, radius); });
}

void draw_dot(Image& image, double x, double y, double radius, const Colour& colour) {
  paint(image, x - radius - 1, y - radius - 1, x + radius + 1, y + radius + 1, colour,
        [&](double px, double py) { return radius + 0.5 - std::hypot(px - x, py - y); });
}

void draw_line(Image& image, Point from, Point to, double line_width, const Colour& colour) {
  draw_stroke(image, {{from.x, to.x}, {from.y, to.y}}, 0, 0, 1, line_width, colour);
}

void draw_mask(Image& image, const Detection& object, const Colour& colour, double opacity) {
  if (!object.mask) return;
  const auto inside = [&](double x, double y) {
    return x >= object.x0 && x < object.x1 && y >= object.y0 && y < object.y1 && object.mask->covers(x, y);
  };
  paint(image, object.x0, object.y0, object.x1, object.y1, colour,
        [&](double x, double y) { return inside(x, y) ? opacity : 0.0; });
}

double text_width(double height, std::string_view text) {
  double width = 0;
  for (char c : text) width += glyph(c).advance;
  return std::max(0.0, width - 1.4) * height / kCapitalHeight;
}

void draw_text(Image& image, double x, double y, double height, std::string_view text, const Colour& colour) {
  const double scale = height / kCapitalHeight, pen = scale * 1.25;
  x += pen / 2;
  for (char c : text) {
    const Glyph& shape = glyph(c);
    for (const Stroke& stroke : shape.strokes) draw_stroke(image, stroke, x, y, scale, pen, colour);
    x += shape.advance * scale;
  }
}

void draw_detections(Image& image, const std::vector<Detection>& found, const Detector& detector,
                     const DrawOptions& options) {
  const Sizes size = sizes_of(image, options);
  for (const Detection& d : found) draw_mask(image, d, class_colour(d.class_id), options.mask_opacity);
  // The best last, so that it lies on top.
  for (auto d = found.rbegin(); d != found.rend(); ++d) {
    const Colour colour = class_colour(d->class_id);
    draw_box(image, d->x0, d->y0, d->x1, d->y1, size.line, colour);
    for (const Point& p : d->landmarks) {
      draw_dot(image, p.x, p.y, size.line * 1.25, kWhite);
      draw_dot(image, p.x, p.y, size.line * 0.9, colour);
    }
  }
  if (!options.labels) return;
  for (auto d = found.rbegin(); d != found.rend(); ++d)
    draw_label(image, *d, detector, size, options.scores, class_colour(d->class_id));
}

}  // namespace tenon::vision
