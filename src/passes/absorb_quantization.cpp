// A convolution or matrix product between DequantizeLinear of 8-bit data and of 8-bit weights is the integer product,
// scaled: Conv(DQ(x), DQ(w)) + b = ConvInteger(x, w) * (x_scale * w_scale) + b. What follows (activation, quantisation
// of the result) then joins its epilogue.
#include <algorithm>

#include "passes/pass.hpp"

namespace tenon {
namespace {

struct Dequantized {
  ValueId data, zero;
  Tensor scale;
};

bool is_byte(DType t) { return t == DType::kInt8 || t == DType::kUInt8; }

std::optional<Dequantized> dequantized(const Graph& g, ValueId v) {
  const Node* n = g.producer(v);
  if (n == nullptr || n->op != "DequantizeLinear" || n->attrs.integer("block_size", 0) != 0) return std::nullopt;
  const Value &data = g.value(n->inputs[0]), &scale = g.value(n->inputs[1]);
  if (!data.type.is_tensor() || !is_byte(data.type.dtype) || !scale.is_constant()) return std::nullopt;
  if (scale.constant.dtype() != DType::kFloat32) return std::nullopt;
  if (n->has(2) && !g.value(n->inputs[2]).is_constant()) return std::nullopt;
  return Dequantized{n->inputs[0], n->has(2) ? n->inputs[2] : kNone, scale.constant};
}

// Scales of the weights: one, or one for each output channel along the axis where the channels are.
bool scales_fit(const Graph& g, ValueId weights, const Dequantized& w, int64_t channels, int64_t channel_axis) {
  if (w.scale.size() == 1) return true;
  const Node& n = *g.producer(weights);
  int64_t axis = n.attrs.integer("axis", 1);
  if (axis < 0) axis += g.value(weights).type.rank();
  return w.scale.size() == channels && axis == channel_axis;
}

bool small_bias(const Graph& g, const Node& n, int64_t channels) {
  if (!n.has(2)) return true;
  const Value& b = g.value(n.inputs[2]);
  return b.is_constant() && b.constant.dtype() == DType::kFloat32 && b.constant.size() == channels;
}

bool absorb(Graph& g, NodeId id) {
  const Node& n = g.node(id);
  bool conv = n.op == "Conv";
  if ((!conv && n.op != "MatMul") || n.attrs.has("epilogue") || g.use_count(n.outputs[0]) == 0) return false;
  auto x = dequantized(g, n.inputs[0]), w = dequantized(g, n.inputs[1]);
  if (!x || !w || x->scale.size() != 1 || !g.value(w->data).is_constant()) return false;
  const Dims& wd = g.value(w->data).constant.dims();
  int rank = g.value(n.outputs[0]).type.rank();
  if (rank < 2 || (conv ? wd.size() < 3 : wd.size() != 2)) return false;
  int64_t channels = conv ? wd[0] : wd[1];
  if (!scales_fit(g, n.inputs[1], *w, channels, conv ? 0 : 1) || !small_bias(g, n, channels)) return false;
  // Scale and bias broadcast along the channel axis: [C,1,1] behind a convolution, [C] behind a product.
  Dims shape{channels};
  for (int i = 2; conv && i < rank; ++i) shape.push_back(1);
  Tensor scale = Tensor::uninitialized(DType::kFloat32, w->scale.size() == 1 ? Dims{} : shape);
  for (int64_t c = 0; c < scale.size(); ++c) {
    scale.mutable_data<float>()[c] = static_cast<float>(x->scale.at(0) * w->scale.at(w->scale.size() == 1 ? 0 : c));
  }
  std::optional<Tensor> bias;
  if (n.has(2)) bias = g.value(n.inputs[2]).constant.reshaped(shape);
  std::vector<ValueId> inputs{x->data, w->data, x->zero, w->zero};
  Attrs attrs = n.attrs, to_float;
  to_float.set("to", static_cast<int64_t>(DType::kFloat32));
  ValueId old = n.outputs[0];
  ValueId v = g.add(conv ? "ConvInteger" : "MatMulInteger", std::move(inputs), std::move(attrs), id);
  v = g.add("Cast", {v}, std::move(to_float), id);
  v = g.add("Mul", {v, g.add_constant(std::move(scale))}, {}, id);
  if (bias) v = g.add("Add", {v, g.add_constant(std::move(*bias))}, {}, id);
  g.replace_uses(old, v);
  return true;
}

}  // namespace

bool absorb_quantization(Graph& g, PassContext&) {
  bool changed = false;
  for (NodeId id : g.order()) changed |= absorb(g, id);
  return changed;
}

bool fold_dequantized(Graph& g, PassContext& context) {
  if (context.fold_dequantized) return false;
  context.fold_dequantized = true;
  for (NodeId id : g.order()) {
    if (g.node(id).op == "DequantizeLinear") return true;
  }
  return false;
}

}  // namespace tenon
