// Integer arithmetic of quantised models: ConvInteger, MatMulInteger, QLinearConv, QLinearMatMul.
#include <algorithm>
#include <cmath>

#include "ops/conv_reference.hpp"
#include "ops/matmul_reference.hpp"
#include "ops/quantized.hpp"

namespace tenon {
namespace {

// --- shapes ----------------------------------------------------------------------------------------------------

// Conv's output shape for input x and weight w, inputs ix and iw of the node.
std::optional<Shape> conv_shape(InferContext& ctx, size_t ix, size_t iw) {
  const auto &x = ctx.shape(ix), &w = ctx.shape(iw);
  if (!x || !w) return std::nullopt;
  ctx.require(x->size() == w->size() && x->size() >= 3, "input of shape {} and weight of shape {} do not fit",
              shape_text(*x), shape_text(*w));
  if (!all_const({w->begin() + 2, w->end()})) return std::nullopt;
  Window window = read_window(ctx, const_dims({w->begin() + 2, w->end()}));
  Shape out{(*x)[0], (*w)[0]};
  for (size_t i = 0; i < window.axes(); ++i) out.push_back(window_output(ctx, window, i, (*x)[i + 2]));
  return out;
}

// A parameter of one number, or of one an output channel of weight `iw`. What is open is checked when values are there.
void require_per_channel(const InferContext& ctx, size_t i, size_t iw, const char* what, bool one_for_all) {
  if (!ctx.has(i) || !ctx.shape(i) || !all_const(*ctx.shape(i))) return;
  int64_t count = element_count(const_dims(*ctx.shape(i)));
  if (one_for_all && count == 1) return;
  const auto& w = ctx.shape(iw);
  if (!w || w->empty() || !(*w)[0].is_const()) return;
  ctx.require(count == (*w)[0].value(), "{} {} given for {} channels", count, what, (*w)[0].value());
}

void require_one(const InferContext& ctx, size_t i, const char* what) {
  if (!ctx.has(i) || !ctx.shape(i) || !all_const(*ctx.shape(i))) return;
  int64_t count = element_count(const_dims(*ctx.shape(i)));
  ctx.require(count == 1, "{} must be one number, it has {}", what, count);
}

void infer_conv_integer(InferContext& ctx) {
  require_per_channel(ctx, 3, 1, "zero points of w are", true);
  ctx.output(0, DType::kInt32, conv_shape(ctx, 0, 1));
}
void infer_qlinear_conv(InferContext& ctx) {
  for (size_t i : {size_t{0}, size_t{3}, size_t{7}}) {
    DType d = ctx.dtype(i);
    ctx.require(d == DType::kUndefined || (is_integer(d) && bits(d) <= 8), "input {} is {}, not an 8-bit integer", i,
                name(d));
  }
  DType bias = ctx.dtype(8);
  ctx.require(bias == DType::kUndefined || bias == DType::kInt32, "the bias is {}, not int32", name(bias));
  require_one(ctx, 1, "the scale of x");
  require_one(ctx, 2, "the zero point of x");
  require_per_channel(ctx, 4, 3, "scales of w are", true);
  require_per_channel(ctx, 5, 3, "zero points of w are", true);
  require_one(ctx, 6, "the scale of y");
  require_one(ctx, 7, "the zero point of y");
  require_per_channel(ctx, 8, 3, "numbers of the bias are", false);
  ctx.output(0, ctx.dtype(7), conv_shape(ctx, 0, 3));
}
void infer_matmul_integer(InferContext& ctx) { ctx.output(0, DType::kInt32, matmul_shape(ctx, 0, 1)); }
void infer_qlinear_matmul(InferContext& ctx) { ctx.output(0, ctx.dtype(7), matmul_shape(ctx, 0, 3)); }

// --- values ----------------------------------------------------------------------------------------------------

// x less its zero point, as doubles: exact, and padding with 0 means padding with the zero point. `axis`: of zero
// points that are one an index along it.
std::vector<double> centered(const RefContext& ctx, const Tensor& x, const Tensor* zero, size_t axis) {
  std::vector<double> out = to_doubles(x);
  if (zero == nullptr) return out;
  if (zero->size() == 1) {
    for (double& v : out) v -= static_cast<double>(zero->int_at(0));
    return out;
  }
  ctx.require(axis < x.dims().size() && zero->size() == x.dims()[axis], "{} zero points are given for shape {}",
              zero->size(), dims_text(x.dims()));
  int64_t inner = product(x.dims(), axis + 1, x.dims().size());
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] -= static_cast<double>(zero->int_at(static_cast<int64_t>(i) / inner % x.dims()[axis]));
  }
  return out;
}

