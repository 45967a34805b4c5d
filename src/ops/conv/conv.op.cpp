// Conv: cross-correlation over one or more spatial axes, with groups.
#include "ops/conv_reference.hpp"
#include "ops/window.hpp"

namespace tenon {
namespace {

void infer_conv(InferContext& ctx) {
  const auto &x = ctx.shape(0), &w = ctx.shape(1);
  if (!x && !w) return ctx.output(0, ctx.dtype(0));
  size_t rank = x ? x->size() : w->size();
  ctx.require(rank >= 3, "the input must have a batch, channels and a spatial axis at least, it has {} axes", rank);
  ctx.require(!x || !w || x->size() == w->size(), "input of rank {} and weight of rank {} differ", ctx.rank(0),
              ctx.rank(1));
  Shape out = unknown_shape(ctx, 0, rank);
  if (x) out[0] = (*x)[0];
  if (w) out[1] = (*w)[0];
  int64_t group = ctx.attrs().integer("group", 1);
  ctx.require(group >= 1, "group is {}", group);
  Ints kernel = ctx.attrs().ints("kernel_shape");
  if (x && w) {
    const Dim &channels = (*x)[1], &per_group = (*w)[1], &outputs = (*w)[0];
    ctx.require(!channels.is_const() || !per_group.is_const() || channels.value() == per_group.value() * group,
                "the input has {} channels, the weight expects {} x {} groups", channels.text(), per_group.text(),
                group);
    ctx.require(!outputs.is_const() || outputs.value() % group == 0, "{} output channels do not divide into {} groups",
                outputs.text(), group);
  }
  if (w && all_const({w->begin() + 2, w->end()})) {
    Ints actual = const_dims({w->begin() + 2, w->end()});
    ctx.require(kernel.empty() || kernel == actual, "kernel_shape is {} but the weight is {}", dims_text(kernel),
                dims_text(actual));
    kernel = actual;
  }
  if (const auto& bias = ctx.shape(2)) {  // kernels read as many entries as there are channels
    bool fits = bias->size() == 1 && (!(*bias)[0].is_const() || !out[1].is_const() || (*bias)[0] == out[1]);
    ctx.require(fits, "the bias has shape {} for {} channels", shape_text(*bias), out[1].text());
  }
  if (x && kernel.size() + 2 == rank) {
    Window window = read_window(ctx, kernel);
    for (size_t i = 0; i < kernel.size(); ++i) out[i + 2] = window_output(ctx, window, i, (*x)[i + 2]);
  }
  ctx.output(0, ctx.dtype(0), out);
}

void conv(RefContext& ctx) {
  const Tensor &x = ctx.in(0), &w = ctx.in(1);
  ConvPlan plan = plan_conv(ctx, x.dims(), w.dims());
  ctx.require(x.dtype() == w.dtype(), "the input is {} and the weight {}", name(x.dtype()), name(w.dtype()));
  Tensor& out = make_output(ctx, 0, x.dtype(), plan.out);
  std::vector<double> result = convolve(plan, to_doubles(x), to_doubles(w));
  if (ctx.has(2)) {
    const Tensor& bias = ctx.in(2);
    ctx.require(bias.size() == plan.out[1], "the bias has {} entries for {} channels", bias.size(), plan.out[1]);
    int64_t area = product(plan.out, 2, plan.out.size());
    for (size_t i = 0; i < result.size(); ++i) {
      result[i] += bias.at(static_cast<int64_t>(i) / area % plan.out[1]);
    }
  }
  store_doubles(out, result);
}

}  // namespace

void define_conv_ops(OpTable& table) {
  table.add({.name = "Conv",
             .doc = "Cross-correlation with a weight [outputs, channels / group, kernel...] and an optional bias.",
             .min_inputs = 2,
             .max_inputs = 3,
             .infer = infer_conv,
             .reference = conv,
             .attrs = {"auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"}});
}

}  // namespace tenon
