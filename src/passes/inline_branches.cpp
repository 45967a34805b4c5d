// An If whose condition is a constant is the nodes of the branch that is taken.
#include <map>

#include "base/error.hpp"
#include "passes/pass.hpp"

namespace tenon {
namespace {

// The branch that will be taken, when that is known and the node is what the schema says.
GraphPtr taken_branch(const Graph& g, const Node& n) {
  if (n.op != "If" || !n.has(0) || !g.value(n.inputs[0]).is_constant()) return nullptr;
  const Tensor& condition = g.value(n.inputs[0]).constant;
  if (condition.dtype() == DType::kString || condition.size() != 1) return nullptr;
  GraphPtr branch = n.attrs.graph(condition.int_at(0) != 0 ? "then_branch" : "else_branch");
  bool fits = branch && branch->inputs.size() + 1 == n.inputs.size() && branch->outputs.size() >= n.outputs.size();
  for (size_t i = 1; i < n.inputs.size(); ++i) fits = fits && n.has(i);
  return fits ? branch : nullptr;
}

void inline_branch(Graph& g, NodeId id, const Graph& branch) {
  std::map<ValueId, ValueId> map;  // of the branch -> of the graph
  for (size_t i = 0; i < branch.inputs.size(); ++i) map[branch.inputs[i]] = g.node(id).inputs[i + 1];
  auto moved = [&](ValueId v) {
    if (v == kNone) return kNone;
    auto at = map.find(v);
    if (at != map.end()) return at->second;
    TENON_CHECK(branch.value(v).is_constant());
    return map[v] = g.add_constant(branch.value(v).constant);
  };
  for (NodeId inner : branch.order()) {
    const Node& n = branch.node(inner);
    std::vector<ValueId> inputs;
    for (ValueId v : n.inputs) inputs.push_back(moved(v));
    NodeId copy = g.add_node(n.op, std::move(inputs), std::vector<std::string>(n.outputs.size()), n.attrs, n.name);
    g.node(copy).rank = g.node(id).rank;
    for (size_t i = 0; i < n.outputs.size(); ++i) {
      if (n.outputs[i] != kNone) map[n.outputs[i]] = g.node(copy).outputs[i];
    }
  }
  std::vector<ValueId> outputs = g.node(id).outputs;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i] == kNone) continue;
    // By way of an Identity: the result may be an input, a constant, or one value twice. What need not stay is removed.
    g.replace_uses(outputs[i], g.add("Identity", {moved(branch.outputs[i])}, {}, id));
  }
  g.erase_node(id);
}

}  // namespace

bool inline_branches(Graph& g, PassContext&) {
  bool changed = false;
  for (NodeId id : g.order()) {
    GraphPtr branch = taken_branch(g, g.node(id));
    if (branch == nullptr) continue;
    inline_branch(g, id, *branch);
    changed = true;
  }
  return changed;
}

}  // namespace tenon