const Tensor* optional_input(const RefContext& ctx, size_t i) { return ctx.has(i) ? &ctx.in(i) : nullptr; }

// Sums wrap as 32-bit integers do.
void store_int32(Tensor& out, const std::vector<double>& values) {
  int32_t* to = out.mutable_data<int32_t>();
  for (size_t i = 0; i < values.size(); ++i) to[i] = static_cast<int32_t>(static_cast<int64_t>(values[i]));
}

void conv_integer(RefContext& ctx) {
  const Tensor &x = ctx.in(0), &w = ctx.in(1);
  ConvPlan plan = plan_conv(ctx, x.dims(), w.dims());
  std::vector<double> result =
      convolve(plan, centered(ctx, x, optional_input(ctx, 2), 1), centered(ctx, w, optional_input(ctx, 3), 0));
  store_int32(ctx.make(0, DType::kInt32, plan.out), result);
}

void qlinear_conv(RefContext& ctx) {
  const Tensor &x = ctx.in(0), &w = ctx.in(3), &zero = ctx.in(7);
  ConvPlan plan = plan_conv(ctx, x.dims(), w.dims());
  std::vector<double> sums = convolve(plan, centered(ctx, x, &ctx.in(2), 1), centered(ctx, w, &ctx.in(5), 0));
  int64_t channels = plan.out[1], area = product(plan.out, 2, plan.out.size());
  const Tensor &x_scale = ctx.in(1), &w_scale = ctx.in(4), &y_scale = ctx.in(6), *bias = optional_input(ctx, 8);
  ctx.require(x_scale.size() == 1 && y_scale.size() == 1 && zero.size() == 1, "the scales of x and y must be scalars");
  ctx.require(w_scale.size() == 1 || w_scale.size() == channels, "{} scales are given for {} channels", w_scale.size(),
              channels);
  ctx.require(!bias || bias->size() == channels, "the bias has {} entries for {} channels", bias ? bias->size() : 0,
              channels);
  Tensor& out = ctx.make(0, zero.dtype(), plan.out);
  for (int64_t i = 0; i < out.size(); ++i) {
    int64_t c = i / area % channels;
    double sum = sums[static_cast<size_t>(i)] + (bias ? bias->at(c) : 0);
    float scale = static_cast<float>(x_scale.at(0)) * static_cast<float>(w_scale.at(w_scale.size() == 1 ? 0 : c)) /
                  static_cast<float>(y_scale.at(0));
    out.set_int(i, quantized(static_cast<double>(static_cast<float>(sum) * scale), zero.int_at(0), zero.dtype()));
  }
}

// Zero points of A are one a row, those of B one a column.
size_t row_axis(const Tensor& a) { return a.rank() >= 2 ? a.dims().size() - 2 : 0; }
size_t column_axis(const Tensor& b) { return b.rank() >= 1 ? b.dims().size() - 1 : 0; }

// Also takes zero points that are shaped to broadcast (with batch axes).
std::vector<double> centered_matrix(const RefContext& ctx, const Tensor& x, const Tensor* zero, size_t axis) {
  if (zero == nullptr || zero->rank() <= 1) return centered(ctx, x, zero, axis);
  std::vector<double> out = to_doubles(x);
  ctx.require(broadcast_dims(x.dims(), zero->dims(), ctx.node.op) == x.dims(), "zero points of shape {} do not fit {}",
              dims_text(zero->dims()), dims_text(x.dims()));
  size_t at = 0;
  walk<1>(x.dims(), {broadcast_strides(zero->dims(), x.dims())},
          [&](std::array<int64_t, 1> i) { out[at++] -= static_cast<double>(zero->int_at(i[0])); });
  return out;
}

