// What follows a convolution or matrix product element by element is done while its results are still in registers or
// in the cache: bias, residual, any activation, scale, quantisation become the node's epilogue.
#include <algorithm>
#include <set>
#include <string_view>

#include "passes/pass.hpp"
#include "passes/region.hpp"

namespace tenon {
namespace {

// Anchors and their number of own inputs: extra inputs of an epilogue come behind those.
int anchor_inputs(std::string_view op) {
  if (op == "Conv" || op == "ConvTranspose" || op == "Gemm") return 3;
  if (op == "MatMul") return 2;
  if (op == "ConvInteger" || op == "MatMulInteger") return 4;
  return 0;
}

bool can_anchor(const Graph& g, ValueId v, const Node& reader) {
  const Node* anchor = g.producer(v);
  if (anchor == nullptr || g.is_output(v) || anchor->attrs.has("epilogue") || anchor_inputs(anchor->op) == 0)
    return false;
  const auto& uses = g.value(v).uses;
  bool only_reader = std::all_of(uses.begin(), uses.end(), [&](const Use& u) { return u.node == reader.id; });
  const Type &a = g.value(v).type, &b = g.value(reader.outputs[0]).type;
  DType t = a.dtype;
  bool type = t == DType::kFloat32 || t == DType::kFloat16 || t == DType::kBFloat16 || t == DType::kInt32;
  return only_reader && type && a.shape && b.shape && *a.shape == *b.shape;
}

// Of several anchors (two convolutions that meet in an Add) the one that runs last takes the epilogue, so that the
// other's result is there.
ValueId last_anchor(const Graph& g, const Node& reader) {
  ValueId best = kNone;
  for (ValueId v : reader.inputs) {
    if (v == kNone || !can_anchor(g, v, reader)) continue;
    if (best == kNone || g.producer(v)->rank > g.producer(best)->rank) best = v;
  }
  return best;
}

bool fuse_behind(Graph& g, NodeId id) {
  ValueId v = last_anchor(g, g.node(id));
  if (v == kNone) return false;
  Region region = region_of(g, g.node(id));
  auto at = std::find(region.inputs.begin(), region.inputs.end(), v);
  if (at == region.inputs.end() || region.inputs.size() > kMaxRegionInputs) return false;
  // The op's own result becomes the first input of the body.
  std::swap(region.body->inputs[0], region.body->inputs[static_cast<size_t>(at - region.inputs.begin())]);
  std::iter_swap(region.inputs.begin(), at);
  const Node& anchor = *g.producer(v);
  std::vector<ValueId> inputs = anchor.inputs;
  inputs.resize(static_cast<size_t>(anchor_inputs(anchor.op)), kNone);
  inputs.insert(inputs.end(), region.inputs.begin() + 1, region.inputs.end());
  Attrs attrs = anchor.attrs;
  attrs.set("epilogue", region.body);
  NodeId anchor_id = anchor.id, reader = id;
  ValueId old = g.node(reader).outputs[0];
  Type type = g.value(old).type;
  std::string op = anchor.op;
  ValueId made = g.add(std::move(op), std::move(inputs), std::move(attrs), anchor_id);
  g.node(g.value(made).producer).rank = g.node(reader).rank;
  g.value(made).type = type;
  g.replace_uses(old, made);
  g.erase_node(reader);
  g.erase_node(anchor_id);
  return true;
}

}  // namespace

bool fuse_epilogue(Graph& g, PassContext& context) {
  bool changed = false;
  for (NodeId id : g.order()) {
    if (!g.node(id).alive || g.node(id).outputs.size() != 1) continue;
    if (!is_pointwise(g, g.node(id), context.ops) || g.use_count(g.node(id).outputs[0]) == 0) continue;
    changed |= fuse_behind(g, id);
  }
  return changed;
}

}  // namespace tenon
