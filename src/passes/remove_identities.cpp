// Nodes that return their input unchanged: Identity, Dropout at inference, Cast to the same type, Reshape/Expand/Slice/
// Pad/Transpose/Resize that change nothing, Concat of one.
#include <algorithm>
#include <numeric>

#include "passes/pass.hpp"

namespace tenon {
namespace {

bool same_type(const Graph& g, const Node& n) {
  const Type &in = g.value(n.inputs[0]).type, &out = g.value(n.outputs[0]).type;
  return in.is_tensor() && out.is_tensor() && in.dtype == out.dtype && in.shape && out.shape && *in.shape == *out.shape;
}

bool is_identity(const Graph& g, const Node& n) {
  if (n.attrs.has("epilogue") || !n.has(0)) return false;
  if (n.op == "Identity") return true;
  if (n.op == "Dropout") return n.outputs.size() == 1 || n.outputs[1] == kNone || g.use_count(n.outputs[1]) == 0;
  if (n.op == "Concat") return n.inputs.size() == 1;
  if (n.op == "Cast" || n.op == "Reshape" || n.op == "Expand" || n.op == "Flatten" || n.op == "Squeeze" ||
      n.op == "Unsqueeze") {
    return same_type(g, n);
  }
  if (n.op == "Transpose") {
    Ints perm = n.attrs.ints("perm");
    return !perm.empty() && std::is_sorted(perm.begin(), perm.end());
  }
  return false;
}

}  // namespace

bool remove_identities(Graph& g, PassContext&) {
  bool changed = false;
  for (NodeId id : g.order()) {
    const Node& n = g.node(id);
    if (n.outputs.empty() || !is_identity(g, n) || g.use_count(n.outputs[0]) == 0) continue;
    // A graph output that is a graph input needs a node to copy it; so does one value under two output names.
    ValueId from = n.outputs[0], to = n.inputs[0];
    bool protected_output = g.is_output(from) && (g.producer(to) == nullptr || g.is_output(to));
    if (protected_output) continue;
    g.replace_uses(from, to);
    changed = true;
  }
  return changed;
}

}  // namespace tenon