void matmul_integer(RefContext& ctx) {
  const Tensor &a = ctx.in(0), &b = ctx.in(1);
  MatMulPlan plan = plan_matmul(ctx, a.dims(), b.dims());
  std::vector<double> result = multiply(plan, centered_matrix(ctx, a, optional_input(ctx, 2), row_axis(a)),
                                        centered_matrix(ctx, b, optional_input(ctx, 3), column_axis(b)));
  store_int32(ctx.make(0, DType::kInt32, plan.out), result);
}

// The scale at each element of the output: one for all, one a row or column, or shaped to broadcast.
struct OutputScale {
  const Tensor& scale;
  int64_t rows, columns;
  double of(int64_t i, bool by_row) const {
    if (scale.size() == 1) return scale.at(0);
    int64_t k = by_row ? i / columns % rows : i % columns;
    if (scale.size() > (by_row ? rows : columns)) k += i / (rows * columns) * (by_row ? rows : columns);
    return scale.at(k);
  }
};

void qlinear_matmul(RefContext& ctx) {
  const Tensor &a = ctx.in(0), &b = ctx.in(3), &zero = ctx.in(7);
  MatMulPlan plan = plan_matmul(ctx, a.dims(), b.dims());
  std::vector<double> sums = multiply(plan, centered_matrix(ctx, a, &ctx.in(2), row_axis(a)),
                                      centered_matrix(ctx, b, &ctx.in(5), column_axis(b)));
  OutputScale sa{ctx.in(1), plan.rows, plan.columns}, sb{ctx.in(4), plan.rows, plan.columns},
      sy{ctx.in(6), plan.rows, plan.columns};
  int64_t batches = element_count(plan.batch);
  ctx.require(sa.scale.size() == 1 || sa.scale.size() == plan.rows || sa.scale.size() == plan.rows * batches,
              "{} scales are given for {} rows", sa.scale.size(), plan.rows);
  ctx.require(sb.scale.size() == 1 || sb.scale.size() == plan.columns || sb.scale.size() == plan.columns * batches,
              "{} scales are given for {} columns", sb.scale.size(), plan.columns);
  ctx.require((sy.scale.size() == 1 || sy.scale.size() == plan.rows) && zero.size() == sy.scale.size(),
              "the output has {} scales and {} zero points", sy.scale.size(), zero.size());
  Tensor& out = make_output(ctx, 0, zero.dtype(), plan.out);
  for (int64_t i = 0; i < out.size(); ++i) {
    double value = sums[static_cast<size_t>(i)] * sa.of(i, true) * sb.of(i, false) / sy.of(i, true);
    int64_t z = zero.int_at(zero.size() == 1 ? 0 : i / plan.columns % plan.rows);
    out.set_int(i, quantized(value, z, zero.dtype()));
  }
}

const Strings kConvAttrs{"auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"};

}  // namespace

void define_integer_ops(OpTable& table) {
  table.add({.name = "ConvInteger",
             .doc = "The convolution of (x - x_zero_point) and (w - w_zero_point) in 32-bit integers.",
             .min_inputs = 2,
             .max_inputs = 4,
             .infer = infer_conv_integer,
             .reference = conv_integer,
             .attrs = kConvAttrs});
  table.add({.name = "QLinearConv",
             .doc = "A convolution of quantised numbers with a quantised result (x, w and y each with scale and zero).",
             .min_inputs = 8,
             .max_inputs = 9,
             .infer = infer_qlinear_conv,
             .reference = qlinear_conv,
             .attrs = kConvAttrs});
  table.add({.name = "MatMulInteger",
             .doc = "The product of (a - a_zero_point) and (b - b_zero_point) in 32-bit integers.",
             .min_inputs = 2,
             .max_inputs = 4,
             .infer = infer_matmul_integer,
             .reference = matmul_integer});
  table.add({.name = "QLinearMatMul",
             .doc = "A matrix product of quantised numbers with a quantised result.",
             .min_inputs = 8,
             .max_inputs = 8,
             .infer = infer_qlinear_matmul,
             .reference = qlinear_matmul});
}

}  // namespace tenon
