// What a loop body or branch captures from outside and is a constant there becomes a constant inside, where it can be
// folded and packed; captures that no body reads go.
#include <algorithm>

#include "passes/pass.hpp"

namespace tenon {
namespace {

std::vector<GraphPtr> bodies_of(const Node& n) {
  std::vector<GraphPtr> out;
  for (const auto& [name, attr] : n.attrs.items()) {
    const auto* g = std::get_if<GraphPtr>(&attr);
    if (g != nullptr && *g != nullptr) out.push_back(*g);
  }
  return out;
}

bool sink(Graph& g, NodeId id) {
  const Node& n = g.node(id);
  if (n.op != "If" && n.op != "Loop" && n.op != "Scan") return false;
  std::vector<GraphPtr> bodies = bodies_of(n);
  int64_t captures = n.attrs.integer("captures", 0);
  if (bodies.empty() || captures <= 0 || captures > static_cast<int64_t>(n.inputs.size())) return false;
  auto count = static_cast<size_t>(captures);
  for (const GraphPtr& b : bodies) {
    if (b->inputs.size() < count) return false;
  }
  size_t first = n.inputs.size() - count;
  std::vector<ValueId> captured(n.inputs.begin() + static_cast<std::ptrdiff_t>(first), n.inputs.end());
  std::vector<ValueId> kept;
  for (size_t k = 0; k < count; ++k) {
    ValueId outer = captured[k];
    size_t left = count - k;  // captures from this one to the end, in every body
    auto inside = [&](const GraphPtr& b) { return b->inputs.end() - static_cast<std::ptrdiff_t>(left); };
    bool constant = outer != kNone && g.value(outer).is_constant();
    bool used =
        std::any_of(bodies.begin(), bodies.end(), [&](const GraphPtr& b) { return b->use_count(*inside(b)) > 0; });
    if (!constant && used) {
      kept.push_back(outer);
      continue;
    }
    for (const GraphPtr& b : bodies) {
      auto at = inside(b);
      if (constant) b->make_constant(*at, g.value(outer).constant);
      b->inputs.erase(at);
    }
  }
  if (kept.size() == count) return false;
  g.drop_inputs_from(id, first);
  for (ValueId v : kept) g.add_input_to(id, v);
  g.node(id).attrs.set("captures", static_cast<int64_t>(kept.size()));
  return true;
}

}  // namespace

bool sink_constants(Graph& g, PassContext&) {
  bool changed = false;
  for (NodeId id : g.order()) changed |= sink(g, id);
  return changed;
}

}  // namespace tenon
