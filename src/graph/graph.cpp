#include "graph/graph.hpp"

#include <algorithm>
#include <limits>
#include <queue>

#include "base/error.hpp"

namespace tenon {

// --- types
// -------------------------------------------------------------------------------------------------------

std::string Type::text() const {
  switch (kind) {
    case Kind::kUnknown: return "?";
    case Kind::kTensor: return std::string(tenon::name(dtype)) + (shape ? shape_text(*shape) : "[...]");
    case Kind::kSequence: return "seq(" + element->text() + ")";
    case Kind::kMap: return "map(" + std::string(tenon::name(dtype)) + "," + element->text() + ")";
    case Kind::kOptional: return "opt(" + element->text() + ")";
  }
  return "?";
}

bool operator==(const Type& a, const Type& b) {
  if (a.kind != b.kind || a.dtype != b.dtype || a.shape.has_value() != b.shape.has_value()) return false;
  if (a.shape && !(*a.shape == *b.shape)) return false;
  if ((a.element == nullptr) != (b.element == nullptr)) return false;
  return a.element == nullptr || *a.element == *b.element;
}

// --- attributes
// --------------------------------------------------------------------------------------------------

const Attr* Attrs::find(std::string_view name) const noexcept {
  for (const Item& item : items_) {
    if (item.first == name) return &item.second;
  }
  return nullptr;
}

void Attrs::set(std::string name, Attr value) {
  auto at = std::lower_bound(items_.begin(), items_.end(), name,
                             [](const Item& i, const std::string& n) { return i.first < n; });
  if (at != items_.end() && at->first == name) {
    at->second = std::move(value);
  } else {
    items_.insert(at, {std::move(name), std::move(value)});
  }
}

void Attrs::erase(std::string_view name) {
  std::erase_if(items_, [&](const Item& i) { return i.first == name; });
}

namespace {

template <class T>
const T* get(const Attrs& attrs, std::string_view name, std::string_view what) {
  const Attr* a = attrs.find(name);
  if (a == nullptr) return nullptr;
  const T* value = std::get_if<T>(a);
  expect(value != nullptr, "attribute '{}' must be {}", name, what);
  return value;
}

}  // namespace

int64_t Attrs::integer(std::string_view name, int64_t otherwise) const {
  const auto* v = get<int64_t>(*this, name, "an integer");
  return v ? *v : otherwise;
}

double Attrs::number(std::string_view name, double otherwise) const {
  const Attr* a = find(name);
  if (a != nullptr && std::holds_alternative<int64_t>(*a)) return static_cast<double>(std::get<int64_t>(*a));
  const auto* v = get<double>(*this, name, "a number");
  return v ? *v : otherwise;
}

std::string Attrs::string(std::string_view name, std::string_view otherwise) const {
  const auto* v = get<std::string>(*this, name, "a string");
  return v ? *v : std::string(otherwise);
}

Ints Attrs::ints(std::string_view name, Ints otherwise) const {
  const Attr* a = find(name);
  // An empty list carries no element kind in the file, so any empty list is a list of integers.
  if (a != nullptr && std::holds_alternative<Floats>(*a) && std::get<Floats>(*a).empty()) return {};
  const auto* v = get<Ints>(*this, name, "a list of integers");
  return v ? *v : std::move(otherwise);
}

Floats Attrs::numbers(std::string_view name, Floats otherwise) const {
  const Attr* a = find(name);
  if (a != nullptr && std::holds_alternative<Ints>(*a)) {
    const Ints& list = std::get<Ints>(*a);
    return {list.begin(), list.end()};
  }
  const auto* v = get<Floats>(*this, name, "a list of numbers");
  return v ? *v : std::move(otherwise);
}

Strings Attrs::strings(std::string_view name) const {
  const Attr* a = find(name);
  if (a != nullptr && std::holds_alternative<Ints>(*a) && std::get<Ints>(*a).empty()) return {};
  const auto* v = get<Strings>(*this, name, "a list of strings");
  return v ? *v : Strings{};
}

const Tensor* Attrs::tensor(std::string_view name) const { return get<Tensor>(*this, name, "a tensor"); }

GraphPtr Attrs::graph(std::string_view name) const {
  const auto* v = get<GraphPtr>(*this, name, "a graph");
  return v ? *v : nullptr;
}

bool operator==(const Attrs& a, const Attrs& b) {
  if (a.items().size() != b.items().size()) return false;
  for (size_t i = 0; i < a.items().size(); ++i) {
    const auto& [name, x] = a.items()[i];
    const Attr& y = b.items()[i].second;
    if (name != b.items()[i].first || x.index() != y.index()) return false;
    bool same = std::visit(
        [&](const auto& v) {
          using T = std::decay_t<decltype(v)>;
          if constexpr (std::is_same_v<T, Tensor>) {
            return identical(v, std::get<T>(y));
          } else {
            return v == std::get<T>(y);
          }
        },
        x);
    if (!same) return false;
  }
  return true;
}

// --- building
// ----------------------------------------------------------------------------------------------------

OutputList::OutputList(std::vector<ValueId> values) : list_(std::move(values)) {
  for (ValueId v : list_) add(v, 1);
}

OutputList::OutputList(std::initializer_list<ValueId> values) : OutputList(std::vector<ValueId>(values)) {}

void OutputList::add(ValueId v, int by) {
  TENON_CHECK(v >= 0);
  auto at = static_cast<size_t>(v);
  if (at >= counts_.size()) counts_.resize(std::max(at + 1, counts_.size() * 2), 0);
  counts_[at] += by;
}

void OutputList::push_back(ValueId v) {
  add(v, 1);
  list_.push_back(v);
}

void OutputList::set(size_t i, ValueId v) {
  add(list_.at(i), -1);
  add(v, 1);
  list_[i] = v;
}

namespace {

bool ends_in_digit(const std::string& name) { return !name.empty() && name.back() >= '0' && name.back() <= '9'; }

}  // namespace

ValueId Graph::new_value(std::string name, Type type) {
  if (numbered_known_ && ends_in_digit(name)) numbered_.insert(name);
  Value v;
  v.name = std::move(name);
  v.type = std::move(type);
  values_.push_back(std::move(v));
  return static_cast<ValueId>(values_.size() - 1);
}

std::string Graph::fresh_name(std::string_view stem) {
  if (!numbered_known_) {
    for (const Value& v : values_) {
      if (ends_in_digit(v.name)) numbered_.insert(v.name);
    }
    numbered_known_ = true;
  }
  for (;;) {
    std::string name = std::string(stem) + "_" + std::to_string(next_name_++);
    if (!numbered_.contains(name)) return name;
  }
}

void Graph::rename(ValueId id, std::string name) {
  if (numbered_known_ && ends_in_digit(name)) numbered_.insert(name);
  value(id).name = std::move(name);
}

ValueId Graph::add_input(std::string name, Type type) {
  ValueId id = new_value(std::move(name), std::move(type));
  inputs.push_back(id);
  return id;
}

ValueId Graph::add_constant(Tensor value, std::string name) {
  Type type = Type::tensor(value);
  ValueId id = new_value(name.empty() ? fresh_name("c") : std::move(name), std::move(type));
  values_.back().constant = std::move(value);
  return id;
}

NodeId Graph::add_node(std::string op, std::vector<ValueId> ins, std::vector<std::string> outs, Attrs attrs,
                       std::string node_name) {
  auto id = static_cast<NodeId>(nodes_.size());
  Node n;
  n.id = id;
  n.op = std::move(op);
  n.name = std::move(node_name);
  n.inputs = std::move(ins);
  n.attrs = std::move(attrs);
  n.rank = id;
  for (size_t i = 0; i < n.inputs.size(); ++i) {
    if (n.inputs[i] != kNone) value(n.inputs[i]).uses.push_back({id, static_cast<int>(i)});
  }
  for (size_t i = 0; i < outs.size(); ++i) {
    ValueId v = new_value(outs[i].empty() ? fresh_name("v") : std::move(outs[i]), {});
    values_.back().producer = id;
    values_.back().output_index = static_cast<int>(i);
    n.outputs.push_back(v);
  }
  nodes_.push_back(std::move(n));
  ++live_;
  return id;
}

ValueId Graph::add(std::string op, std::vector<ValueId> ins, Attrs attrs, NodeId rank_of) {
  NodeId id = add_node(std::move(op), std::move(ins), {""}, std::move(attrs));
  if (rank_of != kNone) {
    node(id).rank = node(rank_of).rank;
    node(id).name = node(rank_of).name;
  }
  return node(id).outputs[0];
}

// --- editing
// -----------------------------------------------------------------------------------------------------

void Graph::remove_use(ValueId v, NodeId n, int index) {
  auto& uses = value(v).uses;
  // From the back: dead nodes go last first, and a value with many uses loses them one by one.
  auto at = std::find_if(uses.rbegin(), uses.rend(), [&](const Use& u) { return u.node == n && u.index == index; });
  TENON_CHECK(at != uses.rend());
  uses.erase(std::next(at).base());
}

void Graph::set_input(NodeId id, size_t index, ValueId v) {
  Node& n = node(id);
  TENON_CHECK(index < n.inputs.size());
  if (n.inputs[index] != kNone) remove_use(n.inputs[index], id, static_cast<int>(index));
  n.inputs[index] = v;
  if (v != kNone) value(v).uses.push_back({id, static_cast<int>(index)});
}

void Graph::add_input_to(NodeId id, ValueId v) {
  Node& n = node(id);
  n.inputs.push_back(v);
  if (v != kNone) value(v).uses.push_back({id, static_cast<int>(n.inputs.size() - 1)});
}

void Graph::drop_inputs_from(NodeId id, size_t first) {
  Node& n = node(id);
  for (size_t i = first; i < n.inputs.size(); ++i) {
    if (n.inputs[i] != kNone) remove_use(n.inputs[i], id, static_cast<int>(i));
  }
  if (first < n.inputs.size()) n.inputs.resize(first);
}

void Graph::replace_uses(ValueId from, ValueId to) {
  if (from == to) return;
  auto uses = std::move(value(from).uses);
  value(from).uses.clear();
  for (const Use& u : uses) {
    node(u.node).inputs[static_cast<size_t>(u.index)] = to;
    value(to).uses.push_back(u);
  }
  for (size_t i = 0; outputs.count(from) > 0 && i < outputs.size(); ++i) {
    if (outputs[i] != from) continue;
    outputs.set(i, to);
    // Callers find outputs by name: the new value takes it, unless it is an input or another output already.
    bool taken = outputs.count(to) > 1 || std::find(inputs.begin(), inputs.end(), to) != inputs.end();
    if (!taken) std::swap(value(to).name, value(from).name);
  }
}

void Graph::erase_node(NodeId id) {
  Node& n = node(id);
  if (!n.alive) return;
  for (ValueId out : n.outputs) TENON_CHECK(out == kNone || use_count(out) == 0);
  drop_inputs_from(id, 0);
  for (ValueId out : n.outputs) {
    if (out != kNone) value(out).producer = kNone;
  }
  n.alive = false;
  n.attrs = {};
  --live_;
}

int Graph::use_count(ValueId id) const noexcept { return static_cast<int>(value(id).uses.size()) + outputs.count(id); }

const Node* Graph::producer(ValueId id) const noexcept {
  if (id == kNone || value(id).producer == kNone) return nullptr;
  return &node(value(id).producer);
}

void Graph::make_constant(ValueId id, Tensor tensor) {
  Value& v = value(id);
  if (v.producer != kNone) {
    // The old output slot gets a value of its own that nobody uses, so the node can be erased.
    NodeId producer = v.producer;
    auto index = static_cast<size_t>(v.output_index);
    ValueId orphan = new_value(fresh_name("dead"), value(id).type);
    value(orphan).producer = producer;
    value(orphan).output_index = static_cast<int>(index);
    node(producer).outputs[index] = orphan;
  }
  Value& w = value(id);
  w.producer = kNone;
  w.type = Type::tensor(tensor);
  w.constant = std::move(tensor);
  w.content.reset();
}

// --- order, copies
// -----------------------------------------------------------------------------------------------

// Most graphs are in order already: then the slots as they are, if small ranks come first in them, are the answer.
bool Graph::in_order(std::vector<NodeId>& out) const {
  int64_t rank = std::numeric_limits<int64_t>::min();
  for (const Node& n : nodes_) {
    if (!n.alive) continue;
    if (n.rank < rank) return false;
    rank = n.rank;
    for (ValueId v : n.inputs) {
      if (v != kNone && value(v).producer >= n.id) return false;
    }
    out.push_back(n.id);
  }
  return true;
}

std::vector<NodeId> Graph::order() const {
  std::vector<NodeId> sorted;
  sorted.reserve(static_cast<size_t>(live_));
  if (in_order(sorted)) return sorted;
  using Entry = std::pair<int64_t, NodeId>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> ready;
  std::vector<int> missing(nodes_.size(), 0);
  for (const Node& n : nodes_) {
    if (!n.alive) continue;
    int count = 0;
    for (ValueId v : n.inputs) count += v != kNone && value(v).producer != kNone;
    missing[static_cast<size_t>(n.id)] = count;
    if (count == 0) ready.push({n.rank, n.id});
  }
  std::vector<NodeId> out;
  out.reserve(static_cast<size_t>(live_));
  while (!ready.empty()) {
    NodeId id = ready.top().second;
    ready.pop();
    out.push_back(id);
    for (ValueId v : node(id).outputs) {
      if (v == kNone) continue;
      for (const Use& u : value(v).uses) {
        if (--missing[static_cast<size_t>(u.node)] == 0) ready.push({node(u.node).rank, u.node});
      }
    }
  }
  if (static_cast<int>(out.size()) != live_) {
    for (const Node& n : nodes_) {
      if (n.alive && missing[static_cast<size_t>(n.id)] > 0) {
        fail(Code::kInvalidArgument, "the graph has a cycle through node '{}' ({})", n.name, n.op);
      }
    }
  }
  return out;
}

GraphPtr Graph::clone() const {
  auto out = std::make_shared<Graph>(*this);
  for (Node& n : out->nodes_) {
    std::vector<Attrs::Item> items = n.attrs.items();
    for (auto& [name, attr] : items) {
      if (auto* g = std::get_if<GraphPtr>(&attr); g != nullptr && *g) n.attrs.set(name, (*g)->clone());
    }
  }
  return out;
}

void Graph::compact() {
  std::vector<NodeId> sequence = order();
  std::vector<char> keep(values_.size(), 0);
  for (ValueId v : inputs) keep[static_cast<size_t>(v)] = 1;
  for (ValueId v : outputs) keep[static_cast<size_t>(v)] = 1;
  for (NodeId id : sequence) {
    for (ValueId v : node(id).inputs) {
      if (v != kNone) keep[static_cast<size_t>(v)] = 1;
    }
    for (ValueId v : node(id).outputs) {
      if (v != kNone) keep[static_cast<size_t>(v)] = 1;
    }
  }
  std::vector<ValueId> value_map(values_.size(), kNone);
  std::vector<Value> new_values;
  for (size_t i = 0; i < values_.size(); ++i) {
    if (!keep[i]) continue;
    value_map[i] = static_cast<ValueId>(new_values.size());
    new_values.push_back(std::move(values_[i]));
    new_values.back().uses.clear();
  }
  auto moved = [&](ValueId v) { return v == kNone ? kNone : value_map[static_cast<size_t>(v)]; };
  std::vector<Node> new_nodes;
  for (NodeId id : sequence) {
    Node n = std::move(node(id));
    n.id = static_cast<NodeId>(new_nodes.size());
    n.rank = n.id;
    for (ValueId& v : n.inputs) v = moved(v);
    for (ValueId& v : n.outputs) v = moved(v);
    for (size_t i = 0; i < n.inputs.size(); ++i) {
      if (n.inputs[i] != kNone)
        new_values[static_cast<size_t>(n.inputs[i])].uses.push_back({n.id, static_cast<int>(i)});
    }
    for (size_t i = 0; i < n.outputs.size(); ++i) {
      if (n.outputs[i] == kNone) continue;
      new_values[static_cast<size_t>(n.outputs[i])].producer = n.id;
      new_values[static_cast<size_t>(n.outputs[i])].output_index = static_cast<int>(i);
    }
    new_nodes.push_back(std::move(n));
  }
  for (ValueId& v : inputs) v = moved(v);
  std::vector<ValueId> new_outputs = outputs;
  for (ValueId& v : new_outputs) v = moved(v);
  outputs = OutputList(std::move(new_outputs));
  nodes_ = std::move(new_nodes);
  values_ = std::move(new_values);
  live_ = static_cast<int>(nodes_.size());
}

}  // namespace tenon
