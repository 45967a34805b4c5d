#include "graph/rewrite.hpp"

#include <algorithm>
#include <cmath>

#include "base/error.hpp"
#include "graph/rewrite_rules.hpp"
#include "graph/text.hpp"

namespace tenon {
namespace {

// Hostile graphs must not make commutative ops blow up; real occurrences take a few dozen steps.
constexpr int kMaxSteps = 20000;
constexpr int kSweeps = 16;

bool about(double have, double want, DType type) {
  double tolerance = type == DType::kFloat16 || type == DType::kBFloat16 ? 1e-3 : 2e-5;
  return have == want || std::abs(have - want) <= tolerance * std::abs(want);
}

bool is_number(const Value& v, const Tensor& want) {
  if (!v.is_constant() || v.constant.dtype() == DType::kString) return false;
  const Tensor& t = v.constant;
  if (want.size() == 1) return t.size() == 1 && about(t.at(0), want.at(0), t.dtype());
  if (t.size() != want.size()) return false;
  for (int64_t i = 0; i < t.size(); ++i) {
    if (!about(t.at(i), want.at(i), t.dtype())) return false;
  }
  return true;
}

bool same_attr(const Attr& a, const Attr& b) {
  Attrs x, y;
  x.set("a", a);
  y.set("a", b);
  return x == y;
}

// One attempt to find a pattern that ends in a node.
class Matcher {
 public:
  Matcher(Graph& g, const Graph& pattern, const OpTable& ops, const std::function<bool(Match&)>& accept)
      : g_(g), p_(pattern), ops_(ops), accept_(accept) {
    state_.values.assign(static_cast<size_t>(p_.value_count()), kUnbound);
    state_.nodes.assign(static_cast<size_t>(p_.node_slots()), kNone);
  }

  bool at(ValueId pattern_root, ValueId root) {
    state_.goals.push_back({pattern_root, root});
    return solve();
  }
  const std::vector<NodeId>& nodes() const { return state_.nodes; }

 private:
  static constexpr ValueId kUnbound = -2;
  struct Goal {
    ValueId pattern, value;
  };
  struct State {
    std::vector<ValueId> values;
    std::vector<NodeId> nodes;
    std::vector<Goal> goals;
    std::map<std::string, Attr, std::less<>> attrs;
    std::map<std::string, Dim, std::less<>> dims;
  };

  bool solve() {
    while (!state_.goals.empty()) {
      if (++steps_ > kMaxSteps) return false;
      Goal goal = state_.goals.back();
      state_.goals.pop_back();
      if (goal.pattern == kNone || goal.value == kNone) {
        if (goal.pattern != goal.value) return false;
        continue;
      }
      ValueId& bound = state_.values[static_cast<size_t>(goal.pattern)];
      if (bound != kUnbound) {
        if (bound != goal.value) return false;
        continue;
      }
      bound = goal.value;
      const Value& want = p_.value(goal.pattern);
      if (want.is_constant()) {
        if (!is_number(g_.value(goal.value), want.constant)) return false;
        continue;
      }
      if (!fits_type(want.type, g_.value(goal.value).type)) return false;
      if (want.producer == kNone) continue;
      std::optional<bool> decided = enter(want, goal.value);
      if (decided) return *decided;
    }
    return complete();
  }

  // Matches the node that makes a value. Nothing: go on with the goals; else the answer for everything.
  std::optional<bool> enter(const Value& want, ValueId value) {
    const Node& pn = p_.node(want.producer);
    const Node* n = g_.producer(value);
    if (n == nullptr || n->op != pn.op || g_.value(value).output_index != want.output_index) return false;
    NodeId& bound = state_.nodes[static_cast<size_t>(pn.id)];
    if (bound != kNone) {
      if (bound != n->id) return false;
      return std::nullopt;
    }
    bound = n->id;
    if (!fits_attrs(pn, *n)) return false;
    size_t count = std::max(pn.inputs.size(), n->inputs.size());
    for (size_t i = count; i-- > 2;) state_.goals.push_back({pn.in(i), n->in(i)});
    const Op* op = ops_.find(n->op);
    ValueId first = n->in(0), second = n->in(1);  // a failed try may have moved the nodes
    if (op != nullptr && op->commutative && count >= 2 && pn.in(0) != pn.in(1)) {
      bool straight = plausible(pn.in(0), first) && plausible(pn.in(1), second);
      bool crossed = plausible(pn.in(0), second) && plausible(pn.in(1), first);
      if (!straight && !crossed) return false;
      if (straight && crossed && first != second) {
        State before = state_;
        state_.goals.push_back({pn.in(1), second});
        state_.goals.push_back({pn.in(0), first});
        if (solve()) return true;
        state_ = std::move(before);
        straight = false;
      }
      state_.goals.push_back({pn.in(1), straight ? second : first});
      state_.goals.push_back({pn.in(0), straight ? first : second});
      return std::nullopt;
    }
    for (size_t i = std::min<size_t>(2, count); i-- > 0;) state_.goals.push_back({pn.in(i), n->in(i)});
    return std::nullopt;
  }

