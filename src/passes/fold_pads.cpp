// Zeros that a Pad puts around what a convolution or a pool reads become the window's own padding; so does minus
// infinity in front of a MaxPool.
#include <algorithm>
#include <cmath>

#include "passes/pass.hpp"

namespace tenon {
namespace {

// Begins and ends for each axis of x, as the Pad's inputs say; nothing if they are not known or cut something off.
std::optional<Ints> pads_of(const Graph& g, const Node& pad, int64_t rank) {
  const Value& list = g.value(pad.inputs[1]);
  if (!list.is_constant() || rank < 3) return std::nullopt;
  Ints given = list.constant.to_ints(), axes;
  for (int64_t i = 0; i < rank; ++i) axes.push_back(i);
  if (pad.has(3)) {
    if (!g.value(pad.inputs[3]).is_constant()) return std::nullopt;
    axes = g.value(pad.inputs[3]).constant.to_ints();
  }
  if (given.size() != 2 * axes.size()) return std::nullopt;
  Ints out(static_cast<size_t>(2 * rank), 0);
  for (size_t i = 0; i < axes.size(); ++i) {
    int64_t axis = axes[i] < 0 ? axes[i] + rank : axes[i];
    if (axis < 0 || axis >= rank || given[i] < 0 || given[i + axes.size()] < 0) return std::nullopt;
    out[static_cast<size_t>(axis)] = given[i];
    out[static_cast<size_t>(axis + rank)] = given[i + axes.size()];
  }
  return out;
}

bool fills_with(const Graph& g, const Node& pad, bool lowest) {
  if (!pad.has(2)) return !lowest;
  const Value& v = g.value(pad.inputs[2]);
  if (!v.is_constant() || v.constant.size() != 1) return false;
  double value = v.constant.at(0);
  return lowest ? std::isinf(value) && value < 0 : value == 0;
}

bool takes_pads(const Graph& g, const Node& n) {
  if (n.attrs.has("epilogue") || n.inputs.empty() || n.outputs.empty()) return false;
  if (n.op != "Conv" && n.op != "AveragePool" && n.op != "MaxPool") return false;
  if (n.op == "MaxPool" && n.outputs.size() > 1) return false;  // indices count the padding
  if (n.op == "AveragePool" && n.attrs.integer("count_include_pad", 0) == 0) return false;
  std::string automatic = n.attrs.string("auto_pad", "NOTSET");
  bool fixed = automatic == "NOTSET" || automatic == "VALID" || automatic.empty();
  return fixed && n.attrs.integer("ceil_mode", 0) == 0 && g.use_count(n.outputs[0]) > 0;
}

bool fold(Graph& g, NodeId id) {
  const Node& n = g.node(id);
  const Node* pad = takes_pads(g, n) ? g.producer(n.inputs[0]) : nullptr;
  if (pad == nullptr || pad->op != "Pad" || pad->attrs.string("mode", "constant") != "constant") return false;
  if (!fills_with(g, *pad, n.op == "MaxPool")) return false;
  int64_t rank = g.value(pad->inputs[0]).type.rank();
  auto added = pads_of(g, *pad, rank);
  if (!added) return false;
  auto r = static_cast<size_t>(rank), spatial = r - 2;
  if ((*added)[0] != 0 || (*added)[1] != 0 || (*added)[r] != 0 || (*added)[r + 1] != 0) return false;
  Ints pads = n.attrs.ints("pads", Ints(2 * spatial, 0)), kernel = n.attrs.ints("kernel_shape");
  if (n.attrs.string("auto_pad", "") == "VALID") pads.assign(2 * spatial, 0);
  if (pads.size() != 2 * spatial) return false;
  for (size_t i = 0; i < spatial; ++i) {
    pads[i] += (*added)[2 + i];
    pads[spatial + i] += (*added)[r + 2 + i];
    // A pool's window must not lie in the padding alone.
    if (n.op != "Conv" && (i >= kernel.size() || std::max(pads[i], pads[spatial + i]) >= kernel[i])) return false;
  }
  Attrs attrs = n.attrs;
  attrs.erase("auto_pad");
  attrs.set("pads", pads);
  std::vector<ValueId> inputs = n.inputs;
  inputs[0] = pad->inputs[0];
  ValueId old = n.outputs[0];
  Type type = g.value(old).type;
  std::string op = n.op;
  ValueId made = g.add(std::move(op), std::move(inputs), std::move(attrs), id);
  g.value(made).type = type;
  g.replace_uses(old, made);
  return true;
}

}  // namespace

bool fold_pads(Graph& g, PassContext&) {
  bool changed = false;
  for (NodeId id : g.order()) changed |= fold(g, id);
  return changed;
}

}  // namespace tenon
