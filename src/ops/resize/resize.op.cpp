// Resize: interpolation along any axes; nearest, linear and cubic, with ONNX's coordinate conventions, antialiasing.
#include <algorithm>
#include <cmath>

#include "ops/support.hpp"

namespace tenon {
namespace {

struct Settings {
  std::string mode, coordinates, nearest, policy;
  bool antialias, exclude_outside;
  double cubic_a, outside;
};

template <class Context>
Settings settings(const Context& ctx) {
  const Attrs& a = ctx.attrs();
  Settings s{a.string("mode", "nearest"),
             a.string("coordinate_transformation_mode", "half_pixel"),
             a.string("nearest_mode", "round_prefer_floor"),
             a.string("keep_aspect_ratio_policy", "stretch"),
             a.integer("antialias", 0) != 0,
             a.integer("exclude_outside", 0) != 0,
             a.number("cubic_coeff_a", -0.75),
             a.number("extrapolation_value", 0)};
  auto one_of = [&](std::string_view what, const std::string& value, std::initializer_list<std::string_view> known) {
    ctx.require(std::find(known.begin(), known.end(), value) != known.end(), "{} '{}' is not known", what, value);
  };
  one_of("mode", s.mode, {"nearest", "linear", "cubic"});
  one_of("coordinate_transformation_mode", s.coordinates,
         {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
          "tf_crop_and_resize", "tf_half_pixel_for_nn"});
  one_of("nearest_mode", s.nearest, {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"});
  one_of("keep_aspect_ratio_policy", s.policy, {"stretch", "not_larger", "not_smaller"});
  return s;
}

template <class Context>
Ints resized_axes(const Context& ctx, int64_t rank) {
  Ints axes = ctx.attrs().ints("axes");
  if (!axes.empty()) return normalize_axes(ctx, axes, rank);
  for (int64_t i = 0; i < rank; ++i) axes.push_back(i);
  return axes;
}

// --- shapes ----------------------------------------------------------------------------------------------------

// floor(extent * scale), with the product in float as everyone computes it.
int64_t scaled(int64_t extent, double scale) {
  return static_cast<int64_t>(std::floor(static_cast<float>(extent) * static_cast<float>(scale)));
}

// floor(extent * scale) of a symbol: exact for scales that are whole or one over a whole number, or a small fraction.
std::optional<Dim> scaled(const Dim& extent, double scale) {
  if (extent.is_const()) return Dim(scaled(extent.value(), scale));
  for (int64_t denominator = 1; denominator <= 64; ++denominator) {
    double numerator = scale * static_cast<double>(denominator);
    if (std::fabs(numerator - std::round(numerator)) < 1e-9) {
      return Dim::floor_div(extent * static_cast<int64_t>(std::round(numerator)), denominator);
    }
  }
  return std::nullopt;
}

void infer_resize(InferContext& ctx) {
  Settings s = settings(ctx);
  if (!ctx.shape(0)) return ctx.output(0, ctx.dtype(0));
  Shape out = *ctx.shape(0);
  Ints axes = resized_axes(ctx, ctx.rank(0));
  bool by_size = ctx.has(3), known = false;
  if (by_size) {
    auto sizes = ctx.content(3);
    known = sizes && s.policy == "stretch";
    ctx.require(!sizes || sizes->size() == axes.size(), "{} sizes are given for {} axes", sizes ? sizes->size() : 0,
                axes.size());
    for (size_t i = 0; known && i < axes.size(); ++i) out[static_cast<size_t>(axes[i])] = (*sizes)[i];
  } else if (const Tensor* scales = ctx.constant(2)) {
    known = true;
    ctx.require(scales->size() == static_cast<int64_t>(axes.size()), "{} scales are given for {} axes", scales->size(),
                axes.size());
    for (size_t i = 0; i < axes.size(); ++i) {
      auto axis = static_cast<size_t>(axes[i]);
      double scale = scales->at(static_cast<int64_t>(i));
      ctx.require(scale > 0 && scale < 1e9, "the scale of axis {} is {}", axis, scale);
      auto extent = scaled(out[axis], scale);
      out[axis] = extent ? *extent : ctx.unknown(0, axis);
    }
  }
  if (!known) {
    for (int64_t a : axes) out[static_cast<size_t>(a)] = ctx.unknown(0, static_cast<size_t>(a));
  }
  ctx.output(0, ctx.dtype(0), out);
}

// --- one axis --------------------------------------------------------------------------------------------------

// How one axis is resized.
struct Axis {
  int64_t in, out;
  double scale;
  double length;  // of the output before it is rounded down
  double roi_begin = 0, roi_end = 1;
};

// The input position of output position i.
double source(const Settings& s, const Axis& a, int64_t i) {
  auto x = static_cast<double>(i), in = static_cast<double>(a.in), out = a.length;
  if (s.coordinates == "half_pixel") return (x + 0.5) / a.scale - 0.5;
  if (s.coordinates == "half_pixel_symmetric") {
    // The output may be shorter than in * scale; what is lost is lost on both sides.
    double adjustment = static_cast<double>(a.out) / out, center = in / 2;
    return center * (1 - adjustment) + (x + 0.5) / a.scale - 0.5;
  }
  if (s.coordinates == "pytorch_half_pixel") return a.out > 1 ? (x + 0.5) / a.scale - 0.5 : 0;
  if (s.coordinates == "align_corners") return a.out > 1 ? x * (in - 1) / (out - 1) : 0;
  if (s.coordinates == "asymmetric") return x / a.scale;
  if (s.coordinates == "tf_half_pixel_for_nn") return (x + 0.5) / a.scale;
  if (a.out > 1) return a.roi_begin * (in - 1) + x * (a.roi_end - a.roi_begin) * (in - 1) / (out - 1);
  return 0.5 * (a.roi_begin + a.roi_end) * (in - 1);
}

// One output position: input positions (clamped into the axis) and their weights; `outside` means extrapolation.
struct Taps {
  Ints at;
  std::vector<double> weight;
  bool outside = false;
};

int64_t nearest_of(const Settings& s, double x) {
  // Exact halves are what the modes differ in; positions are computed in doubles and may miss them by an ulp.
  double near = std::round(x * 2) / 2;
  if (std::fabs(x - near) < 1e-9) x = near;
  if (s.nearest == "floor") return static_cast<int64_t>(std::floor(x));
  if (s.nearest == "ceil") return static_cast<int64_t>(std::ceil(x));
  return static_cast<int64_t>(s.nearest == "round_prefer_floor" ? std::ceil(x - 0.5) : std::floor(x + 0.5));
}

double cubic(double a, double d) {
  d = std::fabs(d);
  if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

Taps taps(const Settings& s, const Axis& a, int64_t i) {
  double x = source(s, a, i);
  Taps t;
  t.outside = s.coordinates == "tf_crop_and_resize" && (x < 0 || x > static_cast<double>(a.in - 1));
  auto clamp = [&](int64_t at) { return std::clamp<int64_t>(at, 0, a.in - 1); };
  if (s.mode == "nearest") {
    t.at = {clamp(nearest_of(s, x))};
    t.weight = {1};
    return t;
  }
  bool is_cubic = s.mode == "cubic";
  double stretch = s.antialias && a.scale < 1 ? a.scale : 1;  // a wider kernel when shrinking
  double support = (is_cubic ? 2 : 1) / stretch;
  auto first = static_cast<int64_t>(std::floor(x - support)) + 1,
       last = static_cast<int64_t>(std::ceil(x + support)) - 1;
  if (stretch == 1) {
    first = static_cast<int64_t>(std::floor(x)) - (is_cubic ? 1 : 0);
    last = first + (is_cubic ? 3 : 1);
  }
  double sum = 0;
  for (int64_t k = first; k <= last; ++k) {
    double d = (static_cast<double>(k) - x) * stretch;
    double weight = is_cubic ? cubic(s.cubic_a, d) : std::max(0.0, 1 - std::fabs(d));
    if (s.exclude_outside && (k < 0 || k >= a.in)) continue;
    t.at.push_back(clamp(k));
    t.weight.push_back(weight);
    sum += weight;
  }
  if (s.exclude_outside || stretch < 1) {
    for (double& w : t.weight) w /= sum;
  }
  return t;
}

// --- all axes --------------------------------------------------------------------------------------------------

// Resizes `x` of shape `dims` along one axis; separable, so axes follow one another.
std::vector<double> resize_axis(const Settings& s, const std::vector<double>& x, Dims& dims, size_t axis,
                                const Axis& a) {
  int64_t outer = product(dims, 0, axis), inner = product(dims, axis + 1, dims.size());
  std::vector<double> out(static_cast<size_t>(outer * a.out * inner), 0.0);
  for (int64_t i = 0; i < a.out; ++i) {
    Taps t = taps(s, a, i);
    for (int64_t o = 0; o < outer; ++o) {
      double* to = out.data() + (o * a.out + i) * inner;
      for (size_t k = 0; k < t.at.size() && !t.outside; ++k) {
        const double* from = x.data() + (o * a.in + t.at[k]) * inner;
        for (int64_t j = 0; j < inner; ++j) to[j] += t.weight[k] * from[j];
      }
      if (t.outside) std::fill(to, to + inner, s.outside);
    }
  }
  dims[axis] = a.out;
  return out;
}

Axis axis_from_scale(const RefContext& ctx, int64_t extent, double scale) {
  ctx.require(scale > 0 && scale < 1e9, "a scale is {}", scale);
  return {extent, scaled(extent, scale), scale, static_cast<double>(extent) * scale};
}

// The axes' plans from sizes or scales and, for crop and resize, the region of interest.
std::vector<Axis> plan_axes(const RefContext& ctx, const Settings& s, const Dims& dims, const Ints& axes) {
  std::vector<Axis> out;
  bool by_size = ctx.has(3) && ctx.in(3).size() > 0;
  ctx.require(by_size || (ctx.has(2) && ctx.in(2).size() > 0), "neither scales nor sizes are given");
  const Tensor& given = ctx.in(by_size ? 3 : 2);
  ctx.require(given.size() == static_cast<int64_t>(axes.size()), "{} numbers are given for {} axes", given.size(),
              axes.size());
  double shared = 0;  // the one scale of a policy that keeps the aspect ratio
  for (size_t i = 0; by_size && i < axes.size(); ++i) {
    double extent = static_cast<double>(dims[static_cast<size_t>(axes[i])]);
    double scale = given.at(static_cast<int64_t>(i)) / extent;
    shared = i == 0 ? scale : s.policy == "not_larger" ? std::min(shared, scale) : std::max(shared, scale);
  }
  for (size_t i = 0; i < axes.size(); ++i) {
    int64_t extent = dims[static_cast<size_t>(axes[i])];
    if (!by_size) {
      out.push_back(axis_from_scale(ctx, extent, given.at(static_cast<int64_t>(i))));
    } else {
      int64_t size = given.int_at(static_cast<int64_t>(i));
      double scale = static_cast<double>(size) / static_cast<double>(extent);
      if (s.policy != "stretch") {
        scale = shared;
        size = static_cast<int64_t>(std::round(static_cast<double>(extent) * shared));
      }
      out.push_back({extent, size, scale, static_cast<double>(size)});
    }
    ctx.require(out.back().out >= 0 && (extent > 0 || out.back().out == 0), "an axis of {} cannot become {}", extent,
                out.back().out);
  }
  if (s.coordinates == "tf_crop_and_resize") {
    ctx.require(ctx.has(1) && ctx.in(1).size() == 2 * given.size(), "the region of interest needs {} numbers",
                2 * given.size());
    for (size_t i = 0; i < axes.size(); ++i) {
      out[i].roi_begin = ctx.in(1).at(static_cast<int64_t>(i));
      out[i].roi_end = ctx.in(1).at(static_cast<int64_t>(i + axes.size()));
    }
  }
  return out;
}

void resize(RefContext& ctx) {
  Settings s = settings(ctx);
  const Tensor& x = ctx.in(0);
  Ints axes = resized_axes(ctx, x.rank());
  std::vector<Axis> plan = plan_axes(ctx, s, x.dims(), axes);
  Dims dims = x.dims(), out_dims = dims;
  for (size_t i = 0; i < axes.size(); ++i) out_dims[static_cast<size_t>(axes[i])] = plan[i].out;
  Tensor& out = make_output(ctx, 0, x.dtype(), out_dims);
  std::vector<double> values = to_doubles(x);
  for (size_t i = 0; i < axes.size(); ++i) {
    const Axis& a = plan[i];
    bool crop = s.coordinates == "tf_crop_and_resize" && (a.roi_begin != 0 || a.roi_end != 1);
    if (a.in == a.out && a.scale == 1 && !crop && s.coordinates != "tf_half_pixel_for_nn") continue;
    check_output_size(ctx, dims);
    values = resize_axis(s, values, dims, static_cast<size_t>(axes[i]), a);
  }
  if (is_integer(x.dtype()) && s.mode != "nearest") {
    for (double& v : values) v = std::nearbyint(v);
  }
  store_doubles(out, values);
}

}  // namespace

void define_resize_ops(OpTable& table) {
  table.add({.name = "Resize",
             .doc = "Interpolates along axes to given scales or sizes (inputs X, roi, scales, sizes).",
             .max_inputs = 4,
             .infer = infer_resize,
             .reference = resize,
             .attrs = {"antialias", "axes", "coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside",
                       "extrapolation_value", "keep_aspect_ratio_policy", "mode", "nearest_mode"}});
}

}  // namespace tenon