  // A quick look at one level, so that commutative ops rarely need a second try.
  bool plausible(ValueId pattern, ValueId value) const {
    if (pattern == kNone || value == kNone) return pattern == value;
    ValueId bound = state_.values[static_cast<size_t>(pattern)];
    if (bound != kUnbound) return bound == value;
    const Value& want = p_.value(pattern);
    if (want.is_constant()) return g_.value(value).is_constant() && is_number(g_.value(value), want.constant);
    if (want.producer == kNone) return true;
    const Node* n = g_.producer(value);
    return n != nullptr && n->op == p_.node(want.producer).op;
  }

  bool fits_attrs(const Node& pn, const Node& n) {
    for (const auto& [name, attr] : n.attrs.items()) {
      if (!pn.attrs.has(name)) return false;
    }
    for (const auto& [name, want] : pn.attrs.items()) {
      const Attr* have = n.attrs.find(name);
      const auto* variable = std::get_if<std::string>(&want);
      if (variable == nullptr || !variable->starts_with('$')) {
        if (have == nullptr || !same_attr(*have, want)) return false;
        continue;
      }
      std::string key = variable->substr(1);
      if (key == "_" || have == nullptr) continue;
      auto [at, fresh] = state_.attrs.emplace(key, *have);
      if (!fresh && !same_attr(at->second, *have)) return false;
    }
    return true;
  }

  bool fits_type(const Type& want, const Type& have) {
    if (!want.is_tensor()) return true;
    if (!have.is_tensor() || (want.dtype != DType::kUndefined && want.dtype != have.dtype)) return false;
    if (!want.shape) return true;
    if (!have.shape || have.shape->size() != want.shape->size()) return false;
    for (size_t i = 0; i < want.shape->size(); ++i) {
      const Dim &w = (*want.shape)[i], &h = (*have.shape)[i];
      if (!w.is_symbol()) {
        if (!(w == h)) return false;
        continue;
      }
      auto [at, fresh] = state_.dims.emplace(w.text(), h);
      if (!fresh && !(at->second == h)) return false;
    }
    return true;
  }

  // Interior values have no reader outside the match, and no name that a caller knows.
  bool closed() const {
    for (NodeId id = 0; id < p_.node_slots(); ++id) {
      for (ValueId v : p_.node(id).outputs) {
        ValueId bound = state_.values[static_cast<size_t>(v)];
        if (bound < 0 || std::find(p_.outputs.begin(), p_.outputs.end(), v) != p_.outputs.end()) continue;
        const auto& uses = g_.value(bound).uses;
        if (uses.size() > 16 || g_.is_output(bound)) return false;
        bool inside = std::all_of(uses.begin(), uses.end(), [&](const Use& u) {
          return std::find(state_.nodes.begin(), state_.nodes.end(), u.node) != state_.nodes.end();
        });
        if (!inside) return false;
      }
    }
    return true;
  }

  bool complete() {
    if (!closed()) return false;
    Match match(g_);
    for (int v = 0; v < p_.value_count(); ++v) {
      ValueId bound = state_.values[static_cast<size_t>(v)];
      if (bound >= 0) match.values.emplace(p_.value(v).name, bound);
    }
    match.attrs = state_.attrs;
    match.dims = state_.dims;
    return accept_(match);
  }

