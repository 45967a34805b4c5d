// FlexAttention: attention whose scores and probabilities pass through graphs that the model brings along.
#include <algorithm>
#include <cmath>

#include "graph/interpret.hpp"
#include "ops/support.hpp"

namespace tenon {
namespace {

template <class Context>
DType precision_of(const Context& ctx, DType type) {
  return dtype_attribute(
      [&]() -> const Node& {
        if constexpr (std::is_same_v<Context, RefContext>) {
          return ctx.node;
        } else {
          return ctx.node();
        }
      }(),
      "softmax_precision", type == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32);
}

void infer(InferContext& ctx) {
  DType type = ctx.dtype(0);
  if (ctx.rank(0) < 0 || ctx.rank(1) < 0 || ctx.rank(2) < 0) return ctx.output(0, type);
  ctx.require(ctx.rank(0) == 4 && ctx.rank(1) == 4 && ctx.rank(2) == 4, "Q, K and V must have 4 axes");
  const Shape &q = *ctx.shape(0), &k = *ctx.shape(1), &v = *ctx.shape(2);
  ctx.output(0, type, Shape{q[0], q[1], q[2], v[3]});
  for (const char* name : {"score_mod", "prob_mod"}) {
    GraphPtr body = ctx.attrs().graph(name);
    if (body == nullptr) continue;
    ctx.require(body->inputs.size() + 2 == ctx.input_count() && body->outputs.size() == 1,
                "attribute {} must be a graph of one input and one output", name);
    std::vector<Type> types{Type::tensor(precision_of(ctx, type), Shape{q[0], q[1], q[2], k[2]})};
    for (size_t i = 3; i < ctx.input_count(); ++i) types.push_back(ctx.type(i));
    infer_body(*body, types, ctx.ops());
  }
}

// The tensor after the graph in attribute `name`, if there is one; captured values follow V among the inputs.
Tensor modified(const RefContext& ctx, const char* name, const Tensor& x) {
  GraphPtr body = ctx.attrs().graph(name);
  if (body == nullptr) return x;
  std::vector<Datum> inputs{Datum(x)};
  for (size_t i = 3; i < ctx.inputs.size(); ++i) {
    ctx.require(ctx.has(i), "input {} is missing", i);
    inputs.push_back(*ctx.inputs[i]);
  }
  ctx.require(body->inputs.size() == inputs.size(), "attribute {} must be a graph of one input", name);
  std::vector<Datum> out = interpret(*body, ctx.ops, inputs);
  ctx.require(out.size() == 1 && out[0].is_tensor() && out[0].tensor.dims() == x.dims(),
              "attribute {} must keep the shape {}", name, dims_text(x.dims()));
  return out[0].tensor;
}

void flex_attention(RefContext& ctx) {
  const Tensor &q = ctx.in(0), &k = ctx.in(1), &v = ctx.in(2);
  const Dims &dq = q.dims(), &dk = k.dims(), &dv = v.dims();
  bool fits = dq.size() == 4 && dk.size() == 4 && dv.size() == 4 && dq[0] == dk[0] && dq[0] == dv[0] &&
              dk[1] == dv[1] && dk[1] > 0 && dq[1] % dk[1] == 0 && dk[2] == dv[2] && dq[3] == dk[3];
  ctx.require(fits, "queries {}, keys {} and values {} do not fit", dims_text(dq), dims_text(dk), dims_text(dv));
  int64_t heads = dq[1], group = heads / dk[1], length = dq[2], keys = dk[2], size = dq[3], width = dv[3];
  double scale = ctx.attrs().number("scale", 1 / std::sqrt(static_cast<double>(size)));
  Dims dims{dq[0], heads, length, keys};
  check_output_size(ctx, dims);
  Tensor scores = Tensor::allocate(precision_of(ctx, q.dtype()), dims);
  std::vector<double> a = to_doubles(q), b = to_doubles(k), c = to_doubles(v);
  for (int64_t i = 0; i < scores.size(); ++i) {
    int64_t row = i / keys, plane = row / length / heads * dk[1] + row / length % heads / group;
    double sum = 0;
    const double *x = a.data() + row * size, *y = b.data() + (plane * keys + i % keys) * size;
    for (int64_t d = 0; d < size; ++d) sum += x[d] * y[d];
    scores.set(i, sum * scale);
  }
  Tensor probs = modified(ctx, "score_mod", scores).clone();
  for (int64_t row = 0; keys > 0 && row < probs.size(); row += keys) {
    double top = -INFINITY, sum = 0;
    for (int64_t j = 0; j < keys; ++j) top = std::max(top, probs.at(row + j));
    for (int64_t j = 0; j < keys; ++j) sum += std::exp(probs.at(row + j) - top);
    for (int64_t j = 0; j < keys; ++j) probs.set(row + j, std::exp(probs.at(row + j) - top) / sum);
  }
  std::vector<double> p = to_doubles(modified(ctx, "prob_mod", probs));
  Tensor& out = make_output(ctx, 0, q.dtype(), {dq[0], heads, length, width});
  for (int64_t i = 0; i < out.size(); ++i) {
    int64_t row = i / width, plane = row / length / heads * dk[1] + row / length % heads / group;
    double sum = 0;
    for (int64_t j = 0; j < keys; ++j)
      sum += p[static_cast<size_t>(row * keys + j)] * c[static_cast<size_t>((plane * keys + j) * width + i % width)];
    out.set(i, sum);
  }
}

}  // namespace

void define_flex_attention_ops(OpTable& table) {
  table.add({.name = "ai.onnx.preview.FlexAttention",
             .doc = "softmax(f(Q K' * scale)) V, where graphs in the attributes change scores and probabilities.",
             .min_inputs = 3,
             .max_inputs = 3,
             .infer = infer,
             .reference = flex_attention,
             .attrs = {"captures", "prob_mod", "scale", "score_mod", "softmax_precision"}});
}

}  // namespace tenon
