// Composite ops that no tactic wants, taken apart into ops that have some.
#include "graph/body.hpp"
#include "plan/program.hpp"
#include "plan/select.hpp"

namespace tenon {
namespace {

bool wanted(const Graph& g, const Node& n, const TacticTable& tactics, int threads) {
  for (Format in : {Format::kPlain, Format::kChannelsLast}) {
    for (Format out : {Format::kPlain, Format::kChannelsLast}) {
      Problem problem = make_problem(g, n, in, out, threads);
      for (const Tactic& t : tactics.of(n.op)) {
        if (t.judge(problem).ok) return true;
      }
    }
  }
  return false;
}

}  // namespace

bool expand_refused(Graph& g, const TacticTable& tactics, const OpTable& ops, int threads) {
  bool changed = false;
  for (NodeId id : g.order()) {
    const Node& n = g.node(id);
    const Op* op = ops.find(n.op);
    if (op == nullptr || op->body.empty() || op->elementwise || n.attrs.has("epilogue") || !n.has(0)) continue;
    // Of other types the parts have no tactics either.
    if (g.value(n.inputs[0]).type.dtype != DType::kFloat32 || !is_static_node(g, n)) continue;
    if (!wanted(g, n, tactics, threads)) changed |= expand_body(g, id, ops);
  }
  if (changed) infer_types(g, ops);
  return changed;
}

}  // namespace tenon
