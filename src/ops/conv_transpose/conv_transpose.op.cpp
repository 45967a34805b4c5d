// ConvTranspose: the transposed convolution; each input element adds a scaled kernel to the output.
#include "base/checked.hpp"
#include "ops/window.hpp"

namespace tenon {
namespace {

struct Growth {
  Window window;
  Ints extra;         // output_padding
  Ints output_shape;  // asked for; empty if not
};

template <class Context>
Growth read_growth(const Context& ctx, const Ints& kernel) {
  Growth g;
  g.window = read_window(ctx, kernel);
  g.extra = window_detail::per_axis(ctx, "output_padding", kernel.size(), 0, 0);
  g.output_shape = ctx.attrs().ints("output_shape");
  if (g.output_shape.size() == kernel.size() + 2) {
    g.output_shape.erase(g.output_shape.begin(), g.output_shape.begin() + 2);
  }
  ctx.require(g.output_shape.empty() || g.output_shape.size() == kernel.size(),
              "output_shape has {} entries for {} spatial axes", g.output_shape.size(), kernel.size());
  return g;
}

// The output extent along axis i; for numbers it also settles the padding.
template <class Context>
Dim output_extent(const Context& ctx, Growth& g, size_t i, const Dim& extent) {
  Window& w = g.window;
  Dim full = (extent - 1) * w.strides[i] + g.extra[i] + w.reach(i);
  bool asked = !g.output_shape.empty();
  if (!asked && !same_padding(w)) {
    Dim out = full - w.begins[i] - w.ends[i];
    ctx.require(!out.is_const() || out.value() >= 0, "spatial axis {} would have {} elements", i, out.text());
    return out;
  }
  Dim out = asked ? Dim(g.output_shape[i]) : extent * w.strides[i];
  ctx.require(!out.is_const() || out.value() >= 0, "spatial axis {} would have {} elements", i, out.text());
  if (extent.is_const()) {
    int64_t total = std::max<int64_t>(0, full.value() - out.value());
    w.begins[i] = w.auto_pad == "SAME_UPPER" ? total / 2 : total - total / 2;
    w.ends[i] = total - w.begins[i];
  }
  return out;
}

void infer_conv_transpose(InferContext& ctx) {
  const auto &x = ctx.shape(0), &w = ctx.shape(1);
  if (!x && !w) return ctx.output(0, ctx.dtype(0));
  size_t rank = x ? x->size() : w->size();
  ctx.require(rank >= 3 && (!x || !w || x->size() == w->size()),
              "the input and the weight must have one rank, 3 at least; they have {} and {}", ctx.rank(0), ctx.rank(1));
  int64_t group = ctx.attrs().integer("group", 1);
  ctx.require(group >= 1, "group is {}", group);
  Shape out = unknown_shape(ctx, 0, rank);
  if (x) out[0] = (*x)[0];
  if (w) out[1] = (*w)[1] * group;
  if (x && w && (*x)[1].is_const() && (*w)[0].is_const()) {
    ctx.require((*x)[1] == (*w)[0] && (*x)[1].value() % group == 0, "{} channels, weight {} and {} groups do not fit",
                (*x)[1].text(), shape_text(*w), group);
  }
  if (const auto& bias = ctx.shape(2)) {  // kernels read as many entries as there are channels
    bool fits = bias->size() == 1 && (!(*bias)[0].is_const() || !out[1].is_const() || (*bias)[0] == out[1]);
    ctx.require(fits, "the bias has shape {} for {} channels", shape_text(*bias), out[1].text());
  }
  Ints kernel = ctx.attrs().ints("kernel_shape");
  if (w && all_const({w->begin() + 2, w->end()})) kernel = const_dims({w->begin() + 2, w->end()});
  if (x && kernel.size() + 2 == rank) {
    Growth g = read_growth(ctx, kernel);
    for (size_t i = 0; i < kernel.size(); ++i) out[i + 2] = output_extent(ctx, g, i, (*x)[i + 2]);
  }
  ctx.output(0, ctx.dtype(0), out);
}

// Adds value * kernel to the output plane for each input element, walking input and kernel positions by odometers.
void scatter_plane(const Window& w, const Dims& in, const Dims& out, const double* x, const double* kernel,
                   double* to) {
  size_t axes = w.axes();
  int64_t taps = element_count(w.kernel), elements = product(in, 2, in.size());
  Ints position(axes);
  for (int64_t k = 0; k < taps; ++k) {
    int64_t rest_k = k;
    for (size_t a = axes; a-- > 0;) {
      position[a] = rest_k % w.kernel[a] * w.dilations[a] - w.begins[a];
      rest_k /= w.kernel[a];
    }
    for (int64_t e = 0; e < elements; ++e) {
      int64_t rest = e, at = 0, scale = 1;
      bool inside = true;
      for (size_t a = axes; a-- > 0;) {
        int64_t pos = rest % in[a + 2] * w.strides[a] + position[a];
        rest /= in[a + 2];
        inside = inside && pos >= 0 && pos < out[a + 2];
        at += pos * scale;
        scale *= out[a + 2];
      }
      if (inside) to[at] += x[e] * kernel[k];
    }
  }
}

void conv_transpose(RefContext& ctx) {
  const Tensor &x = ctx.in(0), &w = ctx.in(1);
  const Dims &in = x.dims(), &dw = w.dims();
  int64_t group = ctx.attrs().integer("group", 1);
  ctx.require(in.size() >= 3 && in.size() == dw.size(), "input of shape {} and weight of shape {} do not fit",
              dims_text(in), dims_text(dw));
  ctx.require(group >= 1 && in[1] == dw[0] && in[1] % group == 0, "{} channels, weight {} and {} groups do not fit",
              in[1], dims_text(dw), group);
  Growth g = read_growth(ctx, {dw.begin() + 2, dw.end()});
  Dims out_dims{in[0], checked_mul(dw[1], group)};
  for (size_t i = 0; i + 2 < in.size(); ++i) out_dims.push_back(output_extent(ctx, g, i, in[i + 2]).value());
  Tensor& out = make_output(ctx, 0, x.dtype(), out_dims);
  std::vector<double> values = to_doubles(x), weights = to_doubles(w);
  std::vector<double> result(static_cast<size_t>(out.size()), 0.0);
  int64_t in_area = product(in, 2, in.size()), out_area = product(out_dims, 2, out_dims.size());
  int64_t taps = product(dw, 2, dw.size()), per_group = in[1] / group;
  for (int64_t n = 0; n < in[0]; ++n) {
    for (int64_t c = 0; c < in[1]; ++c) {
      for (int64_t m = 0; m < dw[1]; ++m) {
        int64_t channel = c / per_group * dw[1] + m;
        scatter_plane(g.window, in, out_dims, values.data() + (n * in[1] + c) * in_area,
                      weights.data() + (c * dw[1] + m) * taps, result.data() + (n * out_dims[1] + channel) * out_area);
      }
    }
  }
  if (ctx.has(2)) {
    const Tensor& bias = ctx.in(2);
    ctx.require(bias.size() == out_dims[1], "the bias has {} entries for {} channels", bias.size(), out_dims[1]);
    for (size_t i = 0; i < result.size(); ++i) {
      result[i] += bias.at(static_cast<int64_t>(i) / out_area % out_dims[1]);
    }
  }
  store_doubles(out, result);
}

}  // namespace

void define_conv_transpose_ops(OpTable& table) {
  table.add({.name = "ConvTranspose",
             .doc = "The transposed convolution with a weight [channels, outputs / group, kernel...].",
             .min_inputs = 2,
             .max_inputs = 3,
             .infer = infer_conv_transpose,
             .reference = conv_transpose,
             .attrs = {"auto_pad", "dilations", "group", "kernel_shape", "output_padding", "output_shape", "pads",
                       "strides"}});
}

}  // namespace tenon
