// Reading rule files: blocks, forms, guards.
#include "graph/rewrite_rules.hpp"

#include <cmath>

#include "base/error.hpp"
#include "graph/text.hpp"

namespace tenon {
namespace {

constexpr size_t kMaxSpellings = 512;

std::string_view trimmed(std::string_view s) {
  while (!s.empty() && std::isspace(static_cast<unsigned char>(s.front()))) s.remove_prefix(1);
  while (!s.empty() && std::isspace(static_cast<unsigned char>(s.back()))) s.remove_suffix(1);
  return s;
}

// A copy of `pattern` with `node`, which names a form, replaced by one spelling of it.
GraphPtr with_spelling(const Graph& pattern, NodeId form, const Graph& spelling) {
  auto out = std::make_shared<Graph>();
  out->name = pattern.name;
  std::map<ValueId, ValueId> map;
  auto moved = [&](const Graph& from, std::map<ValueId, ValueId>& known, ValueId v) {
    if (v == kNone) return kNone;
    auto at = known.find(v);
    if (at != known.end()) return at->second;
    TENON_CHECK(from.value(v).is_constant());
    return known[v] = out->add_constant(from.value(v).constant, from.value(v).name);
  };
  auto copy_node = [&](const Graph& from, std::map<ValueId, ValueId>& known, const Node& n, std::string_view prefix) {
    std::vector<ValueId> inputs;
    for (ValueId v : n.inputs) inputs.push_back(moved(from, known, v));
    std::vector<std::string> names;
    for (ValueId v : n.outputs) names.push_back(std::string(prefix) + from.value(v).name);
    NodeId copy = out->add_node(n.op, std::move(inputs), std::move(names), n.attrs);
    for (size_t i = 0; i < n.outputs.size(); ++i) {
      known[n.outputs[i]] = out->node(copy).outputs[i];
      out->value(out->node(copy).outputs[i]).type = from.value(n.outputs[i]).type;
    }
  };
  for (ValueId v : pattern.inputs) map[v] = out->add_input(pattern.value(v).name, pattern.value(v).type);
  for (NodeId id : pattern.order()) {
    const Node& n = pattern.node(id);
    if (id != form) {
      copy_node(pattern, map, n, "");
      continue;
    }
    expect(n.inputs.size() <= spelling.inputs.size() && n.outputs.size() == spelling.outputs.size(),
           "form {} takes {} inputs and gives {} outputs", n.op, spelling.inputs.size(), spelling.outputs.size());
    std::map<ValueId, ValueId> inner;
    std::string result = pattern.value(n.outputs[0]).name;
    for (size_t i = 0; i < spelling.inputs.size(); ++i) {
      const Value& in = spelling.value(spelling.inputs[i]);
      inner[spelling.inputs[i]] =
          i < n.inputs.size() ? moved(pattern, map, n.inputs[i]) : out->add_input(result + "." + in.name, in.type);
    }
    for (NodeId k : spelling.order()) copy_node(spelling, inner, spelling.node(k), result + ".");
    for (size_t i = 0; i < n.outputs.size(); ++i) {
      ValueId v = moved(spelling, inner, spelling.outputs[i]);
      map[n.outputs[i]] = v;
      bool own = out->value(v).producer != kNone && spelling.value(spelling.outputs[i]).producer != kNone;
      if (!own) continue;
      out->value(v).name = pattern.value(n.outputs[i]).name;
      if (pattern.value(n.outputs[i]).type.is_tensor()) out->value(v).type = pattern.value(n.outputs[i]).type;
    }
  }
  for (ValueId v : pattern.outputs) out->outputs.push_back(moved(pattern, map, v));
  return out;
}

// --- guards that every rule may use ---

bool holds_number(Match& m, std::span<const std::string> a) {
  const Tensor* t = m.constant(a[0]);
  if (t == nullptr || t->size() != 1 || t->dtype() == DType::kString) return false;
  m.set(a[0], t->at(0));
  return std::isfinite(t->at(0));
}

bool holds_constant(Match& m, std::span<const std::string> a) { return m.constant(a[0]) != nullptr; }

bool holds_rank(Match& m, std::span<const std::string> a) {
  return m.type(a[0]).is_tensor() && std::to_string(m.type(a[0]).rank()) == a[1];
}

bool holds_same_type(Match& m, std::span<const std::string> a) {
  return m.type(a[0]).is_tensor() && m.type(a[0]).shape && m.type(a[0]) == m.type(a[1]);
}

bool holds_absent_or(Match& m, std::span<const std::string> a) {
  const Attr* attr = m.attr(a[0]);
  const auto* i = attr == nullptr ? nullptr : std::get_if<int64_t>(attr);
  return attr == nullptr || (i != nullptr && std::to_string(*i) == a[1]);
}

struct BuiltIn {
  Guard guard;
  size_t arguments;
};
constexpr BuiltIn kBuiltIn[] = {
    {{"number", holds_number}, 1},       {{"constant", holds_constant}, 1},   {{"rank", holds_rank}, 2},
    {{"same_type", holds_same_type}, 2}, {{"absent_or", holds_absent_or}, 2},
};

}  // namespace

std::vector<RuleText> read_rules(std::string_view text) {
  std::vector<RuleText> out;
  std::string* to = nullptr;
  size_t number = 0;
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    ++number;
    bool rule = line.starts_with("rule "), form = line.starts_with("form ");
    if (rule || form) {
      RuleText& r = out.emplace_back();
      r.form = form;
      r.name = trimmed(line.substr(5));
      to = &r.patterns.emplace_back();
      continue;
    }
    if (to == nullptr) {
      expect(trimmed(line).empty() || line.starts_with("#"), "line {}: a rule file begins with rule or form", number);
      continue;
    }
    RuleText& r = out.back();
    if (trimmed(line) == "or" && line.starts_with("or")) {
      to = &r.patterns.emplace_back();
    } else if (line.starts_with("becomes")) {
      to = &r.becomes;
      *to += line.substr(7);
    } else if (line.starts_with("where ")) {
      to = &r.where;
      *to += line.substr(6);
    } else {
      *to += std::string(line) + "\n";
    }
  }
  return out;
}

