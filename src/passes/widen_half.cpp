#include "passes/widen_half.hpp"

namespace tenon {
namespace {

bool is_half(DType t) { return t == DType::kFloat16 || t == DType::kBFloat16; }

Tensor widened(const Tensor& t) {
  Tensor out = Tensor::uninitialized(DType::kFloat32, t.dims());
  auto* f = out.mutable_data<float>();
  for (int64_t i = 0; i < t.size(); ++i) f[i] = static_cast<float>(t.at(i));
  return out;
}

Attrs cast_to(DType t) {
  Attrs a;
  a.set("to", static_cast<int64_t>(t));
  return a;
}

void widen_attributes(Node& n) {
  for (const char* key : {"to", "dtype", "output_dtype"}) {
    if (n.op == "QuantizeLinear" || n.op == "DequantizeLinear") continue;
    if (n.attrs.has(key) && is_half(static_cast<DType>(n.attrs.integer(key, 0)))) {
      n.attrs.set(key, static_cast<int64_t>(DType::kFloat32));
    }
  }
  if (const Tensor* value = n.op == "ConstantOfShape" ? n.attrs.tensor("value") : nullptr) {
    if (is_half(value->dtype())) n.attrs.set("value", widened(*value));
  }
}

bool widen(Graph& g, bool outermost) {
  bool changed = false;
  for (ValueId v : std::vector<ValueId>(g.inputs)) {
    if (!g.value(v).type.is_tensor() || !is_half(g.value(v).type.dtype)) continue;
    changed = true;
    if (!outermost) {
      g.value(v).type.dtype = DType::kFloat32;
      continue;
    }
    std::vector<Use> uses = g.value(v).uses;
    ValueId wide = g.add("Cast", {v}, cast_to(DType::kFloat32));
    g.node(g.value(wide).producer).rank = -1;
    for (const Use& u : uses) g.set_input(u.node, static_cast<size_t>(u.index), wide);
  }
  int values = g.value_count();
  for (int v = 0; v < values; ++v) {
    Value& value = g.value(v);
    if (value.is_constant() && is_half(value.constant.dtype())) {
      value.constant = widened(value.constant);
      value.type = Type::tensor(value.constant);
      changed = true;
    }
  }
  std::vector<DType> outputs;
  for (ValueId v : g.outputs)
    outputs.push_back(g.value(v).type.is_tensor() ? g.value(v).type.dtype : DType::kUndefined);
  for (NodeId id : g.order()) {
    Node& n = g.node(id);
    bool own_cast = n.op == "Cast" && n.rank == -1;
    if (!own_cast) widen_attributes(n);
    for (const auto& [name, attr] : n.attrs.items()) {
      if (const auto* sub = std::get_if<GraphPtr>(&attr); sub != nullptr && *sub) changed |= widen(**sub, false);
    }
    for (ValueId v : n.outputs) {
      if (v == kNone) continue;
      Type& t = g.value(v).type;
      if (t.is_tensor() && is_half(t.dtype)) changed = true;
      t = {};
    }
  }
  if (!outermost) return changed;
  for (size_t i = 0; i < g.outputs.size(); ++i) {
    if (!is_half(outputs[i]) || g.producer(g.outputs[i]) == nullptr) continue;
    ValueId from = g.outputs[i], narrow = g.add("Cast", {from}, cast_to(outputs[i]));
    g.node(g.value(narrow).producer).rank = INT32_MAX;
    std::swap(g.value(from).name, g.value(narrow).name);
    g.outputs.set(i, narrow);
  }
  return changed;
}

}  // namespace

bool widen_half(Graph& graph, const OpTable& ops) {
  bool changed = widen(graph, true);
  infer_types(graph, ops);
  return changed;
}

}  // namespace tenon
