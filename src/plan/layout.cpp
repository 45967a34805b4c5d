#include "plan/layout.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace tenon {
namespace {

bool is_reshape(const Node& n) {
  return n.op == "Reshape" || n.op == "Squeeze" || n.op == "Unsqueeze" || n.op == "Flatten" || n.op == "Identity";
}

Dims dims_of(const Graph& g, ValueId v) { return const_dims(*g.value(v).type.shape); }

bool strides_dense(const Dims& dims, const Ints& strides, Format format) {
  Ints want = format_strides(dims, format);
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] != 1 && strides[i] != want[i]) return false;
  }
  return true;
}

}  // namespace

int64_t axis_of(const Graph& g, const Node& n, int64_t otherwise) {
  int64_t rank = g.value(n.outputs[0]).type.rank(), axis = n.attrs.integer("axis", otherwise);
  return axis < 0 ? axis + rank : axis;
}

std::optional<Ints> slice_begins(const Graph& g, const Node& n) {
  if (n.op != "Slice" || n.inputs.size() < 3) return std::nullopt;
  for (size_t i = 1; i < n.inputs.size(); ++i) {
    if (n.inputs[i] != kNone && !g.value(n.inputs[i]).is_constant()) return std::nullopt;
  }
  Dims dims = dims_of(g, n.inputs[0]);
  Ints starts = g.value(n.inputs[1]).constant.to_ints();
  Ints axes, steps;
  if (n.has(3)) axes = g.value(n.inputs[3]).constant.to_ints();
  if (n.has(4)) steps = g.value(n.inputs[4]).constant.to_ints();
  Ints begins(dims.size(), 0);
  for (size_t i = 0; i < starts.size(); ++i) {
    int64_t axis = axes.empty() ? static_cast<int64_t>(i) : axes[i];
    if (axis < 0) axis += static_cast<int64_t>(dims.size());
    if (axis < 0 || axis >= static_cast<int64_t>(dims.size())) return std::nullopt;
    if (!steps.empty() && steps[i] != 1) return std::nullopt;
    auto a = static_cast<size_t>(axis);
    int64_t begin = starts[i] < 0 ? std::max<int64_t>(starts[i], -dims[a]) + dims[a] : starts[i];
    begins[a] = std::clamp<int64_t>(begin, 0, dims[a]);
  }
  return begins;
}

int64_t split_begin(const Graph& g, const Node& n, size_t index) {
  int64_t axis = axis_of(g, n, 0), at = 0;
  for (size_t i = 0; i < index; ++i) at += dims_of(g, n.outputs[i])[static_cast<size_t>(axis)];
  return at;
}

Layout::Layout(const Graph& graph, const std::vector<NodeId>& order, const std::vector<Choice>& choices,
               const std::vector<Verdict>& verdicts, const BuildOptions& options)
    : graph_(graph), order_(order), options_(options) {
  auto slots = static_cast<size_t>(graph.node_slots());
  choice_.assign(slots, nullptr);
  verdict_.assign(slots, nullptr);
  for (size_t i = 0; i < order.size(); ++i) {
    choice_[static_cast<size_t>(order[i])] = &choices[i];
    verdict_[static_cast<size_t>(order[i])] = &verdicts[i];
  }
  places_.resize(static_cast<size_t>(graph.value_count()));
  place_roots();
  // Outer concatenations first: an inner one may then lie inside an outer one's buffer.
  if (options_.views) {
    for (size_t i = order.size(); i-- > 0;) {
      if (graph.node(order[i]).op == "Concat" && choice(order[i]).tactic == "view") place_concat(graph.node(order[i]));
    }
  }
  for (NodeId id : order) {
    const Node& n = graph.node(id);
    if (choice(id).tactic != "view") continue;
    if (is_reshape(n)) place_reshape(n);
    if (options_.views && (n.op == "Split" || n.op == "Slice")) place_pieces(n);
  }
  place_in_line();
}

