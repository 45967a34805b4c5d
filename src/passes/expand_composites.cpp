// Ops that have a body and nothing else (SkipLayerNormalization...) are what their body says: the passes behind see
// its parts. Those that have a reference stay whole, for the tactics.
#include "graph/body.hpp"
#include "passes/pass.hpp"

namespace tenon {

bool expand_composites(Graph& g, PassContext& context) {
  bool changed = false;
  for (NodeId id : g.order()) {
    const Op* op = context.ops.find(g.node(id).op);
    if (op == nullptr || op->reference != nullptr || op->body.empty() || g.node(id).attrs.has("epilogue")) continue;
    changed |= expand_body(g, id, context.ops);
  }
  return changed;
}

}  // namespace tenon
