#include "graph/body.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "graph/rewrite.hpp"
#include "graph/text.hpp"

namespace tenon {
namespace {

std::vector<std::string> graphs_in(std::string_view text) {
  std::vector<std::string> out(1);
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (line == "or") {
      out.emplace_back();
    } else {
      out.back() += std::string(line) + "\n";
    }
  }
  return out;
}

bool mentions(const Graph& body, const std::string& attribute) {
  for (NodeId id : body.order()) {
    for (const auto& [name, attr] : body.node(id).attrs.items()) {
      const auto* variable = std::get_if<std::string>(&attr);
      if (variable != nullptr && *variable == "$" + attribute) return true;
    }
  }
  return false;
}

// Whether a value may stand for an input of the body: element type, rank and sizes, symbols the same throughout.
bool fits_type(const Type& want, const Type& have, std::map<std::string, Dim>& symbols) {
  if (!want.is_tensor()) return true;
  if (!have.is_tensor() || (want.dtype != DType::kUndefined && want.dtype != have.dtype)) return false;
  if (!want.shape) return true;
  if (!have.shape || have.shape->size() != want.shape->size()) return false;
  for (size_t i = 0; i < want.shape->size(); ++i) {
    const Dim& w = (*want.shape)[i];
    const Dim known = w.is_symbol() ? symbols.emplace(w.text(), (*have.shape)[i]).first->second : w;
    if (!(known == (*have.shape)[i])) return false;
  }
  return true;
}

bool fits(const Graph& g, const Node& n, const Graph& body) {
  size_t count = n.inputs.size();
  while (count > 0 && n.inputs[count - 1] == kNone) --count;
  if (count != body.inputs.size()) return false;
  std::map<std::string, Dim> symbols;
  for (size_t i = 0; i < count; ++i) {
    if (n.inputs[i] == kNone) return false;
    if (!fits_type(body.value(body.inputs[i]).type, g.value(n.inputs[i]).type, symbols)) return false;
  }
  for (size_t i = body.outputs.size(); i < n.outputs.size(); ++i) {
    if (n.outputs[i] != kNone && g.use_count(n.outputs[i]) > 0) return false;
  }
  return std::all_of(n.attrs.items().begin(), n.attrs.items().end(),
                     [&](const auto& item) { return mentions(body, item.first); });
}

}  // namespace

bool expand_body(Graph& g, NodeId id, const OpTable& ops) {
  const Op* op = ops.find(g.node(id).op);
  if (op == nullptr || op->body.empty()) return false;
  for (const std::string& text : graphs_in(op->body)) {
    GraphPtr body = parse_graph(text);
    if (!fits(g, g.node(id), *body)) continue;
    Match names(g);
    for (size_t i = 0; i < body->inputs.size(); ++i) {
      names.bind(body->value(body->inputs[i]).name, g.node(id).inputs[i]);
    }
    for (const auto& [name, attr] : g.node(id).attrs.items()) names.set(name, attr);
    std::vector<ValueId> results = instantiate(g, *body, names, id, ops);
    for (size_t i = 0; i < g.node(id).outputs.size() && i < results.size(); ++i) {
      ValueId old = g.node(id).outputs[i];
      if (old != kNone) g.replace_uses(old, results[i]);
    }
    g.erase_node(id);
    return true;
  }
  return false;
}

}  // namespace tenon