void Layout::place_roots() {
  for (int v = 0; v < graph_.value_count(); ++v) {
    const Value& value = graph_.value(v);
    const Type& t = value.type;
    Place& p = places_[static_cast<size_t>(v)];
    if (!t.is_tensor() || !t.is_static() || t.dtype == DType::kString || t.dtype == DType::kUndefined) continue;
    p.in_arena = !value.is_constant();
    if (value.producer != kNone) {
      Dims dims = const_dims(*t.shape);
      if (dims.size() >= 3 && dims.size() <= 5) p.format = choice(value.producer).out;
    }
    p.strides = format_strides(const_dims(*t.shape), p.format);
  }
}

std::pair<ValueId, int64_t> Layout::root(ValueId v) const {
  int64_t offset = 0;
  while (of(v).parent != kNone) {
    offset += of(v).offset;
    v = of(v).parent;
  }
  return {v, offset};
}

bool Layout::dense(ValueId v) const { return strides_dense(dims_of(graph_, v), of(v).strides, of(v).format); }

bool Layout::needs_reorder(NodeId id, size_t index) const {
  ValueId v = graph_.node(id).inputs[index];
  if (v == kNone || !of(v).in_arena) return false;
  const Dims dims = dims_of(graph_, v);
  if (dims.size() < 3 || dims.size() > 5) return false;
  return of(v).format != wanted(id) && !(formats_agree(dims) && dense(v));
}

bool Layout::takes_strides(ValueId v) const {
  for (const Use& u : graph_.value(v).uses) {
    const Node& reader = graph_.node(u.node);
    const Choice& c = choice(u.node);
    if (c.tactic.empty()) return false;
    if (c.tactic == "view") {
      if (is_reshape(reader)) return false;
      continue;  // pieces and concatenations copy from strided places
    }
    if (needs_reorder(u.node, static_cast<size_t>(u.index))) continue;  // the copy reads any strides
    if (!verdict(u.node).strided_in) return false;
  }
  return !graph_.is_output(v);
}

bool Layout::writes_strides(ValueId v) const {
  const Value& value = graph_.value(v);
  if (value.producer == kNone) return false;
  const Choice& c = choice(value.producer);
  if (c.tactic.empty()) return false;
  if (c.tactic == "view") return graph_.node(value.producer).op == "Concat";
  return verdict(value.producer).strided_out;
}

bool Layout::free_root(ValueId v) const {
  const Place& p = of(v);
  return p.in_arena && p.parent == kNone && graph_.value(v).producer != kNone && !graph_.is_output(v);
}

void Layout::place_concat(const Node& n) {
  ValueId out = n.outputs[0];
  if (!of(out).in_arena) return;
  auto axis = static_cast<size_t>(axis_of(graph_, n, 0));
  int64_t at = 0;
  for (ValueId v : n.inputs) {
    Dims dims = dims_of(graph_, v);
    int64_t begin = at;
    at += dims[axis];
    Place& p = places_[static_cast<size_t>(v)];
    bool twice = std::count(n.inputs.begin(), n.inputs.end(), v) > 1;
    if (twice || !free_root(v)) continue;
    if (graph_.value(v).type.dtype != graph_.value(out).type.dtype) continue;
    if (p.format != of(out).format && !formats_agree(dims)) continue;
    Ints strides = of(out).strides;
    Format format = of(out).format;
    bool stays_dense = strides_dense(dims, strides, format);
    if (!stays_dense && !(takes_strides(v) && writes_strides(v))) continue;
    // A producer that makes this value as a view of something else could not write here.
    const Node& maker = graph_.node(graph_.value(v).producer);
    if (choice(maker.id).tactic == "view" && maker.op != "Concat") continue;
    p.parent = out;
    p.offset = begin * strides[axis];
    p.strides = std::move(strides);
    p.format = format;
  }
}

void Layout::place_reshape(const Node& n) {
  ValueId in = n.inputs[0], out = n.outputs[0];
  Place& p = places_[static_cast<size_t>(out)];
  if (!of(in).in_arena || !p.in_arena || p.parent != kNone || graph_.is_output(out)) return;
  Dims dims = dims_of(graph_, in);
  bool row_major = dense(in) && (of(in).format == Format::kPlain || formats_agree(dims));
  if (!row_major) return;
  p.parent = in;
  p.offset = 0;
}

