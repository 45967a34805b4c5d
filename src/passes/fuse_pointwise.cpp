// Elementwise nodes that feed each other become one region: one walk over memory instead of one a node. A producer
// joins its reader when nobody else reads it and both make the same shape.
#include <algorithm>

#include "passes/pass.hpp"
#include "passes/region.hpp"

namespace tenon {
namespace {

bool joins(const Graph& g, ValueId v, const Node& reader, const OpTable& ops) {
  const Node* producer = g.producer(v);
  if (producer == nullptr || g.is_output(v) || !is_pointwise(g, *producer, ops)) return false;
  const auto& uses = g.value(v).uses;
  bool only_reader = std::all_of(uses.begin(), uses.end(), [&](const Use& u) { return u.node == reader.id; });
  const Type &a = g.value(v).type, &b = g.value(reader.outputs[0]).type;
  return only_reader && a.shape && b.shape && *a.shape == *b.shape;
}

bool small_enough(const Region& a, const Region& b) {
  return a.body->node_count() + b.body->node_count() <= kMaxRegionNodes &&
         a.inputs.size() + b.inputs.size() <= kMaxRegionInputs;
}

bool fuse_into(Graph& g, NodeId id, const OpTable& ops) {
  for (ValueId v : g.node(id).inputs) {
    if (v == kNone || !joins(g, v, g.node(id), ops)) continue;
    Region producer = region_of(g, *g.producer(v)), consumer = region_of(g, g.node(id));
    if (!small_enough(producer, consumer)) continue;
    Region joined = join(producer, v, consumer);
    Attrs attrs;
    attrs.set("body", joined.body);
    ValueId old = g.node(id).outputs[0];
    Type type = g.value(old).type;
    ValueId made = g.add("tenon.Pointwise", joined.inputs, std::move(attrs), id);
    g.value(made).type = type;
    g.replace_uses(old, made);
    g.erase_node(id);
    return true;
  }
  return false;
}

}  // namespace

bool fuse_pointwise(Graph& g, PassContext& context) {
  bool changed = false;
  for (bool again = true; again;) {
    again = false;
    for (NodeId id : g.order()) {
      if (!g.node(id).alive || !is_pointwise(g, g.node(id), context.ops)) continue;
      if (g.use_count(g.node(id).outputs[0]) == 0) continue;
      again |= fuse_into(g, id, context.ops);
    }
    changed |= again;
  }
  return changed;
}

}  // namespace tenon
