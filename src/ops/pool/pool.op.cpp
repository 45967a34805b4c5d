// Pooling: MaxPool, AveragePool, LpPool and their global forms.
#include <cmath>
#include <limits>

#include "ops/window.hpp"

namespace tenon {
namespace {

void infer_pool(InferContext& ctx) {
  const auto& x = ctx.shape(0);
  if (!x) {
    ctx.output(0, ctx.dtype(0));
    return ctx.output(1, DType::kInt64);
  }
  Ints kernel = ctx.attrs().ints("kernel_shape");
  ctx.require(!kernel.empty(), "attribute kernel_shape is missing");
  ctx.require(kernel.size() + 2 == x->size(), "kernel_shape has {} entries for an input of {} axes", kernel.size(),
              x->size());
  Window w = read_window(ctx, kernel);
  Shape out = *x;
  for (size_t i = 0; i < kernel.size(); ++i) out[i + 2] = window_output(ctx, w, i, (*x)[i + 2]);
  ctx.output(0, ctx.dtype(0), out);
  ctx.output(1, DType::kInt64, out);
}

struct PoolPlan {
  Window window;
  Dims in, out;
  int64_t in_area, out_area;
};

PoolPlan plan_pool(const RefContext& ctx) {
  const Dims& x = ctx.in(0).dims();
  Ints kernel = ctx.attrs().ints("kernel_shape");
  ctx.require(!kernel.empty() && kernel.size() + 2 == x.size(), "kernel_shape has {} entries for an input of {} axes",
              kernel.size(), x.size());
  PoolPlan p;
  p.window = read_window(ctx, kernel);
  p.in = x;
  p.out = window_outputs(ctx, p.window, x);
  p.out.insert(p.out.begin(), {x[0], x[1]});
  check_output_size(ctx, p.out);
  p.in_area = product(p.in, 2, p.in.size());
  p.out_area = product(p.out, 2, p.out.size());
  return p;
}

// Calls tap(position in the input plane, inside the input, inside the padded input) for each tap of one window.
template <class F>
void visit_window(const PoolPlan& p, int64_t output, F&& tap) {
  const Window& w = p.window;
  size_t axes = w.axes();
  Ints base(axes), k(axes, 0);
  for (size_t i = axes; i-- > 0;) {
    base[i] = output % p.out[i + 2] * w.strides[i] - w.begins[i];
    output /= p.out[i + 2];
  }
  for (;;) {
    int64_t at = 0;
    bool inside = true, padded = true;
    for (size_t i = 0; i < axes; ++i) {
      int64_t pos = base[i] + k[i] * w.dilations[i], extent = p.in[i + 2];
      inside = inside && pos >= 0 && pos < extent;
      padded = padded && pos < extent + w.ends[i];
      at = at * extent + pos;
    }
    tap(at, inside, padded);
    size_t i = axes;
    while (i > 0 && ++k[i - 1] == w.kernel[i - 1]) k[--i] = 0;
    if (i == 0) return;
  }
}

void max_pool(RefContext& ctx) {
  PoolPlan p = plan_pool(ctx);
  const Tensor& x = ctx.in(0);
  bool column_major = ctx.attrs().integer("storage_order", 0) != 0;
  Tensor out = Tensor::allocate(x.dtype(), p.out);
  Tensor indices = Tensor::allocate(DType::kInt64, p.out);
  int64_t rows = p.in.size() > 3 ? p.in[p.in.size() - 2] : 1, columns = p.in.back();
  std::vector<double> values = to_doubles(x);
  std::vector<double> result(static_cast<size_t>(out.size()));
  for (int64_t plane = 0; plane < p.in[0] * p.in[1]; ++plane) {
    const double* in = values.data() + plane * p.in_area;
    for (int64_t o = 0; o < p.out_area; ++o) {
      double best = -std::numeric_limits<double>::infinity();
      int64_t where = -1;
      visit_window(p, o, [&](int64_t at, bool inside, bool) {
        if (inside && (where < 0 || in[at] > best || std::isnan(in[at]))) {
          best = in[at];
          where = at;
        }
      });
      if (where >= 0 && column_major) {
        int64_t outer = where / (rows * columns), row = where / columns % rows, column = where % columns;
        where = outer * rows * columns + column * rows + row;
      }
      result[static_cast<size_t>(plane * p.out_area + o)] = best;
      indices.set_int(plane * p.out_area + o, where < 0 ? -1 : plane * p.in_area + where);
    }
  }
  store_doubles(out, result);
  ctx.set(0, out);
  ctx.set(1, indices);
}

void average_pool(RefContext& ctx) {
  PoolPlan p = plan_pool(ctx);
  bool count_padding = ctx.attrs().integer("count_include_pad", 0) != 0;
  std::vector<double> values = to_doubles(ctx.in(0));
  Tensor& out = ctx.make(0, ctx.in(0).dtype(), p.out);
  std::vector<double> result(static_cast<size_t>(out.size()));
  for (int64_t plane = 0; plane < p.in[0] * p.in[1]; ++plane) {
    const double* in = values.data() + plane * p.in_area;
    for (int64_t o = 0; o < p.out_area; ++o) {
      double sum = 0;
      int64_t count = 0;
      visit_window(p, o, [&](int64_t at, bool inside, bool padded) {
        if (inside) sum += in[at];
        count += inside || (count_padding && padded);
      });
      result[static_cast<size_t>(plane * p.out_area + o)] = count ? sum / static_cast<double>(count) : 0;
    }
  }
  store_doubles(out, result);
}

void lp_pool(RefContext& ctx) {
  PoolPlan p = plan_pool(ctx);
  int64_t power = ctx.attrs().integer("p", 2);
  ctx.require(power >= 1, "p is {}", power);
  std::vector<double> values = to_doubles(ctx.in(0));
  Tensor& out = ctx.make(0, ctx.in(0).dtype(), p.out);
  auto e = static_cast<double>(power);
  for (int64_t plane = 0; plane < p.in[0] * p.in[1]; ++plane) {
    const double* in = values.data() + plane * p.in_area;
    for (int64_t o = 0; o < p.out_area; ++o) {
      double sum = 0;
      visit_window(p, o, [&](int64_t at, bool inside, bool) {
        if (inside) sum += std::pow(std::fabs(in[at]), e);
      });
      out.set(plane * p.out_area + o, std::pow(sum, 1 / e));
    }
  }
}

void infer_global(InferContext& ctx) {
  if (!ctx.shape(0)) return ctx.output(0, ctx.dtype(0));
  Shape out = *ctx.shape(0);
  ctx.require(out.size() >= 2, "the input must have a batch and channels, it has {} axes", out.size());
  for (size_t i = 2; i < out.size(); ++i) out[i] = 1;
  ctx.output(0, ctx.dtype(0), out);
}

// Calls f(plane's values, their count) for each plane and stores what it answers.
template <class F>
void each_plane(RefContext& ctx, F&& f) {
  const Tensor& x = ctx.in(0);
  ctx.require(x.rank() >= 2, "the input must have a batch and channels, it has {} axes", x.rank());
  Dims dims = x.dims();
  int64_t area = product(dims, 2, dims.size());
  for (size_t i = 2; i < dims.size(); ++i) dims[i] = 1;
  std::vector<double> values = to_doubles(x);
  Tensor& out = ctx.make(0, x.dtype(), dims);
  for (int64_t i = 0; i < out.size(); ++i) out.set(i, f(values.data() + i * area, area));
}

void global_average_pool(RefContext& ctx) {
  each_plane(ctx, [](const double* x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += x[i];
    return n > 0 ? sum / static_cast<double>(n) : 0.0;
  });
}

void global_max_pool(RefContext& ctx) {
  each_plane(ctx, [](const double* x, int64_t n) {
    double best = n > 0 ? x[0] : 0;
    for (int64_t i = 1; i < n; ++i) best = x[i] > best || std::isnan(x[i]) ? x[i] : best;
    return best;
  });
}

void global_lp_pool(RefContext& ctx) {
  auto e = static_cast<double>(ctx.attrs().integer("p", 2));
  ctx.require(e >= 1, "p is {}", e);
  each_plane(ctx, [e](const double* x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += std::pow(std::fabs(x[i]), e);
    return std::pow(sum, 1 / e);
  });
}

}  // namespace

void define_pool_ops(OpTable& table) {
  table.add({.name = "MaxPool",
             .doc = "The largest element of each window, and where it was.",
             .max_outputs = 2,
             .infer = infer_pool,
             .reference = max_pool,
             .attrs = {"auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "storage_order", "strides"}});
  table.add({.name = "AveragePool",
             .doc = "The mean of each window, with or without the padding.",
             .infer = infer_pool,
             .reference = average_pool,
             .attrs = {"auto_pad", "ceil_mode", "count_include_pad", "dilations", "kernel_shape", "pads", "strides"}});
  table.add({.name = "LpPool",
             .doc = "The p-norm of each window.",
             .infer = infer_pool,
             .reference = lp_pool,
             .attrs = {"auto_pad", "ceil_mode", "dilations", "kernel_shape", "p", "pads", "strides"}});
  table.add({.name = "GlobalAveragePool",
             .doc = "The mean of each channel.",
             .infer = infer_global,
             .reference = global_average_pool});
  table.add({.name = "GlobalMaxPool",
             .doc = "The largest element of each channel.",
             .infer = infer_global,
             .reference = global_max_pool});
  table.add({.name = "GlobalLpPool",
             .doc = "The p-norm of each channel.",
             .infer = infer_global,
             .reference = global_lp_pool,
             .attrs = {"p"}});
}

}  // namespace tenon
