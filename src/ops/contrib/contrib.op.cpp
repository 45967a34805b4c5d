// Quantised and fused ops of com.microsoft that exporters and quantisers write.
#include <cmath>
#include <limits>

#include "ops/matmul_reference.hpp"
#include "ops/quantized.hpp"
#include "ops/window.hpp"

namespace tenon {
namespace {

// --- quantised elementwise -------------------------------------------------------------------------------------

// A quantised tensor at inputs i, its scale at i + 1 and its zero point at i + 2, as real numbers.
std::vector<double> dequantized(const RefContext& ctx, size_t i) {
  const Tensor& scale = ctx.in(i + 1);
  ctx.require(scale.size() == 1, "scale {} must be a scalar", i + 1);
  double zero = ctx.has(i + 2) ? static_cast<double>(ctx.in(i + 2).int_at(0)) : 0;
  std::vector<double> out = to_doubles(ctx.in(i));
  for (double& v : out) v = (v - zero) * scale.at(0);
  return out;
}

// Stores real numbers quantised by the scale at input i and the zero point at i + 1.
void store_quantized(const RefContext& ctx, Tensor& out, const std::vector<double>& values, size_t i) {
  const Tensor& scale = ctx.in(i);
  ctx.require(scale.size() == 1, "scale {} must be a scalar", i);
  int64_t zero = ctx.has(i + 1) ? ctx.in(i + 1).int_at(0) : 0;
  double s = scale.at(0);
  for (size_t k = 0; k < values.size(); ++k) {
    auto scaled = static_cast<double>(static_cast<float>(values[k]) / static_cast<float>(s));
    out.set_int(static_cast<int64_t>(k), quantized(scaled, zero, out.dtype()));
  }
}

void infer_binary(InferContext& ctx) {
  if (!ctx.shape(0) || !ctx.shape(3)) return ctx.output(0, ctx.dtype(0));
  auto out = broadcast_shapes(*ctx.shape(0), *ctx.shape(3));
  ctx.require(out.has_value(), "shapes {} and {} do not broadcast", shape_text(*ctx.shape(0)),
              shape_text(*ctx.shape(3)));
  ctx.output(0, ctx.dtype(0), out);
}

template <bool kAdd>
void binary(RefContext& ctx) {
  const Tensor &a = ctx.in(0), &b = ctx.in(3);
  Dims dims = broadcast_dims(a.dims(), b.dims(), ctx.node.op);
  std::vector<double> x = dequantized(ctx, 0), y = dequantized(ctx, 3), result;
  walk<2>(dims, {broadcast_strides(a.dims(), dims), broadcast_strides(b.dims(), dims)},
          [&](const std::array<int64_t, 2>& i) {
            double p = x[static_cast<size_t>(i[0])], q = y[static_cast<size_t>(i[1])];
            result.push_back(kAdd ? p + q : p * q);
          });
  store_quantized(ctx, make_output(ctx, 0, a.dtype(), dims), result, 6);
}

template <class F>
void unary(RefContext& ctx, F&& f) {
  std::vector<double> x = dequantized(ctx, 0);
  for (double& v : x) v = f(v);
  store_quantized(ctx, ctx.make(0, ctx.in(0).dtype(), ctx.in(0).dims()), x, 3);
}

void qlinear_sigmoid(RefContext& ctx) {
  unary(ctx, [](double x) { return 1 / (1 + std::exp(-x)); });
}

void qlinear_leaky_relu(RefContext& ctx) {
  double alpha = ctx.attrs().number("alpha", 0.01);
  unary(ctx, [alpha](double x) { return x < 0 ? alpha * x : x; });
}

// --- QLinearConcat: y_scale, y_zero_point, then (tensor, scale, zero point) for each input -------------------------

void infer_qlinear_concat(InferContext& ctx) {
  ctx.require(ctx.input_count() >= 5 && ctx.input_count() % 3 == 2, "{} inputs are given where 2 + 3 n are needed",
              ctx.input_count());
  std::optional<Shape> out;
  Dim total(0);
  for (size_t i = 2; i < ctx.input_count(); i += 3) {
    if (!ctx.shape(i)) return ctx.output(0, ctx.dtype(1));
    auto axis = static_cast<size_t>(ctx.axis(ctx.attrs().integer("axis", 0), ctx.rank(i)));
    ctx.require(!out || out->size() == ctx.shape(i)->size(), "inputs of different ranks cannot be joined");
    if (!out) out = ctx.shape(i);
    total = total + (*ctx.shape(i))[axis];
    (*out)[axis] = total;
  }
  ctx.output(0, ctx.dtype(1), out);
}

void qlinear_concat(RefContext& ctx) {
  ctx.require(ctx.inputs.size() >= 5 && ctx.inputs.size() % 3 == 2, "{} inputs are given where 2 + 3 n are needed",
              ctx.inputs.size());
  Dims dims = ctx.in(2).dims();
  auto axis = static_cast<size_t>(ctx.axis(ctx.attrs().integer("axis", 0), ctx.in(2).rank()));
  dims[axis] = 0;
  for (size_t i = 2; i < ctx.inputs.size(); i += 3) {
    Dims d = ctx.in(i).dims();
    ctx.require(d.size() == dims.size(), "inputs of different ranks cannot be joined");
    dims[axis] += d[axis];
    d[axis] = dims[axis];
    ctx.require(d == dims, "shapes {} and {} cannot be joined along axis {}", dims_text(ctx.in(2).dims()),
                dims_text(ctx.in(i).dims()), axis);
  }
  check_output_size(ctx, dims);
  int64_t outer = product(dims, 0, axis), stride = product(dims, axis, dims.size()), at = 0;
  std::vector<double> result(static_cast<size_t>(outer * stride));
  for (size_t i = 2; i < ctx.inputs.size(); i += 3) {
    std::vector<double> x = dequantized(ctx, i);
    int64_t run = product(ctx.in(i).dims(), axis, dims.size());
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t k = 0; k < run; ++k) {
        result[static_cast<size_t>(o * stride + at + k)] = x[static_cast<size_t>(o * run + k)];
      }
    }
    at += run;
  }
  store_quantized(ctx, ctx.make(0, ctx.in(1).dtype(), dims), result, 0);
}

