#include "ops/conv_reference.hpp"

#include <algorithm>

namespace tenon {
namespace {

// Positions ow of a row for which ow * stride + offset lies inside [0, extent).
struct Reach {
  int64_t from, to;
};

Reach inside(int64_t offset, int64_t stride, int64_t extent, int64_t outputs) {
  int64_t from = offset >= 0 ? 0 : (-offset + stride - 1) / stride;
  int64_t last = extent - 1 - offset;
  int64_t to = last < 0 ? 0 : std::min(outputs, last / stride + 1);
  return {from, std::max(from, to)};
}

// Adds weight * (row of the input at all kernel columns) to one output row.
void add_row(const Window& w, size_t axis, const double* x, int64_t extent, const double* kernel, double* out,
             int64_t outputs) {
  int64_t stride = w.strides[axis];
  for (int64_t k = 0; k < w.kernel[axis]; ++k) {
    int64_t offset = k * w.dilations[axis] - w.begins[axis];
    Reach r = inside(offset, stride, extent, outputs);
    double factor = kernel[k];
    if (stride == 1) {
      const double* from = x + offset;
      for (int64_t i = r.from; i < r.to; ++i) out[i] += factor * from[i];
    } else {
      for (int64_t i = r.from; i < r.to; ++i) out[i] += factor * x[i * stride + offset];
    }
  }
}

// One output plane: all rows, all kernel rows, of one input plane. The outer spatial axes are walked by odometers.
void add_plane(const ConvPlan& p, const double* x, const double* kernel, double* out) {
  const Window& w = p.window;
  size_t axes = w.axes(), outer = axes - 1;
  int64_t in_row = p.in.back(), out_row = p.out.back(), kernel_row = w.kernel[outer];
  int64_t rows = product(p.out, 2, 2 + outer), kernels = product(p.weight, 2, 2 + outer);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t k = 0; k < kernels; ++k) {
      int64_t at = 0, scale = 1, rest_r = r, rest_k = k;
      bool within = true;
      for (size_t a = outer; a-- > 0;) {
        int64_t pos = rest_r % p.out[2 + a] * w.strides[a] + rest_k % w.kernel[a] * w.dilations[a] - w.begins[a];
        rest_r /= p.out[2 + a];
        rest_k /= w.kernel[a];
        within = within && pos >= 0 && pos < p.in[2 + a];
        at += pos * scale;
        scale *= p.in[2 + a];
      }
      if (within) add_row(w, outer, x + at * in_row, in_row, kernel + k * kernel_row, out + r * out_row, out_row);
    }
  }
}

}  // namespace

ConvPlan plan_conv(const RefContext& ctx, const Dims& x, const Dims& w) {
  ctx.require(x.size() >= 3 && x.size() == w.size(),
              "input of shape {} and weight of shape {} must have one rank, 3 at least", dims_text(x), dims_text(w));
  ConvPlan p;
  p.group = ctx.attrs().integer("group", 1);
  ctx.require(p.group >= 1 && w[0] % p.group == 0 && x[1] % p.group == 0 && w[1] == x[1] / p.group,
              "input of shape {} does not fit a weight of shape {} in {} groups", dims_text(x), dims_text(w), p.group);
  Ints kernel(w.begin() + 2, w.end());
  p.window = read_window(ctx, kernel);
  p.in = x;
  p.weight = w;
  p.out = window_outputs(ctx, p.window, x);
  p.out.insert(p.out.begin(), {x[0], w[0]});
  check_output_size(ctx, p.out);
  return p;
}

namespace {

// The same convolution with longer rows: axes of one element are dropped, and one that looks at a single position
// (kernel 1, no stride, no padding) runs along one axis.
ConvPlan flattened(const ConvPlan& p) {
  const Window& w = p.window;
  ConvPlan out{w, {p.in[0], p.in[1]}, {p.weight[0], p.weight[1]}, {p.out[0], p.out[1]}, p.group};
  out.window.kernel.clear(), out.window.strides.clear(), out.window.dilations.clear();
  out.window.begins.clear(), out.window.ends.clear();
  bool pointwise = true;
  for (size_t i = 0; i < w.axes(); ++i) {
    bool plain = w.kernel[i] == 1 && w.begins[i] == 0 && w.ends[i] == 0;
    pointwise = pointwise && plain && w.strides[i] == 1;
    if (plain && p.in[i + 2] == 1) continue;
    out.in.push_back(p.in[i + 2]);
    out.weight.push_back(p.weight[i + 2]);
    out.out.push_back(p.out[i + 2]);
    out.window.kernel.push_back(w.kernel[i]);
    out.window.strides.push_back(w.strides[i]);
    out.window.dilations.push_back(w.dilations[i]);
    out.window.begins.push_back(w.begins[i]);
    out.window.ends.push_back(w.ends[i]);
  }
  if (!pointwise && !out.window.kernel.empty()) return out;
  out.in = {p.in[0], p.in[1], product(p.in, 2, p.in.size())};
  out.out = {p.out[0], p.out[1], out.in[2]};
  out.weight = {p.weight[0], p.weight[1], 1};
  out.window.kernel = out.window.strides = out.window.dilations = {1};
  out.window.begins = out.window.ends = {0};
  return out;
}

}  // namespace

std::vector<double> convolve(const ConvPlan& plan, const std::vector<double>& x, const std::vector<double>& w) {
  ConvPlan p = flattened(plan);
  std::vector<double> out(static_cast<size_t>(element_count(p.out)), 0.0);
  int64_t in_area = product(p.in, 2, p.in.size()), out_area = product(p.out, 2, p.out.size());
  int64_t kernel_area = product(p.weight, 2, p.weight.size());
  int64_t channels = p.weight[1], outputs = p.weight[0], per_group = outputs / p.group;
  if (out.empty()) return out;
  for (int64_t n = 0; n < p.in[0]; ++n) {
    for (int64_t m = 0; m < outputs; ++m) {
      for (int64_t c = 0; c < channels; ++c) {
        int64_t channel = m / per_group * channels + c;
        add_plane(p, x.data() + (n * p.in[1] + channel) * in_area, w.data() + (m * channels + c) * kernel_area,
                  out.data() + (n * outputs + m) * out_area);
      }
    }
  }
  return out;
}

}  // namespace tenon
