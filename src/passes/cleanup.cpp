// The cleanup steps that the manager runs after every change: constant folding, common sub-expressions, dead nodes.
#include <algorithm>
#include <unordered_map>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "graph/interpret.hpp"
#include "graph/text.hpp"
#include "passes/pass.hpp"

namespace tenon {
namespace {

// Folding these would only blow a small description up into a large constant.
constexpr int64_t kMaxGrowth = int64_t{1} << 20;
// Weights may become wider (int8 to float32).
constexpr int64_t kMaxFactor = 4;

bool foldable(const Graph& g, const Node& n, const Op& op) {
  if (!op.pure || n.outputs.empty()) return false;
  for (ValueId v : n.inputs) {
    if (v != kNone && !g.value(v).is_constant()) return false;
  }
  return true;
}

// The bytes the outputs will have, when their types say so; -1 when unknown.
int64_t output_bytes(const Graph& g, const Node& n) {
  int64_t total = 0;
  for (ValueId v : n.outputs) {
    if (v == kNone) continue;
    const Type& t = g.value(v).type;
    if (!t.is_tensor() || !t.is_static()) return -1;
    total += byte_size(t.dtype, element_count(const_dims(*t.shape)));
  }
  return total;
}

int64_t input_bytes(const Graph& g, const Node& n) {
  int64_t total = 0;
  for (ValueId v : n.inputs) total += v == kNone ? 0 : g.value(v).constant.bytes();
  return total;
}

// A value whose symbolic contents turned out to be all numbers is a constant (a Shape of static dims).
bool fold_contents(Graph& g, const Node& n) {
  bool changed = false;
  for (size_t i = 0; i < n.outputs.size(); ++i) {
    ValueId v = n.outputs[i];
    if (v == kNone || !g.value(v).content || !all_const(*g.value(v).content)) continue;
    const Type& t = g.value(v).type;
    if (!t.is_tensor() || !t.shape || t.shape->size() > 1 || g.use_count(v) == 0) continue;
    Ints ints = const_dims(*g.value(v).content);
    Dims dims;
    if (t.shape->size() == 1) dims.push_back(static_cast<int64_t>(ints.size()));
    if (dims.empty() && ints.size() != 1) continue;
    Tensor tensor = Tensor::allocate(t.dtype, dims);
    for (size_t k = 0; k < ints.size(); ++k) tensor.set_int(static_cast<int64_t>(k), ints[k]);
    g.make_constant(v, std::move(tensor));
    changed = true;
  }
  return changed;
}

uint64_t hash_value(const Graph& g, ValueId v) {
  return v == kNone ? 0x9e37ull : static_cast<uint64_t>(v) * 0x9e3779b97f4a7c15ull + (g.value(v).is_constant() ? 1 : 2);
}

}  // namespace

bool fold_constants(Graph& g, PassContext& context) {
  bool changed = false;
  for (NodeId id : g.order()) {
    infer_node(g, id, context.ops);
    if (fold_contents(g, g.node(id))) {
      changed = true;
      continue;
    }
    const Op* op = context.ops.find(g.node(id).op);
    if (op == nullptr || !foldable(g, g.node(id), *op)) continue;
    // Quantised weights stay so until absorb_quantization has had its chance.
    bool weights = g.node(id).op == "DequantizeLinear" && g.value(g.node(id).inputs[0]).constant.rank() > 1;
    if (weights && !context.fold_dequantized) continue;
    // A hard budget before execution where the size is known, and a check of the real size after it where it is not.
    int64_t bytes = output_bytes(g, g.node(id));
    if (bytes > std::max(kMaxGrowth, kMaxFactor * input_bytes(g, g.node(id))) || bytes > context.fold_bytes) continue;
    if (bytes < 0 && !op->data_shapes) continue;
    std::vector<Datum> inputs;
    std::vector<const Datum*> pointers;
    for (ValueId v : g.node(id).inputs) inputs.emplace_back(v == kNone ? Tensor() : g.value(v).constant);
    for (size_t i = 0; i < inputs.size(); ++i) pointers.push_back(g.node(id).inputs[i] == kNone ? nullptr : &inputs[i]);
    std::vector<Datum> out;
    try {
      out = interpret_node(g.node(id), context.ops, pointers);
    } catch (Error& e) {
      throw e.note(fmt::format("while folding {}", print_node(g, g.node(id))));
    }
    bool tensors =
        std::all_of(out.begin(), out.end(), [](const Datum& d) { return d.is_tensor() && d.tensor.defined(); });
    if (!tensors) continue;
    for (size_t i = 0; i < out.size(); ++i) {
      ValueId v = g.node(id).outputs[i];
      if (v == kNone) continue;
      context.fold_bytes -= out[i].tensor.bytes();
      g.make_constant(v, std::move(out[i].tensor));
    }
    changed = true;
  }
  return changed;
}

bool merge_equal_nodes(Graph& g, PassContext& context) {
  bool changed = false;
  // Equal constants first, so that nodes over them compare equal. Large ones are compared by content hash, then bytes.
  std::unordered_multimap<uint64_t, ValueId> constants;
  std::vector<char> seen(static_cast<size_t>(g.value_count()), 0);
  auto merged_constant = [&](ValueId v) {
    if (v == kNone || !g.value(v).is_constant() || seen[static_cast<size_t>(v)]) return;
    seen[static_cast<size_t>(v)] = 1;
    const Tensor& t = g.value(v).constant;
    if (t.dtype() == DType::kString || t.bytes() > (1 << 16)) return;
    uint64_t h = hash_bytes({t.raw(), static_cast<size_t>(t.bytes())}, static_cast<uint64_t>(t.dtype()));
    auto [begin, end] = constants.equal_range(h);
    for (auto at = begin; at != end; ++at) {
      if (identical(g.value(at->second).constant, t) && !g.is_output(v)) {
        g.replace_uses(v, at->second);
        changed = true;
        return;
      }
    }
    constants.emplace(h, v);
  };
  std::vector<NodeId> order = g.order();
  for (NodeId id : order) {
    for (size_t i = 0; i < g.node(id).inputs.size(); ++i) merged_constant(g.node(id).inputs[i]);
  }
  std::unordered_multimap<uint64_t, NodeId> nodes;
  for (NodeId id : order) {
    const Node& n = g.node(id);
    const Op* op = context.ops.find(n.op);
    if (op == nullptr || !op->pure) continue;
    bool has_graph = std::any_of(n.attrs.items().begin(), n.attrs.items().end(),
                                 [](const auto& a) { return std::holds_alternative<GraphPtr>(a.second); });
    if (has_graph) continue;
    uint64_t h = hash_bytes(std::as_bytes(std::span(n.op.data(), n.op.size())), n.outputs.size());
    for (ValueId v : n.inputs) h = h * 31 + hash_value(g, v);
    auto [begin, end] = nodes.equal_range(h);
    bool found = false;
    for (auto at = begin; at != end && !found; ++at) {
      const Node& other = g.node(at->second);
      if (other.op != n.op || other.inputs != n.inputs || other.outputs.size() != n.outputs.size() ||
          !(other.attrs == n.attrs)) {
        continue;
      }
      bool keep =
          std::any_of(n.outputs.begin(), n.outputs.end(), [&](ValueId v) { return v != kNone && g.is_output(v); });
      found = true;  // and where this one must stay, a further one would only be another like it
      if (keep) break;
      std::vector<ValueId> mine = n.outputs, theirs = other.outputs;
      for (size_t i = 0; i < mine.size(); ++i) {
        if (mine[i] != kNone && theirs[i] != kNone) g.replace_uses(mine[i], theirs[i]);
      }
      changed = true;
    }
    if (!found) nodes.emplace(h, id);
  }
  return changed;
}

bool remove_dead_nodes(Graph& g, PassContext&) {
  std::vector<NodeId> order = g.order();
  bool changed = false;
  for (size_t i = order.size(); i-- > 0;) {
    const Node& n = g.node(order[i]);
    bool used =
        std::any_of(n.outputs.begin(), n.outputs.end(), [&](ValueId v) { return v != kNone && g.use_count(v) > 0; });
    if (used) continue;
    g.erase_node(order[i]);
    changed = true;
  }
  return changed;
}

}  // namespace tenon