// --- quantised pools -------------------------------------------------------------------------------------------

template <class Context>
void first_channels_only(const Context& ctx) {
  ctx.require(ctx.attrs().integer("channels_last", 0) == 0, "channels_last is not supported, channels must be axis 1");
}

void infer_global_pool(InferContext& ctx) {
  first_channels_only(ctx);
  if (!ctx.shape(0)) return ctx.output(0, ctx.dtype(0));
  Shape out = *ctx.shape(0);
  for (size_t i = 2; i < out.size(); ++i) out[i] = 1;
  ctx.output(0, ctx.dtype(0), out);
}

void global_average_pool(RefContext& ctx) {
  first_channels_only(ctx);
  Dims dims = ctx.in(0).dims();
  ctx.require(dims.size() >= 2, "the input must have a batch and channels");
  int64_t area = product(dims, 2, dims.size());
  for (size_t i = 2; i < dims.size(); ++i) dims[i] = 1;
  std::vector<double> x = dequantized(ctx, 0), result(static_cast<size_t>(element_count(dims)), 0.0);
  for (size_t i = 0; i < x.size(); ++i) result[i / static_cast<size_t>(area)] += x[i] / static_cast<double>(area);
  store_quantized(ctx, ctx.make(0, ctx.in(0).dtype(), dims), result, 3);
}

void infer_average_pool(InferContext& ctx) {
  first_channels_only(ctx);
  if (!ctx.shape(0)) return ctx.output(0, ctx.dtype(0));
  Ints kernel = ctx.attrs().ints("kernel_shape");
  Shape out = *ctx.shape(0);
  ctx.require(!kernel.empty() && kernel.size() + 2 == out.size(), "kernel_shape has {} entries for {} axes",
              kernel.size(), out.size());
  Window w = read_window(ctx, kernel);
  for (size_t i = 0; i < kernel.size(); ++i) out[i + 2] = window_output(ctx, w, i, out[i + 2]);
  ctx.output(0, ctx.dtype(0), out);
}

// The plain op on the real numbers, then quantised: one meaning of windows.
void average_pool(RefContext& ctx) {
  first_channels_only(ctx);
  Tensor real = Tensor::allocate(DType::kFloat64, ctx.in(0).dims());
  store_doubles(real, dequantized(ctx, 0));
  Node plain = ctx.node;
  plain.op = "AveragePool";
  plain.attrs.erase("channels_last");
  Datum input(real);
  const Datum* inputs[] = {&input};
  std::vector<Datum> outputs(1);
  RefContext inner{plain, ctx.ops, inputs, outputs};
  ctx.ops.at("AveragePool").reference(inner);
  const Tensor& result = outputs[0].tensor;
  store_quantized(ctx, ctx.make(0, ctx.in(0).dtype(), result.dims()), to_doubles(result), 3);
}