  Graph& g_;
  const Graph& p_;
  const OpTable& ops_;
  const std::function<bool(Match&)>& accept_;
  State state_;
  int steps_ = 0;
};

// The new value may stand for the old one: nothing that was known is contradicted.
bool compatible(const Type& made, const Type& old) {
  if (!made.is_tensor() || !old.is_tensor() || made.dtype != old.dtype) return false;
  if (!old.shape) return true;
  if (!made.shape || made.shape->size() != old.shape->size()) return false;
  for (size_t i = 0; i < old.shape->size(); ++i) {
    const Dim &a = (*made.shape)[i], &b = (*old.shape)[i];
    if (a.is_const() && b.is_const() && !(a == b)) return false;
  }
  return true;
}

void erase_unused(Graph& g, const std::vector<NodeId>& nodes) {
  for (bool again = true; again;) {
    again = false;
    for (NodeId id : nodes) {
      if (id == kNone || !g.node(id).alive) continue;
      const auto& outs = g.node(id).outputs;
      bool used = std::any_of(outs.begin(), outs.end(), [&](ValueId v) { return v != kNone && g.use_count(v) > 0; });
      if (used) continue;
      g.erase_node(id);
      again = true;
    }
  }
}

// Puts the replacement there; false, with everything as before, when its types do not fit.
bool replace(Match& m, const Graph& pattern, const Graph& replacement, NodeId root, const OpTable& ops) {
  Graph& g = m.graph;
  std::vector<NodeId> made;
  std::vector<ValueId> results = instantiate(g, replacement, m, root, ops, &made);
  bool fits = true;
  for (size_t i = 0; i < results.size() && fits; ++i) {
    ValueId old = m.value(pattern.value(pattern.outputs[i]).name);
    fits = compatible(g.value(results[i]).type, g.value(old).type);
    // An output needs a node of its own to be made by.
    if (g.is_output(old) && (g.producer(results[i]) == nullptr || g.is_output(results[i]))) fits = false;
  }
  if (!fits) {
    std::reverse(made.begin(), made.end());
    erase_unused(g, made);
    return false;
  }
  for (size_t i = 0; i < results.size(); ++i) {
    g.replace_uses(m.value(pattern.value(pattern.outputs[i]).name), results[i]);
  }
  return true;
}

Attr substituted(const Attr& attr, const Match& m, bool& absent) {
  const auto* variable = std::get_if<std::string>(&attr);
  absent = false;
  if (variable == nullptr || !variable->starts_with('$')) return attr;
  const Attr* value = m.attr(variable->substr(1));
  absent = value == nullptr;
  return absent ? attr : *value;
}

// Attr<value=$name, otherwise=1.5>(): a number in the type of the body's first input; integers and their lists are
// int64.
ValueId attribute_value(Graph& g, const Graph& body, const Node& n, const Match& names) {
  bool absent;
  const Attr* value = n.attrs.find("value");
  TENON_CHECK(value != nullptr);
  Attr attr = substituted(*value, names, absent);
  if (absent) {
    const Attr* otherwise = n.attrs.find("otherwise");
    TENON_CHECK(otherwise != nullptr);
    attr = *otherwise;
  }
  if (const auto* i = std::get_if<int64_t>(&attr)) return g.add_constant(Tensor::scalar(*i));
  if (const auto* list = std::get_if<Ints>(&attr)) {
    Tensor t = Tensor::allocate(DType::kInt64, {static_cast<int64_t>(list->size())});
    for (size_t k = 0; k < list->size(); ++k) t.set_int(static_cast<int64_t>(k), (*list)[k]);
    return g.add_constant(std::move(t));
  }
  const auto* number = std::get_if<double>(&attr);
  TENON_CHECK(number != nullptr);
  DType type = body.inputs.empty() ? DType::kFloat32 : names.type(body.value(body.inputs[0]).name).dtype;
  Tensor t = Tensor::allocate(is_floating(type) ? type : DType::kFloat32, {});
  t.set(0, *number);
  return g.add_constant(std::move(t));
}

}  // namespace

ValueId Match::value(std::string_view name) const {
  auto at = values.find(name);
  if (at == values.end()) fail(Code::kInternal, "a rewrite rule asks for a value '{}' that its pattern lacks", name);
  return at->second;
}

const Tensor* Match::constant(std::string_view name) const {
  const Value& v = graph.value(value(name));
  return v.is_constant() ? &v.constant : nullptr;
}

const Attr* Match::attr(std::string_view name) const {
  auto at = attrs.find(name);
  return at == attrs.end() ? nullptr : &at->second;
}

const Dim* Match::dim(std::string_view symbol) const {
  auto at = dims.find(symbol);
  return at == dims.end() ? nullptr : &at->second;
}

std::vector<ValueId> instantiate(Graph& g, const Graph& body, const Match& names, NodeId like, const OpTable& ops,
                                 std::vector<NodeId>* made) {
  std::map<ValueId, ValueId> map;
  for (ValueId v : body.inputs) map[v] = names.value(body.value(v).name);
  auto moved = [&](ValueId v) {
    if (v == kNone) return kNone;
    auto at = map.find(v);
    if (at != map.end()) return at->second;
    return map[v] = g.add_constant(body.value(v).constant);
  };
  for (NodeId id : body.order()) {
    const Node& n = body.node(id);
    if (n.op == "Attr") {
      map[n.outputs[0]] = attribute_value(g, body, n, names);
      continue;
    }
    std::vector<ValueId> inputs;
    for (ValueId v : n.inputs) inputs.push_back(moved(v));
    while (!inputs.empty() && inputs.back() == kNone) inputs.pop_back();
    Attrs attrs;
    for (const auto& [name, attr] : n.attrs.items()) {
      bool absent;
      Attr value = substituted(attr, names, absent);
      if (!absent) attrs.set(name, std::move(value));
    }
    NodeId copy = g.add_node(n.op, std::move(inputs), std::vector<std::string>(n.outputs.size()), std::move(attrs),
                             g.node(like).name);
    g.node(copy).rank = g.node(like).rank;
    for (size_t i = 0; i < n.outputs.size(); ++i) map[n.outputs[i]] = g.node(copy).outputs[i];
    infer_node(g, copy, ops);
    if (made != nullptr) made->push_back(copy);
  }
  std::vector<ValueId> out;
  for (ValueId v : body.outputs) out.push_back(moved(v));
  return out;
}

RuleSet::~RuleSet() = default;

RuleSet::RuleSet(std::string_view text, std::span<const Guard> guards, const OpTable& ops) {
  Forms forms;
  for (const RuleText& block : read_rules(text)) {
    try {
      std::vector<GraphPtr> spellings;
      for (const std::string& p : block.patterns) {
        for (GraphPtr& g : expand_forms(parse_graph(p), forms)) spellings.push_back(std::move(g));
      }
      if (block.form) {
        forms[block.name] = std::move(spellings);
        continue;
      }
      auto rule = std::make_unique<Rule>();
      rule->name = block.name;
      rule->replacement = parse_graph(block.becomes);
      rule->guards = read_guards(block.where, guards);
      for (GraphPtr& g : spellings) {
        expect(g->outputs.size() >= rule->replacement->outputs.size(), "it makes more values than it replaces");
        const Node* root = g->outputs.empty() ? nullptr : g->producer(g->outputs[0]);
        expect(root != nullptr, "its pattern has no node");
        for (NodeId id : g->order()) ops.at(g->node(id).op);
        for (NodeId id : rule->replacement->order()) ops.at(rule->replacement->node(id).op);
        NodeId at = root->id;
        rule->patterns.push_back({rule.get(), std::move(g), at});
      }
      rules_.push_back(std::move(rule));
    } catch (Error& e) {
      throw e.note(fmt::format("in rule {}", block.name));
    }
  }
  for (const auto& rule : rules_) {
    for (const Pattern& p : rule->patterns) by_root_[p.graph->node(p.root).op].push_back(&p);
  }
}

bool RuleSet::apply_at(Graph& g, NodeId id, const OpTable& ops) const {
  auto found = by_root_.find(g.node(id).op);
  if (found == by_root_.end()) return false;
  for (const Pattern* p : found->second) {
    ValueId result = p->graph->outputs[0];
    auto index = static_cast<size_t>(p->graph->value(result).output_index);
    if (index >= g.node(id).outputs.size() || g.node(id).outputs[index] == kNone) continue;
    if (g.use_count(g.node(id).outputs[index]) == 0) continue;
    std::function<bool(Match&)> accept = [&](Match& m) {
      for (const GuardCall& guard : p->rule->guards) {
        if (!guard.holds(m, guard.arguments)) return false;
      }
      return replace(m, *p->graph, *p->rule->replacement, id, ops);
    };
    Matcher matcher(g, *p->graph, ops, accept);
    if (!matcher.at(result, g.node(id).outputs[index])) continue;
    erase_unused(g, matcher.nodes());
    return true;
  }
  return false;
}

bool RuleSet::apply(Graph& g, const OpTable& ops) const {
  bool changed = false;
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    bool again = false;
    for (NodeId id : g.order()) {
      if (g.node(id).alive) again |= apply_at(g, id, ops);
    }
    changed |= again;
    if (!again) break;
  }
  return changed;
}

std::vector<std::string> RuleSet::names() const {
  std::vector<std::string> out;
  for (const auto& r : rules_) out.push_back(r->name);
  return out;
}

}  // namespace tenon
