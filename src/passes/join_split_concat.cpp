// Concat(Split(x)..., y) over one axis is Concat(x, y): the pieces of x are where they were. The producer of x can then
// write straight into the concatenation, and the pieces are views of it.
#include "passes/pass.hpp"

namespace tenon {
namespace {

int64_t axis_of(const Graph& g, const Node& n) {
  int64_t rank = g.value(n.outputs[0]).type.rank(), axis = n.attrs.integer("axis", 0);
  return axis < 0 ? axis + rank : axis;
}

}  // namespace

bool join_split_concat(Graph& g, PassContext&) {
  bool changed = false;
  for (NodeId id : g.order()) {
    const Node& n = g.node(id);
    if (n.op != "Concat" || g.value(n.outputs[0]).type.rank() < 1) continue;
    std::vector<ValueId> inputs;
    for (size_t i = 0; i < n.inputs.size();) {
      const Node* split = g.producer(n.inputs[i]);
      bool whole = split != nullptr && split->op == "Split" && split->outputs.size() > 1 &&
                   axis_of(g, *split) == axis_of(g, n) && i + split->outputs.size() <= n.inputs.size();
      for (size_t k = 0; whole && k < split->outputs.size(); ++k) whole = n.inputs[i + k] == split->outputs[k];
      inputs.push_back(whole ? split->inputs[0] : n.inputs[i]);
      i += whole ? split->outputs.size() : 1;
    }
    if (inputs.size() == n.inputs.size()) continue;
    ValueId old = n.outputs[0];
    Type type = g.value(old).type;
    Attrs attrs = n.attrs;
    ValueId made = g.add("Concat", std::move(inputs), std::move(attrs), id);
    g.value(made).type = type;
    g.replace_uses(old, made);
    changed = true;
  }
  return changed;
}

}  // namespace tenon