// --- QGemm: a, a_scale, a_zero, b, b_scale, b_zero, c, y_scale, y_zero --------------------------------------------

void infer_qgemm(InferContext& ctx) {
  bool ta = ctx.attrs().integer("transA", 0) != 0, tb = ctx.attrs().integer("transB", 0) != 0;
  DType to = ctx.has(8) ? ctx.dtype(8) : DType::kFloat32;
  if (ctx.rank(0) != 2 || ctx.rank(3) != 2) return ctx.output(0, to, unknown_shape(ctx, 0, 2));
  ctx.output(0, to, Shape{(*ctx.shape(0))[ta ? 1 : 0], (*ctx.shape(3))[tb ? 0 : 1]});
}

void qgemm(RefContext& ctx) {
  const Tensor &a = ctx.in(0), &b = ctx.in(3);
  bool ta = ctx.attrs().integer("transA", 0) != 0, tb = ctx.attrs().integer("transB", 0) != 0;
  double alpha = ctx.attrs().number("alpha", 1);
  ctx.require(a.rank() == 2 && b.rank() == 2, "the inputs must be matrices");
  int64_t rows = a.dims()[ta ? 1 : 0], inner = a.dims()[ta ? 0 : 1], columns = b.dims()[tb ? 0 : 1];
  ctx.require(b.dims()[tb ? 1 : 0] == inner, "the inner extents of {} and {} differ", dims_text(a.dims()),
              dims_text(b.dims()));
  const Tensor &sa = ctx.in(1), &sb = ctx.in(4), &za = ctx.in(2), &zb = ctx.in(5);
  ctx.require(sa.size() == 1 && za.size() == 1 && (sb.size() == 1 || sb.size() == columns) && zb.size() == sb.size(),
              "the scales do not fit {} columns", columns);
  std::vector<double> result(static_cast<size_t>(rows * columns), 0.0);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      int64_t sum = 0, z = zb.int_at(zb.size() == 1 ? 0 : c);
      for (int64_t k = 0; k < inner; ++k) {
        sum += (a.int_at(ta ? k * rows + r : r * inner + k) - za.int_at(0)) *
               (b.int_at(tb ? c * inner + k : k * columns + c) - z);
      }
      auto i = static_cast<size_t>(r * columns + c);
      if (ctx.has(6)) {
        const Tensor& bias = ctx.in(6);
        Ints strides = broadcast_strides(bias.dims(), {rows, columns});
        sum += bias.int_at(r * strides[0] + c * strides[1]);
      }
      result[i] = static_cast<double>(sum) * alpha * sa.at(0) * sb.at(sb.size() == 1 ? 0 : c);
    }
  }
  if (ctx.has(7)) return store_quantized(ctx, make_output(ctx, 0, ctx.in(8).dtype(), {rows, columns}), result, 7);
  store_doubles(make_output(ctx, 0, DType::kFloat32, {rows, columns}), result);
}

// --- GELU in other spellings -----------------------------------------------------------------------------------

double gelu(double x) { return 0.5 * x * (1 + std::erf(x * 0.70710678118654752)); }
double fast_gelu(double x) { return 0.5 * x * (1 + std::tanh(0.79788456080286536 * x * (1 + 0.044715 * x * x))); }

template <double (*kF)(double)>
void biased_gelu(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  std::vector<double> values = to_doubles(x);
  if (ctx.has(1)) {
    const Tensor& bias = ctx.in(1);
    ctx.require(x.rank() >= 1 && bias.size() == x.dims().back(), "a bias of {} does not fit shape {}", bias.size(),
                dims_text(x.dims()));
    for (size_t i = 0; i < values.size(); ++i) values[i] += bias.at(static_cast<int64_t>(i) % bias.size());
  }
  for (double& v : values) v = kF(v);
  store_doubles(ctx.make(0, x.dtype(), x.dims()), values);
}

// --- composites: a body says it all (graph/body.hpp) ------------------------------------------------------------

