// Reading a picture between its pixels: GridSample and AffineGrid, RoiAlign and MaxRoiPool, DeformConv.
#include <algorithm>
#include <cmath>

#include "base/checked.hpp"
#include "ops/support.hpp"

namespace tenon {
namespace {

// A place far outside of any picture stands for positions that are not finite.
double placed(double v) { return std::isfinite(v) ? std::clamp(v, -1e9, 1e9) : -1e9; }

// --- GridSample ----------------------------------------------------------------------------------------------------

enum class Padding { kZeros, kBorder, kReflection };
enum class Kernel { kNearest, kLinear, kCubic };

struct Sampling {
  Kernel kernel;
  Padding padding;
  bool align_corners;
};

template <class Context>
Sampling sampling_of(const Context& ctx) {
  std::string mode = ctx.attrs().string("mode", "linear"), padding = ctx.attrs().string("padding_mode", "zeros");
  ctx.require(mode == "linear" || mode == "nearest" || mode == "cubic",
              "mode '{}' is not known (linear, nearest and cubic are)", mode);
  ctx.require(padding == "zeros" || padding == "border" || padding == "reflection",
              "padding_mode '{}' is not known (zeros, border and reflection are)", padding);
  return {mode == "linear"    ? Kernel::kLinear
          : mode == "nearest" ? Kernel::kNearest
                              : Kernel::kCubic,
          padding == "zeros"    ? Padding::kZeros
          : padding == "border" ? Padding::kBorder
                                : Padding::kReflection,
          ctx.attrs().integer("align_corners", 0) != 0};
}

double reflected(double v, double low, double high) {
  double range = high - low;
  if (range <= 0) return low;
  if (v < low) {
    double d = low - v, n = std::trunc(d / range), r = d - n * range;
    return std::fmod(n, 2) == 0 ? low + r : high - r;
  }
  if (v > high) {
    double d = v - high, n = std::trunc(d / range), r = d - n * range;
    return std::fmod(n, 2) == 0 ? high - r : low + r;
  }
  return v;
}

// The weights of up to four neighbours along one axis; -1 where a neighbour counts as zero.
struct Taps {
  int64_t index[4];
  double weight[4];
  int count = 0;
};

void cubic_weights(double t, double* w) {
  constexpr double a = -0.75;
  auto near = [](double x) { return ((a + 2) * x - (a + 3)) * x * x + 1; };
  auto far = [](double x) { return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a; };
  w[0] = far(t + 1);
  w[1] = near(t);
  w[2] = near(1 - t);
  w[3] = far(2 - t);
}

Taps taps_of(const Sampling& s, double grid, int64_t extent) {
  auto length = static_cast<double>(extent);
  double low = s.align_corners ? 0 : -0.5, high = s.align_corners ? length - 1 : length - 0.5;
  // In float, as everyone does it: which pixel is nearest depends on it.
  double x = s.align_corners ? (grid + 1) / 2 * (length - 1) : ((grid + 1) * length - 1) / 2;
  x = placed(static_cast<float>(x));
  if (s.kernel == Kernel::kNearest) x = std::nearbyint(x);
  if (x < low || x > high) {
    if (s.padding == Padding::kBorder) x = std::clamp(x, 0.0, length - 1);
    if (s.padding == Padding::kReflection) x = reflected(x, low, high);
  }
  Taps out;
  double base = std::floor(x), t = x - base;
  auto first = static_cast<int64_t>(base);
  if (s.kernel == Kernel::kNearest) {
    out.count = 1;
    out.weight[0] = 1;
  } else if (s.kernel == Kernel::kLinear) {
    out.count = 2;
    out.weight[0] = 1 - t;
    out.weight[1] = t;
  } else {
    out.count = 4;
    --first;
    cubic_weights(t, out.weight);
  }
  for (int i = 0; i < out.count; ++i) {
    int64_t at = first + i;
    if (s.padding == Padding::kBorder) at = std::clamp<int64_t>(at, 0, extent - 1);
    if (s.padding == Padding::kReflection) at = static_cast<int64_t>(reflected(static_cast<double>(at), low, high));
    out.index[i] = at >= 0 && at < extent ? at : -1;
  }
  return out;
}

// The sum over all combinations of taps, axis by axis.
double gather(const double* x, const std::vector<Taps>& taps, const Dims& extents, size_t axis, int64_t at) {
  if (axis == taps.size()) return x[at];
  double sum = 0;
  for (int i = 0; i < taps[axis].count; ++i) {
    if (taps[axis].index[i] < 0) continue;
    sum += taps[axis].weight[i] * gather(x, taps, extents, axis + 1, at * extents[axis] + taps[axis].index[i]);
  }
  return sum;
}

void infer_grid_sample(InferContext& ctx) {
  sampling_of(ctx);
  if (!ctx.shape(0) || !ctx.shape(1)) return ctx.output(0, ctx.dtype(0));
  const Shape &x = *ctx.shape(0), &grid = *ctx.shape(1);
  ctx.require(x.size() >= 3 && grid.size() == x.size(),
              "input and grid must have one rank, 3 at least; they have {} and {}", x.size(), grid.size());
  Shape out{x[0], x[1]};
  out.insert(out.end(), grid.begin() + 1, grid.end() - 1);
  ctx.output(0, ctx.dtype(0), out);
}

void grid_sample(RefContext& ctx) {
  Sampling s = sampling_of(ctx);
  const Tensor &x = ctx.in(0), &grid = ctx.in(1);
  ctx.require(
      x.rank() >= 3 && grid.rank() == x.rank() && grid.dims()[0] == x.dims()[0] && grid.dims().back() == x.rank() - 2,
      "a grid of shape {} does not fit an input of shape {}", dims_text(grid.dims()), dims_text(x.dims()));
  auto axes = static_cast<size_t>(x.rank() - 2);
  Dims dims{x.dims()[0], x.dims()[1]}, extents(x.dims().begin() + 2, x.dims().end());
  dims.insert(dims.end(), grid.dims().begin() + 1, grid.dims().end() - 1);
  Tensor& out = make_output(ctx, 0, x.dtype(), dims);
  int64_t area = product(extents, 0, axes), points = product(dims, 2, dims.size()), channels = dims[1];
  ctx.require(area > 0 || out.size() == 0, "nothing can be read from an input of shape {}", dims_text(x.dims()));
  std::vector<double> values = to_doubles(x);
  std::vector<Taps> taps(axes);
  for (int64_t n = 0; n < dims[0]; ++n) {
    for (int64_t p = 0; p < points; ++p) {
      for (size_t a = 0; a < axes; ++a) {
        // The grid counts axes from the innermost.
        auto at = (n * points + p) * static_cast<int64_t>(axes) + static_cast<int64_t>(axes - 1 - a);
        taps[a] = taps_of(s, grid.at(at), extents[a]);
      }
      for (int64_t c = 0; c < channels; ++c) {
        double v = gather(values.data() + (n * channels + c) * area, taps, extents, 0, 0);
        out.set((n * channels + c) * points + p, v);
      }
    }
  }
}

// --- AffineGrid ----------------------------------------------------------------------------------------------------

void infer_affine_grid(InferContext& ctx) {
  auto size = ctx.content(1);
  if (!size) return ctx.output(0, ctx.dtype(0));
  ctx.require(size->size() >= 3, "a size of {} numbers is not (N, C, spatial...)", size->size());
  Shape out{(*size)[0]};
  out.insert(out.end(), size->begin() + 2, size->end());
  out.emplace_back(static_cast<int64_t>(size->size()) - 2);
  ctx.output(0, ctx.dtype(0), out);
}

void affine_grid(RefContext& ctx) {
  const Tensor& theta = ctx.in(0);
  Dims size = ctx.in(1).to_ints();
  auto axes = static_cast<int64_t>(size.size()) - 2;
  ctx.require(axes >= 1 && theta.dims() == Dims{size[0], axes, axes + 1},
              "matrices of shape {} do not fit a size of {}", dims_text(theta.dims()), dims_text(size));
  Dims dims{size[0]};
  dims.insert(dims.end(), size.begin() + 2, size.end());
  int64_t points = product(dims, 1, dims.size());
  dims.push_back(axes);
  Tensor& out = make_output(ctx, 0, theta.dtype(), dims);
  bool corners = ctx.attrs().integer("align_corners", 0) != 0;
  std::vector<double> place(static_cast<size_t>(axes));  // from the innermost axis on
  for (int64_t i = 0; i < size[0] * points; ++i) {
    int64_t rest = i % points;
    for (size_t a = 0; a < place.size(); ++a) {
      int64_t extent = dims[dims.size() - 2 - a];
      auto k = static_cast<double>(rest % extent), n = static_cast<double>(extent);
      place[a] = corners ? (extent > 1 ? -1 + 2 * k / (n - 1) : -1) : (2 * k + 1) / n - 1;
      rest /= extent;
    }
    for (int64_t r = 0; r < axes; ++r) {
      int64_t row = (i / points * axes + r) * (axes + 1);
      double sum = theta.at(row + axes);
      for (int64_t a = 0; a < axes; ++a) sum += theta.at(row + a) * place[static_cast<size_t>(a)];
      out.set(i * axes + r, sum);
    }
  }
}

// --- RoiAlign ------------------------------------------------------------------------------------------------------

// The four pixels around a place, clamped to the picture; nothing outside of it.
struct Corner {
  int64_t at = 0;
  double weight = 0;
};

std::array<Corner, 4> corners_at(double y, double x, int64_t height, int64_t width) {
  std::array<Corner, 4> out;
  if (y < -1 || y > static_cast<double>(height) || x < -1 || x > static_cast<double>(width)) return out;
  auto split = [](double v, int64_t extent, int64_t& low, int64_t& high) {
    v = std::max(v, 0.0);
    low = std::min(static_cast<int64_t>(v), extent - 1);
    high = std::min(low + 1, extent - 1);
    return low == extent - 1 ? 0 : v - static_cast<double>(low);
  };
  int64_t y0, y1, x0, x1;
  double ty = split(y, height, y0, y1), tx = split(x, width, x0, x1);
  return {{{y0 * width + x0, (1 - ty) * (1 - tx)},
           {y0 * width + x1, (1 - ty) * tx},
           {y1 * width + x0, ty * (1 - tx)},
           {y1 * width + x1, ty * tx}}};
}

void infer_rois(InferContext& ctx, Dim height, Dim width) {
  Shape out{ctx.rank(1) >= 1 ? (*ctx.shape(1))[0] : ctx.unknown(0, 0),
            ctx.rank(0) >= 2 ? (*ctx.shape(0))[1] : ctx.unknown(0, 1), std::move(height), std::move(width)};
  ctx.output(0, ctx.dtype(0), out);
}

void infer_roi_align(InferContext& ctx) {
  infer_rois(ctx, Dim(ctx.attrs().integer("output_height", 1)), Dim(ctx.attrs().integer("output_width", 1)));
}

struct RoiSettings {
  int64_t height, width, ratio;
  double scale, offset;
  bool max;
};

RoiSettings roi_settings(const RefContext& ctx) {
  const Attrs& a = ctx.attrs();
  std::string mode = a.string("mode", "avg"), place = a.string("coordinate_transformation_mode", "half_pixel");
  RoiSettings s{a.integer("output_height", 1), a.integer("output_width", 1),    a.integer("sampling_ratio", 0),
                a.number("spatial_scale", 1),  place == "half_pixel" ? 0.5 : 0, mode == "max"};
  ctx.require(mode == "avg" || mode == "max", "mode '{}' is not known (avg and max are)", mode);
  ctx.require(place == "half_pixel" || place == "output_half_pixel",
              "coordinate_transformation_mode '{}' is not known (half_pixel and output_half_pixel are)", place);
  ctx.require(s.height >= 1 && s.width >= 1 && s.ratio >= 0 && s.ratio <= 1000,
              "an output of {}x{} with {} samples cannot be made", s.height, s.width, s.ratio);
  return s;
}

// One bin of one region of one channel.
double roi_bin(const RoiSettings& s, const double* x, int64_t height, int64_t width, double y0, double x0, double bin_h,
               double bin_w, int64_t grid_h, int64_t grid_w) {
  double sum = 0, best = 0;
  bool any = false;
  for (int64_t i = 0; i < grid_h; ++i) {
    for (int64_t j = 0; j < grid_w; ++j) {
      double y = y0 + (static_cast<double>(i) + 0.5) * bin_h / static_cast<double>(grid_h);
      double at = x0 + (static_cast<double>(j) + 0.5) * bin_w / static_cast<double>(grid_w);
      for (const Corner& c : corners_at(y, at, height, width)) {
        double v = c.weight * x[c.at];
        sum += v;
        best = any ? std::max(best, v) : v;
        any = true;
      }
    }
  }
  return s.max ? best : sum / static_cast<double>(std::max<int64_t>(grid_h * grid_w, 1));
}

void roi_align(RefContext& ctx) {
  const Tensor &x = ctx.in(0), &rois = ctx.in(1), &batch = ctx.in(2);
  RoiSettings s = roi_settings(ctx);
  ctx.require(x.rank() == 4 && rois.rank() == 2 && rois.dims()[1] == 4 && batch.size() == rois.dims()[0],
              "regions of shape {} with {} batch indices do not fit an input of shape {}", dims_text(rois.dims()),
              batch.size(), dims_text(x.dims()));
  int64_t channels = x.dims()[1], height = x.dims()[2], width = x.dims()[3], count = rois.dims()[0];
  Tensor& out = make_output(ctx, 0, x.dtype(), {count, channels, s.height, s.width});
  ctx.require(height > 0 && width > 0, "nothing can be read from an input of shape {}", dims_text(x.dims()));
  std::vector<double> values = to_doubles(x);
  for (int64_t r = 0; r < count; ++r) {
    int64_t n = batch.int_at(r);
    ctx.require(n >= 0 && n < x.dims()[0], "batch index {} is outside a batch of {}", n, x.dims()[0]);
    auto side = [&](int64_t k) { return placed(rois.at(r * 4 + k) * s.scale - s.offset); };
    double w = side(2) - side(0), h = side(3) - side(1);
    if (s.offset == 0) w = std::max(w, 1.0), h = std::max(h, 1.0);
    double bin_h = h / static_cast<double>(s.height), bin_w = w / static_cast<double>(s.width);
    int64_t grid_h = s.ratio > 0 ? s.ratio : static_cast<int64_t>(std::ceil(bin_h));
    int64_t grid_w = s.ratio > 0 ? s.ratio : static_cast<int64_t>(std::ceil(bin_w));
    ctx.require(grid_h <= 10000 && grid_w <= 10000, "a region of {} by {} pixels is too large to sample", h, w);
    for (int64_t i = 0; i < channels * s.height * s.width; ++i) {
      int64_t c = i / (s.height * s.width), by = i / s.width % s.height, bx = i % s.width;
      double v = roi_bin(s, values.data() + (n * channels + c) * height * width, height, width,
                         side(1) + static_cast<double>(by) * bin_h, side(0) + static_cast<double>(bx) * bin_w, bin_h,
                         bin_w, grid_h, grid_w);
      out.set(r * channels * s.height * s.width + i, v);
    }
  }
}

// --- MaxRoiPool ----------------------------------------------------------------------------------------------------

template <class Context>
Ints pooled_shape(const Context& ctx) {
  Ints shape = ctx.attrs().ints("pooled_shape");
  ctx.require(shape.size() == 2 && shape[0] >= 1 && shape[1] >= 1, "attribute pooled_shape must be two sizes");
  return shape;
}

void infer_max_roi_pool(InferContext& ctx) {
  Ints shape = pooled_shape(ctx);
  infer_rois(ctx, Dim(shape[0]), Dim(shape[1]));
}

void max_roi_pool(RefContext& ctx) {
  const Tensor &x = ctx.in(0), &rois = ctx.in(1);
  Ints shape = pooled_shape(ctx);
  ctx.require(x.rank() == 4 && rois.rank() == 2 && rois.dims()[1] == 5, "regions of shape {} do not fit an input of {}",
              dims_text(rois.dims()), dims_text(x.dims()));
  int64_t channels = x.dims()[1], height = x.dims()[2], width = x.dims()[3], count = rois.dims()[0];
  double scale = ctx.attrs().number("spatial_scale", 1);
  Tensor& out = make_output(ctx, 0, x.dtype(), {count, channels, shape[0], shape[1]});
  for (int64_t r = 0; r < count; ++r) {
    auto n = static_cast<int64_t>(placed(rois.at(r * 5)));
    ctx.require(n >= 0 && n < x.dims()[0], "batch index {} is outside a batch of {}", n, x.dims()[0]);
    auto side = [&](int64_t k) { return static_cast<int64_t>(std::round(placed(rois.at(r * 5 + k) * scale))); };
    double bin_h = static_cast<double>(std::max<int64_t>(side(4) - side(2) + 1, 1)) / static_cast<double>(shape[0]);
    double bin_w = static_cast<double>(std::max<int64_t>(side(3) - side(1) + 1, 1)) / static_cast<double>(shape[1]);
    auto range = [](double bin, int64_t i, int64_t start, int64_t extent) {
      auto from = static_cast<int64_t>(std::floor(bin * static_cast<double>(i))) + start;
      auto to = static_cast<int64_t>(std::ceil(bin * static_cast<double>(i + 1))) + start;
      return std::pair(std::clamp<int64_t>(from, 0, extent), std::clamp<int64_t>(to, 0, extent));
    };
    for (int64_t i = 0; i < channels * shape[0] * shape[1]; ++i) {
      int64_t c = i / (shape[0] * shape[1]);
      auto [y0, y1] = range(bin_h, i / shape[1] % shape[0], side(2), height);
      auto [x0, x1] = range(bin_w, i % shape[1], side(1), width);
      double best = y0 < y1 && x0 < x1 ? -INFINITY : 0;
      for (int64_t yy = y0; yy < y1; ++yy) {
        for (int64_t xx = x0; xx < x1; ++xx)
          best = std::max(best, x.at(((n * channels + c) * height + yy) * width + xx));
      }
      out.set(r * channels * shape[0] * shape[1] + i, best);
    }
  }
}

}  // namespace

void define_sampling_ops(OpTable& table) {
  auto add = [&](const char* name, std::string_view doc, int inputs, auto infer, auto reference, Strings attrs) {
    table.add({.name = name,
               .doc = doc,
               .min_inputs = inputs,
               .max_inputs = inputs,
               .infer = infer,
               .reference = reference,
               .attrs = std::move(attrs)});
  };
  add("GridSample", "The input read at the places that a grid gives, interpolated.", 2, infer_grid_sample, grid_sample,
      {"align_corners", "mode", "padding_mode"});
  add("AffineGrid", "The grid for GridSample that applies affine matrices.", 2, infer_affine_grid, affine_grid,
      {"align_corners"});
  add("RoiAlign", "Regions of a picture, averaged or maximised over bins of interpolated samples.", 3, infer_roi_align,
      roi_align,
      {"coordinate_transformation_mode", "mode", "output_height", "output_width", "sampling_ratio", "spatial_scale"});
  add("MaxRoiPool", "The maximum over the bins of regions of a picture.", 2, infer_max_roi_pool, max_roi_pool,
      {"pooled_shape", "spatial_scale"});
}

}  // namespace tenon
