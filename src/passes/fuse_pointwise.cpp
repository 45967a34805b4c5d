// Elementwise nodes that feed each other become one region: one walk over memory instead of one a node. A producer
// joins when all its readers are in the region and it makes the region's shape.
#include <algorithm>
#include <set>

#include "passes/pass.hpp"
#include "passes/region.hpp"

namespace tenon {
namespace {

int weight(const Node& n) { return n.op == "tenon.Pointwise" ? n.attrs.graph("body")->node_count() : 1; }

class Grower {
 public:
  Grower(const Graph& g, const OpTable& ops, NodeId root) : g_(g), ops_(ops), root_(g.node(root).outputs[0]) {
    members_.insert(root);
    nodes_ = weight(g.node(root));
    while (nodes_ < kMaxRegionNodes && take_one()) {
    }
  }

  const std::set<NodeId>& members() const { return members_; }

 private:
  bool take_one() {
    for (NodeId id : members_) {
      for (ValueId v : g_.node(id).inputs) {
        const Node* p = v == kNone ? nullptr : g_.producer(v);
        if (p == nullptr || members_.contains(p->id) || !fits(*p, v)) continue;
        members_.insert(p->id);
        if (inputs() <= kMaxRegionInputs) {
          nodes_ += weight(*p);
          return true;
        }
        members_.erase(p->id);
      }
    }
    return false;
  }

  bool fits(const Node& p, ValueId v) const {
    if (g_.is_output(v) || nodes_ + weight(p) > kMaxRegionNodes || !is_pointwise(g_, p, ops_)) return false;
    const auto& uses = g_.value(v).uses;
    bool inside = std::all_of(uses.begin(), uses.end(), [&](const Use& u) { return members_.contains(u.node); });
    const Type &a = g_.value(v).type, &b = g_.value(root_).type;
    return inside && a.shape && b.shape && *a.shape == *b.shape;
  }

  size_t inputs() const {
    std::set<ValueId> outside;
    for (NodeId id : members_) {
      for (ValueId v : g_.node(id).inputs) {
        if (v == kNone || (g_.value(v).is_constant() && g_.value(v).constant.size() == 1)) continue;
        if (!members_.contains(g_.value(v).producer)) outside.insert(v);
      }
    }
    return outside.size();
  }

  const Graph& g_;
  const OpTable& ops_;
  ValueId root_;
  std::set<NodeId> members_;
  int nodes_ = 0;
};

void replace(Graph& g, NodeId root, std::vector<NodeId> members) {
  ValueId old = g.node(root).outputs[0];
  Region region = merge(g, members, old);
  Attrs attrs;
  attrs.set("body", region.body);
  Type type = g.value(old).type;
  ValueId made = g.add("tenon.Pointwise", region.inputs, std::move(attrs), root);
  g.value(made).type = type;
  g.replace_uses(old, made);
  for (size_t i = members.size(); i-- > 0;) g.erase_node(members[i]);
}

}  // namespace

bool fuse_pointwise(Graph& g, PassContext& context) {
  std::vector<NodeId> order = g.order();
  std::vector<size_t> position(static_cast<size_t>(g.node_slots()), 0);
  for (size_t i = 0; i < order.size(); ++i) position[static_cast<size_t>(order[i])] = i;
  bool changed = false;
  for (size_t i = order.size(); i-- > 0;) {  // readers first: a region grows from its result upwards
    NodeId id = order[i];
    if (!g.node(id).alive || !is_pointwise(g, g.node(id), context.ops)) continue;
    if (g.use_count(g.node(id).outputs[0]) == 0) continue;
    Grower grower(g, context.ops, id);
    if (grower.members().size() < 2) continue;
    std::vector<NodeId> members(grower.members().begin(), grower.members().end());
    std::sort(members.begin(), members.end(),
              [&](NodeId a, NodeId b) { return position[static_cast<size_t>(a)] < position[static_cast<size_t>(b)]; });
    replace(g, id, std::move(members));
    changed = true;
  }
  return changed;
}

}  // namespace tenon