void Layout::place_pieces(const Node& n) {
  ValueId in = n.inputs[0];
  if (!of(in).in_arena) return;
  std::optional<Ints> begins;
  if (n.op == "Slice" && !(begins = slice_begins(graph_, n))) return;
  for (size_t i = 0; i < n.outputs.size(); ++i) {
    ValueId out = n.outputs[i];
    if (out == kNone) continue;
    Place& p = places_[static_cast<size_t>(out)];
    if (!p.in_arena || p.parent != kNone || graph_.is_output(out)) continue;
    Dims dims = dims_of(graph_, out);
    Ints strides = of(in).strides;
    if (p.format != of(in).format && !formats_agree(dims)) continue;
    int64_t offset = 0;
    if (begins) {
      for (size_t a = 0; a < strides.size(); ++a) offset += (*begins)[a] * strides[a];
    } else {
      auto axis = static_cast<size_t>(axis_of(graph_, n, 0));
      offset = split_begin(graph_, n, i) * strides[axis];
    }
    Format old = p.format;
    p.format = of(in).format;
    if (!strides_dense(dims, strides, p.format) && !takes_strides(out)) {
      p.format = old;
      continue;
    }
    p.parent = in;
    p.offset = offset;
    p.strides = std::move(strides);
  }
}

// In place: an elementwise result over an input that dies with it.
void Layout::place_in_line() {
  if (!options_.views) return;
  std::vector<int> last(places_.size(), -1);  // by root: the last step that reads or writes the buffer
  for (size_t step = 0; step < order_.size(); ++step) {
    const Node& n = graph_.node(order_[step]);
    auto touch = [&](ValueId v) {
      if (v != kNone && of(v).in_arena) last[static_cast<size_t>(root(v).first)] = static_cast<int>(step);
    };
    for (ValueId v : n.inputs) touch(v);
    for (ValueId v : n.outputs) touch(v);
  }
  for (size_t step = 0; step < order_.size(); ++step) {
    NodeId id = order_[step];
    const Node& n = graph_.node(id);
    int k = verdict(id).in_place;
    if (choice(id).tactic.empty() || choice(id).tactic == "view" || k < 0 || !n.has(static_cast<size_t>(k))) continue;
    ValueId in = n.inputs[static_cast<size_t>(k)], out = n.outputs[0];
    Place& p = places_[static_cast<size_t>(out)];
    if (!of(in).in_arena || !p.in_arena || p.parent != kNone || graph_.is_output(out)) continue;
    auto [owner, offset] = root(in);
    bool once = std::count(n.inputs.begin(), n.inputs.end(), in) == 1;
    bool whole = offset == 0 && element_count(dims_of(graph_, owner)) == element_count(dims_of(graph_, in));
    const Value& o = graph_.value(owner);
    bool owned = o.producer != kNone && !graph_.is_output(owner) && !o.is_constant();
    if (!once || !whole || !owned || last[static_cast<size_t>(owner)] != static_cast<int>(step)) continue;
    bool alike = of(in).strides == p.strides && dims_of(graph_, in) == dims_of(graph_, out) && dense(in) &&
                 bits(graph_.value(in).type.dtype) == bits(graph_.value(out).type.dtype) &&
                 bits(o.type.dtype) == bits(graph_.value(out).type.dtype);
    // Another input of the node that overlaps the same buffer would be overwritten while it is read.
    for (size_t j = 0; j < n.inputs.size(); ++j) {
      if (n.inputs[j] != kNone && static_cast<int>(j) != k && of(n.inputs[j]).in_arena &&
          root(n.inputs[j]).first == owner) {
        alike = false;
      }
    }
    if (!alike || needs_reorder(id, static_cast<size_t>(k))) continue;
    int until = last[static_cast<size_t>(out)];
    p.parent = in;
    p.offset = 0;
    last[static_cast<size_t>(owner)] = std::max(last[static_cast<size_t>(owner)], until);
  }
}

}  // namespace tenon
