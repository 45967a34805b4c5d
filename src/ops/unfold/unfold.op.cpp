// Undoing and bending windows: Col2Im, MaxUnpool, DeformConv; and CenterCropPad and Det.
#include <algorithm>
#include <cmath>

#include "base/checked.hpp"
#include "ops/window.hpp"

namespace tenon {
namespace {

// --- Col2Im --------------------------------------------------------------------------------------------------------

void infer_col2im(InferContext& ctx) {
  auto image = ctx.content(1), block = ctx.content(2);
  if (!image || !ctx.shape(0)) return ctx.output(0, ctx.dtype(0));
  ctx.require(ctx.rank(0) == 3, "the columns have {} axes, not (N, C * block, L)", ctx.rank(0));
  Shape out{(*ctx.shape(0))[0], ctx.unknown(0, 1)};
  if (auto sizes = ctx.ints(2)) {
    ctx.require(std::all_of(sizes->begin(), sizes->end(), [](int64_t v) { return v >= 1; }),
                "the block has an extent below 1");
    out[1] = Dim::floor_div((*ctx.shape(0))[1], element_count(*sizes));
  }
  out.insert(out.end(), image->begin(), image->end());
  ctx.output(0, ctx.dtype(0), out);
}

void col2im(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  Ints image = ctx.in(1).to_ints(), block = ctx.in(2).to_ints();
  ctx.require(x.rank() == 3 && !image.empty() && image.size() == block.size(),
              "columns of shape {} do not fit an image of {} and a block of {} axes", dims_text(x.dims()), image.size(),
              block.size());
  Window w = read_window(ctx, block);
  int64_t area = element_count(block);
  ctx.require(x.dims()[1] % area == 0, "{} channels do not divide into blocks of {}", x.dims()[1], area);
  Dims dims{x.dims()[0], x.dims()[1] / area};
  dims.insert(dims.end(), image.begin(), image.end());
  Tensor& out = make_output(ctx, 0, x.dtype(), dims);
  Dims places = window_outputs(ctx, w, dims);
  int64_t columns = element_count(places), pixels = element_count(image);
  ctx.require(columns == x.dims()[2], "the image has {} blocks, the columns {}", columns, x.dims()[2]);
  std::vector<double> sums(static_cast<size_t>(out.size()), 0.0), values = to_doubles(x);
  for (int64_t i = 0; i < x.size(); ++i) {
    int64_t place = i % columns, k = i / columns % area, plane = i / columns / area, at = 0, scale = 1;
    bool inside = true;
    for (size_t a = w.axes(); a-- > 0;) {
      int64_t p = place % places[a] * w.strides[a] + k % block[a] * w.dilations[a] - w.begins[a];
      place /= places[a];
      k /= block[a];
      inside = inside && p >= 0 && p < image[a];
      at += p * scale;
      scale *= image[a];
    }
    if (inside) sums[static_cast<size_t>(plane * pixels + at)] += values[static_cast<size_t>(i)];
  }
  store_doubles(out, sums);
}

// --- MaxUnpool -----------------------------------------------------------------------------------------------------

// (extent - 1) * stride - padding + kernel along each spatial axis.
template <class Context, class D>
std::vector<D> unpooled(const Context& ctx, const std::vector<D>& in) {
  Ints kernel = ctx.attrs().ints("kernel_shape");
  ctx.require(in.size() >= 3 && kernel.size() + 2 == in.size(), "a kernel of {} axes does not fit an input of {}",
              kernel.size(), in.size());
  Window w = read_window(ctx, kernel);
  std::vector<D> out{in[0], in[1]};
  for (size_t i = 0; i < kernel.size(); ++i)
    out.push_back((in[i + 2] - 1) * w.strides[i] - w.begins[i] - w.ends[i] + kernel[i]);
  return out;
}

void infer_max_unpool(InferContext& ctx) {
  auto given = ctx.has(2) ? ctx.content(2) : std::nullopt;
  if (given) return ctx.output(0, ctx.dtype(0), *given);
  if (!ctx.shape(0)) return ctx.output(0, ctx.dtype(0));
  if (ctx.has(2)) return ctx.output(0, ctx.dtype(0), unknown_shape(ctx, 0, ctx.shape(0)->size()));
  ctx.output(0, ctx.dtype(0), unpooled(ctx, *ctx.shape(0)));
}

// Indices count within the shape that the attributes give; a larger output_shape only pads behind it.
void max_unpool(RefContext& ctx) {
  const Tensor &x = ctx.in(0), &indices = ctx.in(1);
  for (int64_t d : x.dims())
    ctx.require(d < (int64_t{1} << 31), "an input of shape {} is too large", dims_text(x.dims()));
  Dims natural = unpooled(ctx, x.dims()), dims = ctx.has(2) ? ctx.in(2).to_ints() : natural;
  ctx.require(indices.dims() == x.dims(), "indices of shape {} do not fit an input of shape {}",
              dims_text(indices.dims()), dims_text(x.dims()));
  bool fits = dims.size() == natural.size();
  for (size_t i = 0; fits && i < dims.size(); ++i) fits = dims[i] >= natural[i] && natural[i] >= 0;
  ctx.require(fits, "an output of shape {} cannot hold {}", dims_text(dims), dims_text(natural));
  Tensor& out = make_output(ctx, 0, x.dtype(), dims);
  int64_t total = element_count(natural);
  Ints to = strides_of(dims);
  with_mover(out, x, [&](auto move) {
    for (int64_t i = 0; i < x.size(); ++i) {
      int64_t rest = indices.int_at(i), at = 0;
      ctx.require(rest >= 0 && rest < total, "index {} is outside {} elements", rest, total);
      for (size_t a = natural.size(); a-- > 0;) {
        at += rest % natural[a] * to[a];
        rest /= natural[a];
      }
      move(at, i);
    }
  });
}

// --- DeformConv ----------------------------------------------------------------------------------------------------

Ints deform_kernel(const Ints& given, const Dims& weight) {
  return given.empty() ? Ints(weight.begin() + 2, weight.end()) : given;
}

void infer_deform_conv(InferContext& ctx) {
  if (!ctx.shape(1) || !ctx.shape(2) || !ctx.shape(0)) return ctx.output(0, ctx.dtype(0));
  ctx.require(ctx.rank(0) >= 3 && ctx.rank(1) == ctx.rank(0) && ctx.rank(2) == ctx.rank(0),
              "input, weight and offset must have one rank, 3 at least");
  Shape out = *ctx.shape(2);
  out[0] = (*ctx.shape(0))[0];
  out[1] = (*ctx.shape(1))[0];
  ctx.output(0, ctx.dtype(0), out);
}

struct DeformPlan {
  Window window;
  Dims in, out;  // spatial
  int64_t batch, channels, outputs, per_group, group, offset_group, area, points;
};

DeformPlan deform_plan(const RefContext& ctx) {
  const Dims &x = ctx.in(0).dims(), &w = ctx.in(1).dims(), &o = ctx.in(2).dims();
  ctx.require(x.size() >= 3 && w.size() == x.size() && o.size() == x.size(),
              "input {}, weight {} and offset {} must have one rank, 3 at least", dims_text(x), dims_text(w),
              dims_text(o));
  DeformPlan p;
  p.window = read_window(ctx, deform_kernel(ctx.attrs().ints("kernel_shape"), w));
  p.group = ctx.attrs().integer("group", 1);
  p.offset_group = ctx.attrs().integer("offset_group", 1);
  p.batch = x[0], p.channels = x[1], p.outputs = w[0], p.per_group = w[1];
  ctx.require(p.window.kernel == Ints(w.begin() + 2, w.end()), "kernel_shape does not fit a weight of shape {}",
              dims_text(w));
  ctx.require(p.group >= 1 && p.channels == p.per_group * p.group && p.outputs % p.group == 0 && p.offset_group >= 1 &&
                  p.channels % p.offset_group == 0,
              "{} channels in {} groups and {} offset groups do not fit a weight of shape {}", p.channels, p.group,
              p.offset_group, dims_text(w));
  p.in.assign(x.begin() + 2, x.end());
  p.out = window_outputs(ctx, p.window, x);
  p.area = element_count(p.window.kernel);
  p.points = element_count(p.out);
  auto axes = static_cast<int64_t>(p.in.size());
  Dims offsets{p.batch, checked_mul(checked_mul(p.offset_group, p.area), axes)},
      masks{p.batch, p.offset_group * p.area};
  offsets.insert(offsets.end(), p.out.begin(), p.out.end());
  masks.insert(masks.end(), p.out.begin(), p.out.end());
  ctx.require(o == offsets, "an offset of shape {} is wanted, not {}", dims_text(offsets), dims_text(o));
  ctx.require(!ctx.has(3) || ctx.in(3).dims() == Dims{p.outputs}, "the bias does not fit {} channels", p.outputs);
  ctx.require(!ctx.has(4) || ctx.in(4).dims() == masks, "a mask of shape {} is wanted", dims_text(masks));
  return p;
}

// The plane read between its elements; zero outside.
double between(const double* plane, const Dims& extents, const std::vector<double>& place, size_t axis, int64_t at) {
  if (axis == extents.size()) return plane[at];
  double base = std::floor(place[axis]), t = place[axis] - base, sum = 0;
  auto first = static_cast<int64_t>(base);
  for (int64_t i = 0; i < 2; ++i) {
    double weight = i == 0 ? 1 - t : t;
    if (first + i < 0 || first + i >= extents[axis] || weight == 0) continue;
    sum += weight * between(plane, extents, place, axis + 1, at * extents[axis] + first + i);
  }
  return sum;
}

// What each input channel contributes at one output position for one kernel element: mask times interpolated value.
double deformed(const RefContext& ctx, const DeformPlan& p, const double* plane, int64_t n, int64_t c, int64_t k,
                int64_t point) {
  size_t axes = p.in.size();
  int64_t g = c / (p.channels / p.offset_group), rest_k = k, rest_p = point,
          row = (n * p.offset_group + g) * p.area + k;
  std::vector<double> place(axes);
  for (size_t a = axes; a-- > 0;) {
    const Window& w = p.window;
    int64_t at = rest_p % p.out[a] * w.strides[a] - w.begins[a] + rest_k % w.kernel[a] * w.dilations[a];
    rest_p /= p.out[a];
    rest_k /= w.kernel[a];
    double shift = ctx.in(2).at((row * static_cast<int64_t>(axes) + static_cast<int64_t>(a)) * p.points + point);
    place[a] = static_cast<double>(at) + shift;
    if (!(std::fabs(place[a]) < 1e9)) return 0;
  }
  return between(plane, p.in, place, 0, 0) * (ctx.has(4) ? ctx.in(4).at(row * p.points + point) : 1);
}

void deform_conv(RefContext& ctx) {
  DeformPlan p = deform_plan(ctx);
  Dims dims{p.batch, p.outputs};
  dims.insert(dims.end(), p.out.begin(), p.out.end());
  Tensor& out = make_output(ctx, 0, ctx.in(0).dtype(), dims);
  std::vector<double> x = to_doubles(ctx.in(0)), w = to_doubles(ctx.in(1)), sums(static_cast<size_t>(out.size()), 0.0);
  int64_t plane = element_count(p.in), outputs = p.outputs / p.group;
  for (int64_t i = 0; ctx.has(3) && i < out.size(); ++i)
    sums[static_cast<size_t>(i)] = ctx.in(3).at(i / p.points % p.outputs);
  for (int64_t nc = 0; nc < p.batch * p.channels; ++nc) {
    int64_t n = nc / p.channels, c = nc % p.channels, first = c / p.per_group * outputs;
    for (int64_t k = 0; k < p.area; ++k) {
      for (int64_t point = 0; point < p.points; ++point) {
        double v = deformed(ctx, p, x.data() + nc * plane, n, c, k, point);
        for (int64_t m = first; m < first + outputs; ++m)
          sums[static_cast<size_t>((n * p.outputs + m) * p.points + point)] +=
              v * w[static_cast<size_t>((m * p.per_group + c % p.per_group) * p.area + k)];
      }
    }
  }
  store_doubles(out, sums);
}

// --- CenterCropPad -------------------------------------------------------------------------------------------------

template <class Context>
Ints cropped_axes(const Context& ctx, int64_t rank) {
  Ints axes = ctx.attrs().ints("axes");
  if (ctx.attrs().has("axes")) return normalize_axes(ctx, axes, rank);
  for (int64_t i = 0; i < rank; ++i) axes.push_back(i);
  return axes;
}

void infer_center_crop_pad(InferContext& ctx) {
  if (!ctx.shape(0)) return ctx.output(0, ctx.dtype(0));
  Shape out = *ctx.shape(0);
  Ints axes = cropped_axes(ctx, ctx.rank(0));
  auto sizes = ctx.content(1);
  ctx.require(!sizes || sizes->size() == axes.size(), "{} sizes are given for {} axes", sizes ? sizes->size() : 0,
              axes.size());
  for (size_t i = 0; i < axes.size(); ++i) {
    auto a = static_cast<size_t>(axes[i]);
    out[a] = sizes ? (*sizes)[i] : ctx.unknown(0, a);
  }
  ctx.output(0, ctx.dtype(0), out);
}

void center_crop_pad(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  Ints axes = cropped_axes(ctx, x.rank()), sizes = ctx.in(1).to_ints();
  ctx.require(sizes.size() == axes.size(), "{} sizes are given for {} axes", sizes.size(), axes.size());
  Dims dims = x.dims(), common = x.dims();
  Ints from_strides = strides_of(x.dims());
  for (size_t i = 0; i < axes.size(); ++i) dims[static_cast<size_t>(axes[i])] = sizes[i];
  Tensor& out = make_output(ctx, 0, x.dtype(), dims);
  Ints to_strides = strides_of(dims);
  int64_t from = 0, to = 0;
  for (size_t a = 0; a < dims.size(); ++a) {
    common[a] = std::min(dims[a], x.dims()[a]);
    from += (x.dims()[a] - common[a]) / 2 * from_strides[a];
    to += (dims[a] - common[a]) / 2 * to_strides[a];
  }
  with_mover(out, x, [&](auto move) {
    walk<2>(common, {to_strides, from_strides},
            [&](const std::array<int64_t, 2>& at) { move(to + at[0], from + at[1]); });
  });
}

// --- Det -----------------------------------------------------------------------------------------------------------

void infer_det(InferContext& ctx) {
  if (!ctx.shape(0)) return ctx.output(0, ctx.dtype(0));
  Shape out = *ctx.shape(0);
  ctx.require(out.size() >= 2, "a determinant needs matrices, the input has {} axes", out.size());
  out.resize(out.size() - 2);
  ctx.output(0, ctx.dtype(0), out);
}

// By elimination with the largest pivot.
double determinant(std::vector<double> m, size_t n) {
  double out = 1;
  for (size_t k = 0; k < n; ++k) {
    size_t pivot = k;
    for (size_t r = k + 1; r < n; ++r) {
      if (std::fabs(m[r * n + k]) > std::fabs(m[pivot * n + k])) pivot = r;
    }
    if (m[pivot * n + k] == 0) return 0;
    if (pivot != k) out = -out;
    for (size_t c = 0; pivot != k && c < n; ++c) std::swap(m[k * n + c], m[pivot * n + c]);
    out *= m[k * n + k];
    for (size_t r = k + 1; r < n; ++r) {
      double f = m[r * n + k] / m[k * n + k];
      for (size_t c = k; c < n; ++c) m[r * n + c] -= f * m[k * n + c];
    }
  }
  return out;
}

void det(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  ctx.require(x.rank() >= 2 && x.dims().back() == x.dims()[x.dims().size() - 2], "matrices of shape {} are not square",
              dims_text(x.dims()));
  Dims dims(x.dims().begin(), x.dims().end() - 2);
  Tensor& out = make_output(ctx, 0, x.dtype(), dims);
  int64_t n = x.dims().back();
  std::vector<double> values = to_doubles(x);
  for (int64_t i = 0; i < out.size(); ++i)
    out.set(i, determinant({values.begin() + i * n * n, values.begin() + (i + 1) * n * n}, static_cast<size_t>(n)));
}

}  // namespace

void define_unfold_ops(OpTable& table) {
  auto add = [&](const char* name, std::string_view doc, int least, int most, auto infer, auto reference,
                 Strings attrs) {
    table.add({.name = name,
               .doc = doc,
               .min_inputs = least,
               .max_inputs = most,
               .infer = infer,
               .reference = reference,
               .attrs = std::move(attrs)});
  };
  add("Col2Im", "Columns of blocks added up where they lie in an image.", 3, 3, infer_col2im, col2im,
      {"dilations", "pads", "strides"});
  add("MaxUnpool", "Values put back to where MaxPool found them, among zeros.", 2, 3, infer_max_unpool, max_unpool,
      {"kernel_shape", "pads", "strides"});
  add("DeformConv", "A convolution whose every input position is shifted and weighted.", 3, 5, infer_deform_conv,
      deform_conv, {"dilations", "group", "kernel_shape", "offset_group", "pads", "strides"});
  add("CenterCropPad", "Cut or padded with zeros around the centre to a shape.", 2, 2, infer_center_crop_pad,
      center_crop_pad, {"axes"});
  add("Det", "The determinant of each matrix.", 1, 1, infer_det, det, {});
}

}  // namespace tenon
