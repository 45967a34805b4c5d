// Rewrite rules in graph text: where a pattern occurs and its guards hold, a replacement takes its place. A rule file
// is
//
//   form Squared                                 # several spellings of one thing, usable as an op in patterns
//   (x) => (y) { y = Pow(x, 2.0) }
//   or
//   (x) => (y) { y = Mul(x, x) }
//   (further inputs of a form that a use leaves out are any values)
//
//   rule rms                                     # what people read in messages
//   (x, e, s) => (y) { v = Add(Mean(x), e) ... }   # (statements as in graph text, one op each)
//   becomes
//   (x, s) => (y) { y = RMSNormalization<axis=$axis, epsilon=$e>(x, s) }
//   where number(e), trailing(x, axes)
//
// `rule`, `form`, `or`, `becomes` and `where` stand at the beginning of a line. What matches:
// - a name of the pattern's header: any value, the same for the same name. Interior values may have no reader outside
// the
//   match, unless they are listed as further outputs behind those that the replacement makes: these stay as they are;
// - a type in front of a name: the element type (`undefined`: any), the rank, the numbers; a symbol stands for any
//   dimension, the same for the same symbol;
// - a bare number: a constant of one element with about this value (2e-5 relative; half floats 1e-3);
// - an op with the same attributes. `name=$a` takes the attribute's value (or its absence) under that name, `$_` does
// not
//   care; attributes that the pattern does not mention must be absent. Commutative ops match both ways round.
// Guards get names of values or attributes; they may set attributes (`$axis`) and bind new constants. Built in:
// number(v) (a constant of one element, kept as `$v`), constant(v), rank(v, n), same_type(a, b), absent_or(attribute,
// integer).
//
// The replacement's results must have the types of what they replace, or nothing happens. Matching starts at the first
// output's node and is indexed by its op, so a pass over a graph is linear in its nodes. Rule sets are immutable.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "graph/op.hpp"

namespace tenon {

/// An occurrence of a pattern. Names are those of the rule's text.
class Match {
 public:
  explicit Match(Graph& g) : graph(g) {}
  Graph& graph;

  ValueId value(std::string_view name) const;  ///< internal error when the rule has no such name
  const Type& type(std::string_view name) const { return graph.value(value(name)).type; }
  const Tensor* constant(std::string_view name) const;  ///< null when it is none
  const Attr* attr(std::string_view name) const;        ///< null when absent
  const Dim* dim(std::string_view symbol) const;        ///< what a symbol of the pattern's types stands for
  void set(std::string_view name, Attr value) { attrs.insert_or_assign(std::string(name), std::move(value)); }
  void bind(std::string_view name, ValueId value) { values.insert_or_assign(std::string(name), value); }

  std::map<std::string, ValueId, std::less<>> values;
  std::map<std::string, Attr, std::less<>> attrs;
  std::map<std::string, Dim, std::less<>> dims;
};

struct Guard {
  std::string_view name;
  bool (*holds)(Match& match, std::span<const std::string> arguments);
};

class RuleSet {
 public:
  /// Parses a rule file; errors name the rule. `guards` are known besides the built-in ones.
  RuleSet(std::string_view text, std::span<const Guard> guards, const OpTable& ops);
  ~RuleSet();
  RuleSet(const RuleSet&) = delete;
  RuleSet& operator=(const RuleSet&) = delete;

  /// Applies the rules, in their order at each node, until none matches. Types must be inferred; those of new nodes
  /// are.
  bool apply(Graph& graph, const OpTable& ops) const;
  std::vector<std::string> names() const;

 private:
  struct Rule;
  struct Pattern;
  bool apply_at(Graph& graph, NodeId root, const OpTable& ops) const;
  std::vector<std::unique_ptr<Rule>> rules_;
  std::map<std::string, std::vector<const Pattern*>, std::less<>> by_root_;
};

/// Puts the nodes of `body` into `graph`: inputs and attributes by name ("$a" in an attribute, or in place of a scalar
/// constant's value). New nodes take the rank and name of `like`. Returns the values of the body's outputs.
std::vector<ValueId> instantiate(Graph& graph, const Graph& body, const Match& names, NodeId like, const OpTable& ops,
                                 std::vector<NodeId>* made = nullptr);

}  // namespace tenon
