#include "passes/region.hpp"

#include <algorithm>
#include <map>

#include "base/error.hpp"
#include "ops/elementwise_call.hpp"

namespace tenon {
namespace {

bool is_scalar_constant(const Value& v) {
  return v.is_constant() && v.constant.size() == 1 && v.constant.dtype() != DType::kString;
}

bool computes_in(DType t) {
  return t == DType::kFloat32 || t == DType::kFloat16 || t == DType::kBFloat16 || t == DType::kBool;
}

// Integers that a float holds exactly, or that Cast rounds to float anyway.
bool converts(DType t) {
  return computes_in(t) || t == DType::kInt8 || t == DType::kUInt8 || t == DType::kInt16 || t == DType::kUInt16 ||
         t == DType::kInt32;
}

DType dtype_of_value(const Graph& g, ValueId v) {
  return g.value(v).type.is_tensor() ? g.value(v).type.dtype : DType::kUndefined;
}

// Copies the nodes of `from` into `to`; `map` knows the inputs and learns the rest.
void append(Graph& to, const Graph& from, std::map<ValueId, ValueId>& map, NodeId rank_of = kNone) {
  auto moved = [&](ValueId v) {
    if (v == kNone) return kNone;
    auto at = map.find(v);
    if (at != map.end()) return at->second;
    TENON_CHECK(from.value(v).is_constant());
    return map[v] = to.add_constant(from.value(v).constant);
  };
  for (NodeId id : from.order()) {
    const Node& n = from.node(id);
    std::vector<ValueId> inputs;
    for (ValueId v : n.inputs) inputs.push_back(moved(v));
    NodeId copy = to.add_node(n.op, std::move(inputs), std::vector<std::string>(n.outputs.size()), n.attrs, n.name);
    if (rank_of != kNone) {
      to.node(copy).rank = to.node(rank_of).rank;
      to.node(copy).name = to.node(rank_of).name;
    }
    for (size_t i = 0; i < n.outputs.size(); ++i) {
      if (n.outputs[i] == kNone) continue;
      map[n.outputs[i]] = to.node(copy).outputs[i];
      to.value(to.node(copy).outputs[i]).type = from.value(n.outputs[i]).type;
    }
  }
}

}  // namespace

bool is_pointwise(const Graph& g, const Node& n, const OpTable& ops) {
  if (n.op == "tenon.Pointwise") return n.outputs.size() == 1;
  if (n.attrs.has("epilogue") || n.outputs.size() != 1 || n.inputs.empty()) return false;
  DType out = dtype_of_value(g, n.outputs[0]);
  if (n.op == "Cast") {
    return converts(dtype_of_value(g, n.inputs[0])) && out == DType::kFloat32 && n.attrs.integer("saturate", 1) == 1;
  }
  if (n.op == "QuantizeLinear" || n.op == "DequantizeLinear") {
    bool scalars = n.inputs.size() >= 2 && is_scalar_constant(g.value(n.inputs[1])) &&
                   (!n.has(2) || is_scalar_constant(g.value(n.inputs[2])));
    DType q = n.op == "QuantizeLinear" ? out : dtype_of_value(g, n.inputs[0]);
    bool eight = q == DType::kInt8 || q == DType::kUInt8;
    DType f = n.op == "QuantizeLinear" ? dtype_of_value(g, n.inputs[0]) : out;
    return scalars && eight && f == DType::kFloat32 && !g.value(n.inputs[0]).is_constant();
  }
  const Op* op = ops.find(n.op);
  if (op == nullptr || !op->elementwise || !computes_in(out)) return false;
  for (ValueId v : n.inputs) {
    if (v != kNone && !computes_in(dtype_of_value(g, v))) return false;
  }
  bool several = n.op == "Max" || n.op == "Min" || n.op == "Sum";
  return several || elementwise_call(g, n).has_value();
}

Region region_of(const Graph& g, const Node& n) {
  Region r;
  if (n.op == "tenon.Pointwise") {
    r.body = n.attrs.graph("body")->clone();
    r.inputs = n.inputs;
    return r;
  }
  r.body = std::make_shared<Graph>();
  r.body->name = "body";
  std::vector<ValueId> inputs;
  for (ValueId v : n.inputs) {
    if (v == kNone) {
      inputs.push_back(kNone);
      continue;
    }
    if (is_scalar_constant(g.value(v))) {
      inputs.push_back(r.body->add_constant(g.value(v).constant));
      continue;
    }
    auto at = std::find(r.inputs.begin(), r.inputs.end(), v);
    if (at == r.inputs.end()) {
      r.inputs.push_back(v);
      inputs.push_back(r.body->add_input(fmt::format("x{}", r.inputs.size() - 1), g.value(v).type));
    } else {
      inputs.push_back(r.body->inputs[static_cast<size_t>(at - r.inputs.begin())]);
    }
  }
  NodeId id = r.body->add_node(n.op, std::move(inputs), {""}, n.attrs);
  r.body->outputs.push_back(r.body->node(id).outputs[0]);
  r.body->value(r.body->outputs[0]).type = g.value(n.outputs[0]).type;
  return r;
}

Region merge(const Graph& g, const std::vector<NodeId>& members, ValueId result) {
  Region out;
  out.body = std::make_shared<Graph>();
  out.body->name = "body";
  std::map<ValueId, ValueId> made;  // values of the surrounding graph, inside
  for (NodeId id : members) {
    Region part = region_of(g, g.node(id));
    std::map<ValueId, ValueId> inner;
    for (size_t i = 0; i < part.inputs.size(); ++i) {
      auto at = made.find(part.inputs[i]);
      if (at == made.end()) {
        ValueId v = out.body->add_input(fmt::format("x{}", out.inputs.size()), g.value(part.inputs[i]).type);
        out.inputs.push_back(part.inputs[i]);
        at = made.emplace(part.inputs[i], v).first;
      }
      inner[part.body->inputs[i]] = at->second;
    }
    append(*out.body, *part.body, inner);
    made[g.node(id).outputs[0]] = inner.at(part.body->outputs[0]);
  }
  out.body->outputs.push_back(made.at(result));
  return out;
}

void inline_region(Graph& g, NodeId id) {
  bool region = g.node(id).op == "tenon.Pointwise";
  GraphPtr body = g.node(id).attrs.graph(region ? "body" : "epilogue");
  TENON_CHECK(body != nullptr);
  std::map<ValueId, ValueId> map;
  ValueId old = g.node(id).outputs[0];
  if (region) {
    for (size_t i = 0; i < body->inputs.size(); ++i) map[body->inputs[i]] = g.node(id).inputs[i];
    append(g, *body, map, id);
    g.replace_uses(old, map.at(body->outputs[0]));
    g.erase_node(id);
    return;
  }
  size_t extras = body->inputs.size() - 1, own = g.node(id).inputs.size() - extras;
  for (size_t i = 0; i < extras; ++i) map[body->inputs[i + 1]] = g.node(id).inputs[own + i];
  g.drop_inputs_from(id, own);
  while (!g.node(id).inputs.empty() && g.node(id).inputs.back() == kNone) g.node(id).inputs.pop_back();
  g.node(id).attrs.erase("epilogue");
  g.value(old).type = {};
  // The op's own result keeps the old value; the epilogue's nodes hang behind it and take over its readers.
  std::vector<Use> readers = g.value(old).uses;
  bool output = g.is_output(old);
  map[body->inputs[0]] = old;
  append(g, *body, map, id);
  ValueId result = map.at(body->outputs[0]);
  for (const Use& u : readers) g.set_input(u.node, static_cast<size_t>(u.index), result);
  if (output) {
    for (size_t i = 0; i < g.outputs.size(); ++i) {
      if (g.outputs[i] == old) g.outputs.set(i, result);
    }
    std::swap(g.value(old).name, g.value(result).name);
  }
}

void inline_regions(Graph& g) {
  for (NodeId id : g.order()) {
    const Node& n = g.node(id);
    if (n.op == "tenon.Pointwise" || n.attrs.graph("epilogue")) {
      inline_region(g, id);
      continue;
    }
    for (const auto& [name, attr] : n.attrs.items()) {
      if (const auto* sub = std::get_if<GraphPtr>(&attr); sub != nullptr && *sub) inline_regions(**sub);
    }
  }
}

}  // namespace tenon
