// Graph: values in single assignment and the nodes that make them. Nodes and values have stable integer ids;
// the graph owns them, handles do not. Sub-graphs (branches and loop bodies) are attributes; they are closed:
// what ONNX captures by name is an explicit further input of the control-flow node and of its bodies. A Graph
// knows no op by name. Not thread-safe for writing; constants are shared and never written.
#pragma once

#include <initializer_list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include "graph/type.hpp"

namespace tenon {

class Graph;
using ValueId = int32_t;
using NodeId = int32_t;
inline constexpr int32_t kNone = -1;

using Ints = std::vector<int64_t>;
using Floats = std::vector<double>;
using Strings = std::vector<std::string>;
using GraphPtr = std::shared_ptr<Graph>;
using Attr = std::variant<int64_t, double, std::string, Tensor, Ints, Floats, Strings, GraphPtr>;

/// Attributes by name, sorted, so that two equal sets print the same.
class Attrs {
 public:
  using Item = std::pair<std::string, Attr>;
  const Attr* find(std::string_view name) const noexcept;
  bool has(std::string_view name) const noexcept { return find(name) != nullptr; }
  void set(std::string name, Attr value);
  void erase(std::string_view name);
  const std::vector<Item>& items() const noexcept { return items_; }
  bool empty() const noexcept { return items_.empty(); }

  /// The value or the default; an error that names the attribute when it is of another kind.
  int64_t integer(std::string_view name, int64_t otherwise) const;
  double number(std::string_view name, double otherwise) const;  ///< an integer is taken as a number
  std::string string(std::string_view name, std::string_view otherwise) const;
  Ints ints(std::string_view name, Ints otherwise = {}) const;
  Floats numbers(std::string_view name, Floats otherwise = {}) const;
  Strings strings(std::string_view name) const;
  const Tensor* tensor(std::string_view name) const;
  GraphPtr graph(std::string_view name) const;  ///< null when absent

 private:
  std::vector<Item> items_;
};

bool operator==(const Attrs& a, const Attrs& b);  ///< sub-graphs compare by identity, tensors bit by bit

struct Use {
  NodeId node;
  int index;
};

struct Value {
  std::string name;
  Type type;
  NodeId producer = kNone;  ///< kNone for graph inputs and constants
  int output_index = 0;
  Tensor constant;                          ///< defined for constants
  std::optional<std::vector<Dim>> content;  ///< symbolic contents of a small integer tensor, when known
  std::vector<Use> uses;
  bool is_constant() const noexcept { return constant.defined(); }
};

struct Node {
  NodeId id = kNone;
  std::string op;  ///< as in ONNX; other domains are spelt out: "com.microsoft.QLinearAdd"
  std::string name;
  std::vector<ValueId> inputs;  ///< kNone for an optional input left out
  std::vector<ValueId> outputs;
  Attrs attrs;
  int64_t rank = 0;  ///< place in the program; order() prefers small ones
  bool alive = true;

  ValueId in(size_t i) const noexcept { return i < inputs.size() ? inputs[i] : kNone; }
  bool has(size_t i) const noexcept { return in(i) != kNone; }
};

/// What a graph gives out, in order: a list that knows how often each value is in it without looking through it.
class OutputList {
 public:
  OutputList() = default;
  OutputList(std::vector<ValueId> values);            // NOLINT(google-explicit-constructor): a list is a list
  OutputList(std::initializer_list<ValueId> values);  // NOLINT(google-explicit-constructor)

  size_t size() const noexcept { return list_.size(); }
  bool empty() const noexcept { return list_.empty(); }
  ValueId operator[](size_t i) const { return list_[i]; }
  ValueId front() const { return list_.front(); }
  ValueId back() const { return list_.back(); }
  auto begin() const noexcept { return list_.begin(); }
  auto end() const noexcept { return list_.end(); }
  operator const std::vector<ValueId>&() const noexcept { return list_; }  // NOLINT(google-explicit-constructor)
  int count(ValueId v) const noexcept {
    return v >= 0 && static_cast<size_t>(v) < counts_.size() ? counts_[static_cast<size_t>(v)] : 0;
  }

  void push_back(ValueId v);
  void set(size_t i, ValueId v);

 private:
  void add(ValueId v, int by);

  std::vector<ValueId> list_;
  std::vector<int> counts_;  // by value
};

class Graph {
 public:
  std::string name = "main";
  std::vector<ValueId> inputs;
  OutputList outputs;
  std::map<std::string, std::string> metadata;  ///< ONNX metadata_props, and "producer", "opset", ...

  ValueId add_input(std::string name, Type type);
  ValueId add_constant(Tensor value, std::string name = "");
  /// Adds a node whose outputs are new values with the given names ("" lets the graph choose) and unknown
  /// types.
  NodeId add_node(std::string op, std::vector<ValueId> inputs, std::vector<std::string> outputs, Attrs attrs = {},
                  std::string name = "");
  /// As add_node with one output, which is returned. `rank_of`: take the place of that node.
  ValueId add(std::string op, std::vector<ValueId> inputs, Attrs attrs = {}, NodeId rank_of = kNone);

  Node& node(NodeId id) { return nodes_[static_cast<size_t>(id)]; }
  const Node& node(NodeId id) const { return nodes_[static_cast<size_t>(id)]; }
  Value& value(ValueId id) { return values_[static_cast<size_t>(id)]; }
  const Value& value(ValueId id) const { return values_[static_cast<size_t>(id)]; }
  int value_count() const noexcept { return static_cast<int>(values_.size()); }
  int node_slots() const noexcept { return static_cast<int>(nodes_.size()); }  ///< live and dead
  int node_count() const noexcept { return live_; }

  void set_input(NodeId node, size_t index, ValueId value);
  void add_input_to(NodeId node, ValueId value);
  void drop_inputs_from(NodeId node, size_t first);  ///< removes the inputs from index `first` on
  /// Every use of `from`, graph outputs included, becomes a use of `to`. A graph output keeps its name.
  void replace_uses(ValueId from, ValueId to);
  void erase_node(NodeId id);  ///< its outputs must have no uses left
  bool is_output(ValueId id) const noexcept { return outputs.count(id) > 0; }
  /// Uses by nodes plus uses as a graph output.
  int use_count(ValueId id) const noexcept;
  /// The live producer of a value or null.
  const Node* producer(ValueId id) const noexcept;

  /// Live nodes so that every node comes after its inputs' producers, small ranks first. Throws on a cycle.
  std::vector<NodeId> order() const;
  /// Makes a constant of a value that a node produced (the node stays until it is dead).
  void make_constant(ValueId id, Tensor value);
  /// A value name that is not in use yet, beginning with `stem`. Rename values through rename(), so that this holds.
  std::string fresh_name(std::string_view stem);
  void rename(ValueId id, std::string name);

  /// A copy that owns its nodes; constants are shared, sub-graphs are copied too.
  GraphPtr clone() const;
  /// Drops dead nodes and unreachable values and renumbers everything in order.
  void compact();

 private:
  ValueId new_value(std::string name, Type type);
  void remove_use(ValueId value, NodeId node, int index);
  bool in_order(std::vector<NodeId>& out) const;

  std::vector<Node> nodes_;
  std::vector<Value> values_;
  int live_ = 0;
  int64_t next_name_ = 0;
  // Names that a fresh one might be: those that end in a digit. Filled when the first fresh name is asked for.
  std::unordered_set<std::string> numbered_;
  bool numbered_known_ = false;
};

}  // namespace tenon