// Sum and normalise; the sum is output 3, the statistics are for training.
constexpr std::string_view kSkipLayerNorm = R"(
(x, skip, scale) => (y) { s = Add(x, skip)  y = LayerNormalization<epsilon=$epsilon>(s, scale) }
or
(x, skip, scale, shift) => (y) { s = Add(x, skip)  y = LayerNormalization<epsilon=$epsilon>(s, scale, shift) }
or
(x, skip, scale, shift, bias) => (y) {
  b = Add(x, bias)  s = Add(b, skip)  y = LayerNormalization<epsilon=$epsilon>(s, scale, shift)
}
)";
constexpr std::string_view kSkipRmsNorm = R"(
(x, skip, scale) => (y) { s = Add(x, skip)  y = RMSNormalization<epsilon=$epsilon>(s, scale) }
or
(x, skip, scale, bias) => (y) { b = Add(x, bias)  s = Add(b, skip)  y = RMSNormalization<epsilon=$epsilon>(s, scale) }
)";
constexpr std::string_view kQuickGelu = R"(
(x) => (y) { a = Attr<value=$alpha, otherwise=1.702>()  m = Mul(x, a)  s = Sigmoid(m)  y = Mul(x, s) }
)";
constexpr std::string_view kMultiHead = R"(
(undefined[B,S,I] q, undefined[B,T,I] k, undefined[B,T,K] v) => (y) {
  y = Attention<q_num_heads=$num_heads, kv_num_heads=$num_heads, scale=$scale, is_causal=$unidirectional>(q, k, v)
}
)";

}  // namespace

void define_contrib_ops(OpTable& table) {
  auto add = [&](const char* name, std::string_view doc, int least, int most, auto infer, auto reference,
                 Strings attrs) {
    table.add({.name = std::string("com.microsoft.") + name,
               .doc = doc,
               .min_inputs = least,
               .max_inputs = most,
               .infer = infer,
               .reference = reference,
               .attrs = std::move(attrs)});
  };
  add("QLinearAdd", "The sum of two quantised tensors, quantised.", 7, 8, infer_binary, binary<true>, {});
  add("QLinearMul", "The product of two quantised tensors, quantised.", 7, 8, infer_binary, binary<false>, {});
  add("QLinearSigmoid", "The sigmoid of a quantised tensor, quantised.", 4, 5, infer_same, qlinear_sigmoid, {});
  add("QLinearLeakyRelu", "LeakyRelu of a quantised tensor, quantised.", 4, 5, infer_same, qlinear_leaky_relu,
      {"alpha"});
  add("QLinearConcat", "Quantised tensors brought to one scale and joined.", 5, -1, infer_qlinear_concat,
      qlinear_concat, {"axis"});
  add("QLinearGlobalAveragePool", "The mean of each channel of a quantised tensor, quantised.", 4, 5, infer_global_pool,
      global_average_pool, {"channels_last"});
  add("QLinearAveragePool", "AveragePool of a quantised tensor, quantised.", 4, 5, infer_average_pool, average_pool,
      {"auto_pad", "ceil_mode", "channels_last", "count_include_pad", "dilations", "kernel_shape", "pads", "strides"});
  add("QGemm", "Gemm of quantised matrices, quantised if an output scale is given.", 6, 9, infer_qgemm, qgemm,
      {"alpha", "transA", "transB"});
  add("Gelu", "x * Phi(x).", 1, 1, infer_same, biased_gelu<gelu>, {});
  add("BiasGelu", "Gelu(x + bias).", 2, 2, infer_same, biased_gelu<gelu>, {});
  add("FastGelu", "The tanh form of Gelu(x + bias).", 1, 2, infer_same, biased_gelu<fast_gelu>, {});
  auto compose = [&](const char* name, std::string_view doc, int least, int most, std::string_view body,
                     Strings attrs) {
    table.add({.name = std::string("com.microsoft.") + name,
               .doc = doc,
               .min_inputs = least,
               .max_inputs = most,
               .infer = infer_same,
               .body = body,
               .attrs = std::move(attrs)});
  };
  compose("SkipLayerNormalization", "LayerNormalization(x + skip).", 3, 5, kSkipLayerNorm, {"epsilon"});
  compose("SkipSimplifiedLayerNormalization", "RMSNormalization(x + skip).", 3, 4, kSkipRmsNorm, {"epsilon"});
  compose("QuickGelu", "x * Sigmoid(alpha * x).", 1, 1, kQuickGelu, {"alpha"});
  compose("MultiHeadAttention", "Attention of (batch, length, heads * size) without masks or caches.", 3, 3, kMultiHead,
          {"num_heads", "scale", "unidirectional"});
}

}  // namespace tenon
