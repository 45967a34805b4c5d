#include "vision/text.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <tuple>

#include "base/checked.hpp"

namespace tenon::vision {
namespace {

constexpr int kMaxMapSide = 16384;

struct Vec {
  double x, y;
};
Vec operator-(Vec a, Vec b) { return {a.x - b.x, a.y - b.y}; }
double cross(Vec a, Vec b) { return a.x * b.y - a.y * b.x; }
double dot(Vec a, Vec b) { return a.x * b.x + a.y * b.y; }

/// Centre, half sides, and the unit vector along `half_width`; the other axis is its left turn on a y-down grid.
struct Rectangle {
  Vec centre{0, 0};
  Vec along{1, 0};
  double half_width = 0, half_height = 0;

  Vec down() const { return {-along.y, along.x}; }
  double short_side() const { return 2 * std::min(half_width, half_height); }
  Vec corner(double u, double v) const {
    return {centre.x + along.x * u * half_width + down().x * v * half_height,
            centre.y + along.y * u * half_width + down().y * v * half_height};
  }
};

struct Map {
  const float* data;
  int width, height;
  float at(int x, int y) const { return data[static_cast<size_t>(y) * width + x]; }
};

std::vector<uint8_t> binary(const Map& map, const TextOptions& options) {
  std::vector<uint8_t> out(static_cast<size_t>(map.width) * map.height);
  for (size_t i = 0; i < out.size(); ++i) out[i] = map.data[i] > options.pixel_threshold;
  if (!options.dilate) return out;
  // In place from the end: a pixel takes its left, upper and upper left neighbours' original values.
  for (int y = map.height - 1; y >= 0; --y)
    for (int x = map.width - 1; x >= 0; --x) {
      uint8_t& pixel = out[static_cast<size_t>(y) * map.width + x];
      if (x > 0) pixel |= (&pixel)[-1];
      if (y > 0) pixel |= (&pixel)[-map.width];
      if (x > 0 && y > 0) pixel |= (&pixel)[-map.width - 1];
    }
  return out;
}

/// Flood-fills one 8-connected blob, clears it, and returns the ends of its rows (enough for a hull).
std::vector<Vec> take_blob(std::vector<uint8_t>& pixels, int width, int height, int start) {
  struct Ends {
    int left, right;
  };
  std::vector<int> open = {start};
  std::vector<Ends> rows;
  int top = start / width;  // the scan meets a blob at its top row first
  pixels[static_cast<size_t>(start)] = 0;
  while (!open.empty()) {
    const int at = open.back(), x = at % width, y = at / width;
    open.pop_back();
    if (static_cast<size_t>(y - top) >= rows.size()) rows.resize(static_cast<size_t>(y - top) + 1, {INT32_MAX, -1});
    Ends& ends = rows[static_cast<size_t>(y - top)];
    ends = {std::min(ends.left, x), std::max(ends.right, x)};
    for (int ny = std::max(y - 1, 0); ny <= std::min(y + 1, height - 1); ++ny)
      for (int nx = std::max(x - 1, 0); nx <= std::min(x + 1, width - 1); ++nx) {
        const int next = ny * width + nx;
        if (pixels[static_cast<size_t>(next)] == 0) continue;
        pixels[static_cast<size_t>(next)] = 0;
        open.push_back(next);
      }
  }
  std::vector<Vec> points;
  for (size_t i = 0; i < rows.size(); ++i) {
    const double y = top + static_cast<double>(i);
    points.push_back({static_cast<double>(rows[i].left), y});
    if (rows[i].right != rows[i].left) points.push_back({static_cast<double>(rows[i].right), y});
  }
  return points;
}

std::vector<Vec> convex_hull(std::vector<Vec> points) {
  std::sort(points.begin(), points.end(), [](Vec a, Vec b) { return std::tie(a.x, a.y) < std::tie(b.x, b.y); });
  if (points.size() < 3) return points;
  std::vector<Vec> hull;
  const auto add = [&](Vec p, size_t keep) {
    while (hull.size() >= keep + 2 && cross(hull.back() - hull[hull.size() - 2], p - hull.back()) <= 0) hull.pop_back();
    hull.push_back(p);
  };
  for (const Vec& p : points) add(p, 0);
  const size_t lower = hull.size() - 1;
  for (size_t i = points.size() - 1; i-- > 0;) add(points[i], lower);
  hull.pop_back();
  return hull;
}

/// The smallest rectangle around a convex polygon has a side on one of its edges.
Rectangle smallest_rectangle(const std::vector<Vec>& hull) {
  Rectangle best;
  double best_area = -1;
  for (size_t i = 0; i < hull.size(); ++i) {
    const Vec edge = hull[(i + 1) % hull.size()] - hull[i];
    const double length = std::hypot(edge.x, edge.y);
    const Vec u = length > 0 ? Vec{edge.x / length, edge.y / length} : Vec{1, 0}, v = {-u.y, u.x};
    double low_u = 1e18, high_u = -1e18, low_v = 1e18, high_v = -1e18;
    for (const Vec& p : hull) {
      low_u = std::min(low_u, dot(p, u)), high_u = std::max(high_u, dot(p, u));
      low_v = std::min(low_v, dot(p, v)), high_v = std::max(high_v, dot(p, v));
    }
    const double area = (high_u - low_u) * (high_v - low_v);
    if (best_area >= 0 && area >= best_area) continue;
    best_area = area;
    const double cu = (low_u + high_u) / 2, cv = (low_v + high_v) / 2;
    best = {{u.x * cu + v.x * cv, u.y * cu + v.y * cv}, u, (high_u - low_u) / 2, (high_v - low_v) / 2};
  }
  return best;
}

/// Turns the axes so that `along` is the more horizontal one and points right: the reading direction.
Rectangle readable(Rectangle r) {
  if (std::abs(r.along.x) < std::abs(r.along.y)) {
    r.along = r.down();
    std::swap(r.half_width, r.half_height);
  }
  if (r.along.x < 0) r.along = {-r.along.x, -r.along.y};
  return r;
}

/// Mean probability of the pixels in the rectangle.
float mean_inside(const Map& map, const Rectangle& r) {
  const double reach_x = std::abs(r.along.x) * r.half_width + std::abs(r.along.y) * r.half_height;
  const double reach_y = std::abs(r.along.y) * r.half_width + std::abs(r.along.x) * r.half_height;
  const int left = std::max(0, static_cast<int>(std::floor(r.centre.x - reach_x)));
  const int right = std::min(map.width - 1, static_cast<int>(std::ceil(r.centre.x + reach_x)));
  const int top = std::max(0, static_cast<int>(std::floor(r.centre.y - reach_y)));
  const int bottom = std::min(map.height - 1, static_cast<int>(std::ceil(r.centre.y + reach_y)));
  double sum = 0;
  int64_t count = 0;
  for (int y = top; y <= bottom; ++y)
    for (int x = left; x <= right; ++x) {
      const Vec from = Vec{static_cast<double>(x), static_cast<double>(y)} - r.centre;
      if (std::abs(dot(from, r.along)) > r.half_width + 0.5 || std::abs(dot(from, r.down())) > r.half_height + 0.5)
        continue;
      sum += map.at(x, y);
      ++count;
    }
  return count > 0 ? static_cast<float>(sum / static_cast<double>(count)) : 0;
}

TextLine line_of(const Rectangle& r, float score, const Placement& placement) {
  TextLine line;
  line.score = score;
  const double signs[4][2] = {{-1, -1}, {1, -1}, {1, 1}, {-1, 1}};
  for (size_t i = 0; i < 4; ++i) {
    const Vec c = r.corner(signs[i][0], signs[i][1]);
    line.corners[i] = {
        std::clamp(placement.x_to_image(static_cast<float>(c.x)), 0.f, static_cast<float>(placement.image_width)),
        std::clamp(placement.y_to_image(static_cast<float>(c.y)), 0.f, static_cast<float>(placement.image_height))};
  }
  return line;
}

double distance(const Point& a, const Point& b) { return std::hypot(double{a.x} - b.x, double{a.y} - b.y); }
double middle_y(const TextLine& l) { return (l.corners[0].y + l.corners[2].y) / 2.0; }
double left_x(const TextLine& l) { return std::min(l.corners[0].x, l.corners[3].x); }
double height_of(const TextLine& l) { return distance(l.corners[0], l.corners[3]); }

void sort_for_reading(std::vector<TextLine>& lines) {
  std::stable_sort(lines.begin(), lines.end(), [](const auto& a, const auto& b) { return middle_y(a) < middle_y(b); });
  for (size_t first = 0; first < lines.size();) {
    size_t last = first + 1;
    while (last < lines.size() && middle_y(lines[last]) - middle_y(lines[first]) <
                                      std::min(height_of(lines[first]), height_of(lines[last])) / 2)
      ++last;
    std::stable_sort(lines.begin() + static_cast<long>(first), lines.begin() + static_cast<long>(last),
                     [](const auto& a, const auto& b) { return left_x(a) < left_x(b); });
    first = last;
  }
}

Map map_of(const OutputView& view, int batch_index) {
  const auto& s = view.shape;
  expect(s.size() == 4 && s[0] > 0 && s[1] == 1 && s[2] > 0 && s[3] > 0 && s[2] <= kMaxMapSide && s[3] <= kMaxMapSide,
         "output '{}' is not a text map of shape N x 1 x H x W", view.name);
  expect(checked_mul(checked_mul(s[0], s[2]), s[3]) == static_cast<int64_t>(view.data.size()),
         "output '{}' holds {} numbers, which does not fit its shape", view.name, view.data.size());
  expect(batch_index >= 0 && batch_index < s[0], "output '{}' has no picture {}: its batch is {}", view.name,
         batch_index, s[0]);
  return {view.data.data() + static_cast<size_t>(batch_index) * static_cast<size_t>(s[2] * s[3]),
          static_cast<int>(s[3]), static_cast<int>(s[2])};
}

}  // namespace

Preprocess text_detector_preprocess(int image_width, int image_height, int short_side, int long_side) {
  expect(image_width > 0 && image_height > 0 && short_side > 0 && long_side >= 32,
         "a picture of {} x {} pixels cannot be searched for text", image_width, image_height);
  double ratio = std::max(1.0, static_cast<double>(short_side) / std::min(image_width, image_height));
  ratio = std::min(ratio, static_cast<double>(long_side) / std::max(image_width, image_height));
  const auto side = [&](int from) {
    return std::clamp(static_cast<int>(std::nearbyint(std::floor(from * ratio) / 32)) * 32, 32, long_side / 32 * 32);
  };
  Preprocess how;
  how.width = side(image_width);
  how.height = side(image_height);
  how.fit = Fit::kStretch;
  how.order = ChannelOrder::kBgr;
  how.mean = how.std = {0.5, 0.5, 0.5};
  return how;
}

std::vector<TextLine> find_text(const OutputView& view, const Placement& placement, const TextOptions& options,
                                int batch_index) {
  const Map map = map_of(view, batch_index);
  expect(placement.scale_x > 0 && placement.scale_y > 0, "the placement has no scale");
  std::vector<uint8_t> pixels = binary(map, options);
  std::vector<TextLine> lines;
  for (int i = 0; i < map.width * map.height && lines.size() < static_cast<size_t>(std::max(0, options.max_lines));
       ++i) {
    if (pixels[static_cast<size_t>(i)] == 0) continue;
    Rectangle r = smallest_rectangle(convex_hull(take_blob(pixels, map.width, map.height, i)));
    if (r.short_side() < options.min_side) continue;
    const float score = mean_inside(map, r);
    if (!(score >= options.box_threshold)) continue;
    // DB's rule: the border moves by area * ratio / perimeter.
    const double grow = r.half_width * r.half_height * options.unclip_ratio / (r.half_width + r.half_height);
    r.half_width += grow;
    r.half_height += grow;
    lines.push_back(line_of(readable(r), score, placement));
  }
  sort_for_reading(lines);
  return lines;
}

Image cut_line(const Image& image, const TextLine& line) {
  expect(!image.empty(), "there is no picture to cut a line from");
  const auto& c = line.corners;
  const int width = std::max(1, static_cast<int>(std::lround(std::max(distance(c[0], c[1]), distance(c[3], c[2])))));
  const int height = std::max(1, static_cast<int>(std::lround(std::max(distance(c[0], c[3]), distance(c[1], c[2])))));
  const bool turned = height >= 1.5 * width;
  Image out(turned ? height : width, turned ? width : height);
  const auto sample = [&](double x, double y, uint8_t* to) {
    x = std::clamp(x - 0.5, 0.0, image.width - 1.0), y = std::clamp(y - 0.5, 0.0, image.height - 1.0);
    const int x0 = static_cast<int>(x), y0 = static_cast<int>(y);
    const int x1 = std::min(x0 + 1, image.width - 1), y1 = std::min(y0 + 1, image.height - 1);
    const double fx = x - x0, fy = y - y0;
    for (int k = 0; k < 3; ++k) {
      const double top = image.row(y0)[x0 * 3 + k] * (1 - fx) + image.row(y0)[x1 * 3 + k] * fx;
      const double bottom = image.row(y1)[x0 * 3 + k] * (1 - fx) + image.row(y1)[x1 * 3 + k] * fx;
      to[k] = static_cast<uint8_t>(std::lround(top * (1 - fy) + bottom * fy));
    }
  };
  for (int y = 0; y < out.height; ++y)
    for (int x = 0; x < out.width; ++x) {
      const double u = ((turned ? width - 1 - y : x) + 0.5) / width, v = ((turned ? x : y) + 0.5) / height;
      const double w[4] = {(1 - u) * (1 - v), u * (1 - v), u * v, (1 - u) * v};
      double sx = 0, sy = 0;
      for (size_t i = 0; i < 4; ++i) sx += w[i] * c[i].x, sy += w[i] * c[i].y;
      sample(sx, sy, out.row(y) + static_cast<size_t>(x) * 3);
    }
  return out;
}

Preprocess text_recogniser_preprocess(const Image& line, int height, int min_width, int max_width) {
  expect(!line.empty() && height > 0 && min_width > 0 && max_width >= min_width, "there is no line to read");
  const int64_t wanted = (int64_t{height} * line.width + line.height - 1) / line.height;
  Preprocess how;
  how.height = height;
  how.width =
      static_cast<int>(std::min<int64_t>(round_up(std::max<int64_t>(wanted, min_width), 8), round_up(max_width, 8)));
  how.fit = Fit::kLetterboxTopLeft;
  how.order = ChannelOrder::kBgr;
  how.mean = how.std = {0.5, 0.5, 0.5};
  return how;
}

void write_line_tensor(const Image& line, const Preprocess& how, std::span<std::byte> out) {
  expect(how.dtype == DType::kFloat32 && how.layout == Layout::kNchw,
         "text recognisers take float32 pictures, N,3,H,W");
  const int64_t wanted = (int64_t{how.height} * line.width + line.height - 1) / std::max(1, line.height);
  const int width = static_cast<int>(std::clamp<int64_t>(wanted, 1, how.width));
  Preprocess part = how;
  part.width = width;
  std::vector<std::byte> narrow(tensor_bytes(part));
  write_tensor(resize_bilinear(line, width, how.height), part, narrow);
  expect(out.size() == tensor_bytes(how), "the recogniser's input takes {} bytes, the buffer has {}", tensor_bytes(how),
         out.size());
  std::fill(out.begin(), out.end(), std::byte{0});
  const size_t row = static_cast<size_t>(width) * 4;
  for (size_t y = 0; y < static_cast<size_t>(how.height) * 3; ++y)
    std::memcpy(out.data() + y * how.width * 4, narrow.data() + y * row, row);
}

}  // namespace tenon::vision