std::vector<GraphPtr> expand_forms(const GraphPtr& pattern, const Forms& forms) {
  std::vector<GraphPtr> done, open{pattern};
  while (!open.empty()) {
    GraphPtr g = open.back();
    open.pop_back();
    const std::vector<GraphPtr>* spellings = nullptr;
    NodeId at = kNone;
    for (NodeId id : g->order()) {
      auto found = forms.find(g->node(id).op);
      if (found == forms.end()) continue;
      spellings = &found->second;
      at = id;
      break;
    }
    if (spellings == nullptr) {
      done.push_back(g);
      continue;
    }
    for (size_t i = spellings->size(); i-- > 0;) open.push_back(with_spelling(*g, at, *(*spellings)[i]));
    expect(done.size() + open.size() <= kMaxSpellings, "the forms of a rule multiply to more than {} patterns",
           kMaxSpellings);
  }
  return done;
}

std::vector<GuardCall> read_guards(std::string_view where, std::span<const Guard> guards) {
  std::vector<GuardCall> out;
  while (!trimmed(where).empty()) {
    where = trimmed(where);
    if (where.front() == '#') {
      where.remove_prefix(std::min(where.size(), where.find('\n')));
      continue;
    }
    size_t open = where.find('('), close = where.find(')');
    expect(open != std::string_view::npos && close != std::string_view::npos && open < close,
           "a guard is written name(argument, ...), not '{}'", where);
    std::string_view name = trimmed(where.substr(0, open)), list = where.substr(open + 1, close - open - 1);
    GuardCall call{nullptr, {}};
    while (!trimmed(list).empty()) {
      std::string_view one = list.substr(0, list.find(','));
      call.arguments.emplace_back(trimmed(one));
      list.remove_prefix(std::min(list.size(), one.size() + 1));
    }
    for (const Guard& g : guards) {
      if (g.name == name) call.holds = g.holds;
    }
    for (const BuiltIn& b : kBuiltIn) {
      if (call.holds != nullptr || b.guard.name != name) continue;
      expect(call.arguments.size() == b.arguments, "guard {} takes {} arguments", name, b.arguments);
      call.holds = b.guard.holds;
    }
    expect(call.holds != nullptr, "there is no guard '{}'", name);
    out.push_back(std::move(call));
    where.remove_prefix(close + 1);
    where = trimmed(where);
    if (!where.empty() && where.front() == ',') where.remove_prefix(1);
  }
  return out;
}

}  // namespace tenon
