// com.microsoft's element-wise 8-bit ops are dequantise, compute, quantise: written out, fusion makes one walk of each
// and joins them to the integer products around.
#include <algorithm>

#include "passes/pass.hpp"

namespace tenon {
namespace {

bool scalar(const Graph& g, const Node& n, size_t i) {
  return n.has(i) && g.value(n.inputs[i]).is_constant() && g.value(n.inputs[i]).constant.size() == 1;
}

// Zero points left out are 0 of the type of the data.
ValueId zero_point(Graph& g, const Node& n, size_t i, DType dtype) {
  return n.has(i) ? n.inputs[i] : g.add_constant(Tensor::allocate(dtype, {}));
}

ValueId dequantized(Graph& g, NodeId at, size_t x, size_t scale, size_t zero) {
  const Node& n = g.node(at);
  ValueId data = n.inputs[x], s = n.inputs[scale], z = zero_point(g, n, zero, g.value(data).type.dtype);
  return g.add("DequantizeLinear", {data, s, z}, {}, at);
}

void finish(Graph& g, NodeId at, ValueId real, size_t scale, size_t zero) {
  const Node& n = g.node(at);
  DType dtype = g.value(n.outputs[0]).type.dtype;
  ValueId s = n.inputs[scale], z = zero_point(g, n, zero, dtype), old = n.outputs[0];
  g.replace_uses(old, g.add("QuantizeLinear", {real, s, z}, {}, at));
}

bool all_scalars(const Graph& g, const Node& n, std::initializer_list<size_t> scales,
                 std::initializer_list<size_t> zeros) {
  return std::all_of(scales.begin(), scales.end(), [&](size_t i) { return scalar(g, n, i); }) &&
         std::all_of(zeros.begin(), zeros.end(), [&](size_t i) { return !n.has(i) || scalar(g, n, i); });
}

bool expand_binary(Graph& g, NodeId id, const char* op) {
  if (!all_scalars(g, g.node(id), {1, 4, 6}, {2, 5, 7})) return false;
  ValueId a = dequantized(g, id, 0, 1, 2), b = dequantized(g, id, 3, 4, 5);
  finish(g, id, g.add(op, {a, b}, {}, id), 6, 7);
  return true;
}

bool expand_unary(Graph& g, NodeId id, const char* op) {
  if (!all_scalars(g, g.node(id), {1, 3}, {2, 4})) return false;
  Attrs attrs;
  if (const Attr* alpha = g.node(id).attrs.find("alpha")) attrs.set("alpha", *alpha);
  ValueId x = dequantized(g, id, 0, 1, 2);
  finish(g, id, g.add(op, {x}, std::move(attrs), id), 3, 4);
  return true;
}

bool expand_concat(Graph& g, NodeId id) {
  size_t count = g.node(id).inputs.size();
  if (count < 5 || (count - 2) % 3 != 0 || !scalar(g, g.node(id), 0) || !scalar(g, g.node(id), 1)) return false;
  for (size_t i = 2; i < count; i += 3) {
    if (!scalar(g, g.node(id), i + 1) || !scalar(g, g.node(id), i + 2)) return false;
  }
  std::vector<ValueId> parts;
  for (size_t i = 2; i < count; i += 3) {
    ValueId y_scale = g.node(id).inputs[0], y_zero = g.node(id).inputs[1];
    bool alike = identical(g.value(g.node(id).inputs[i + 1]).constant, g.value(y_scale).constant) &&
                 identical(g.value(g.node(id).inputs[i + 2]).constant, g.value(y_zero).constant);
    if (alike) {
      parts.push_back(g.node(id).inputs[i]);
      continue;
    }
    ValueId real = dequantized(g, id, i, i + 1, i + 2);
    parts.push_back(g.add("QuantizeLinear", {real, y_scale, y_zero}, {}, id));
  }
  Attrs attrs;
  attrs.set("axis", g.node(id).attrs.integer("axis", 1));
  ValueId old = g.node(id).outputs[0];
  g.replace_uses(old, g.add("Concat", std::move(parts), std::move(attrs), id));
  return true;
}

bool expand(Graph& g, NodeId id) {
  std::string op = g.node(id).op;
  constexpr std::string_view kDomain = "com.microsoft.QLinear";
  if (!op.starts_with(kDomain)) return false;
  op = op.substr(kDomain.size());
  if (op == "Add") return expand_binary(g, id, "Add");
  if (op == "Mul") return expand_binary(g, id, "Mul");
  if (op == "Sigmoid") return expand_unary(g, id, "Sigmoid");
  if (op == "LeakyRelu") return expand_unary(g, id, "LeakyRelu");
  return op == "Concat" && expand_concat(g, id);
}

}  // namespace

bool expand_qlinear(Graph& g, PassContext&) {
  bool changed = false;
  for (NodeId id : g.order()) {
    if (g.use_count(g.node(id).outputs.empty() ? kNone : g.node(id).outputs[0]) > 0) changed |= expand(g, id);
  }
  return changed;
}

}  // namespace tenon
