// Graphs: inputs, initializers, node order, outputs, sub-graphs and what they capture.
#include <algorithm>
#include <cctype>
#include <queue>

#include "base/checked.hpp"
#include "graph/limits.hpp"
#include "onnx/importer.hpp"

namespace tenon::onnx {
namespace {

bool is_word(std::string_view text) {
  if (text.empty() || std::isdigit(static_cast<unsigned char>(text[0]))) return false;
  return std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c == '.'; });
}

bool is_constant_node(const NodeProto& node) {
  return node.op == "Constant" && node.domain.empty() && node.outputs.size() == 1;
}

}  // namespace

// A dimension's name: a word is a symbol; an expression ("2*N") over symbols that are inputs' dimensions in their own
// right is that expression; any other text is a symbol of a readable name that stands for exactly that text.
Dim Importer::named_dim(std::string_view param) const {
  if (is_word(param)) return Dim::symbol(std::string(param));
  if (param.size() <= 200 && param.find('(') == std::string_view::npos) {
    try {
      Dim parsed = Dim::parse(param);
      std::vector<std::string> symbols;
      parsed.collect_symbols(symbols);
      bool known =
          std::all_of(symbols.begin(), symbols.end(), [&](const std::string& s) { return input_symbols_.contains(s); });
      if (known && !symbols.empty()) return parsed;
    } catch (const Error&) {
      // Not an expression: a name like any other.
    }
  }
  std::string word;
  for (char c : param.substr(0, 60)) word += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  if (word.empty() || std::isdigit(static_cast<unsigned char>(word[0]))) word = "d" + word;
  return Dim::symbol(fmt::format("{}_{:08x}", word, std::hash<std::string_view>()(param) & 0xffffffffu));
}

DimSymbol Importer::symbols_of(std::string_view input) const {
  std::string stem(input);
  return [this, stem](std::string_view param, size_t axis) {
    return param.empty() ? Dim::symbol(fmt::format("?{}.{}", stem, axis)) : named_dim(param);
  };
}

namespace {

// What is declared of an output only fills in what could not be inferred; of its shape, the rank.
void hint_output(Value& v, const Type& declared) {
  bool unknown = v.type.kind == Type::Kind::kUnknown || (v.type.is_tensor() && v.type.dtype == DType::kUndefined);
  if (unknown) {
    v.type = declared;
  } else if (v.type.is_tensor() && !v.type.shape && declared.is_tensor() && declared.shape) {
    v.type.shape.emplace();
    for (size_t i = 0; i < declared.shape->size(); ++i)
      v.type.shape->push_back(Dim::symbol(fmt::format("?{}.{}", v.name, i)));
  }
}

}  // namespace

void Importer::fill_graph(Scope& scope, const GraphProto& proto, const Where& where, bool main) {
  if (!proto.name.empty()) scope.build.graph.name = std::string(proto.name);
  add_initializers(scope, proto, where);
  add_inputs(scope, proto, where, main);
  import_nodes(scope, proto.nodes, where);
  add_outputs(scope, proto, where, main);
  part_names(scope.build);
}

// What conversions made may have got the name of a value that came later in the file: values are told apart by name in
// text and in plans.
void Importer::part_names(Build& build) const {
  Graph& graph = build.graph;
  std::unordered_map<std::string_view, ValueId> taken;
  std::unordered_set<ValueId> fixed(graph.inputs.begin(), graph.inputs.end());
  fixed.insert(graph.outputs.begin(), graph.outputs.end());
  std::vector<ValueId> twins;
  for (ValueId v = 0; v < graph.value_count(); ++v) {
    auto [had, fresh] = taken.emplace(graph.value(v).name, v);
    if (fresh) continue;
    twins.push_back(fixed.contains(v) ? had->second : v);
  }
  for (ValueId v : twins) graph.rename(v, unique_name(build, graph.value(v).name));
}

void Importer::add_initializers(Scope& scope, const GraphProto& proto, const Where& where) {
  names_ += static_cast<int64_t>(proto.initializers.size() + proto.sparse_initializers.size());
  auto add = [&](std::string_view name, Bytes bytes, Scope::Name::Kind kind, const Where& at) {
    if (name.empty()) at.reject("an initializer has no name");
    Scope::Name entry;
    entry.kind = kind;
    entry.proto = bytes;
    if (!scope.names.emplace(name, std::move(entry)).second)
      at.reject(fmt::format("initializer '{}' is given twice", name));
    scope.build.names.emplace(name);
  };
  for (size_t i = 0; i < proto.initializers.size(); ++i) {
    Where at = where.child("initializer", static_cast<int64_t>(i));
    add(read_tensor_name(proto.initializers[i], at), proto.initializers[i], Scope::Name::kInitializer, at);
  }
  for (size_t i = 0; i < proto.sparse_initializers.size(); ++i) {
    Where at = where.child("sparse_initializer", static_cast<int64_t>(i));
    add(read_sparse_name(proto.sparse_initializers[i], at), proto.sparse_initializers[i], Scope::Name::kSparse, at);
  }
}

void Importer::add_inputs(Scope& scope, const GraphProto& proto, const Where& where, bool main) {
  if (main) {
    // First which symbols stand alone, so that expressions over them can be told from mere names.
    DimSymbol collect = [this](std::string_view param, size_t) {
      if (is_word(param)) input_symbols_.emplace(param);
      return Dim(1);
    };
    for (size_t i = 0; i < proto.inputs.size(); ++i) {
      Where at = where.child("input", static_cast<int64_t>(i));
      ValueInfo info = read_value_info(proto.inputs[i], at);
      if (!scope.names.contains(info.name)) read_type(info.type, at.child("type"), collect);
    }
  }
  for (size_t i = 0; i < proto.inputs.size(); ++i) {
    Where at = where.child("input", static_cast<int64_t>(i));
    ValueInfo info = read_value_info(proto.inputs[i], at);
    if (info.name.empty()) at.reject("a graph input has no name");
    auto known = scope.names.find(info.name);
    if (known != scope.names.end() && known->second.kind != Scope::Name::kValue) continue;  // an initializer's
    if (known != scope.names.end()) at.reject(fmt::format("graph input '{}' is given twice", info.name));
    // Bodies' inputs get their shapes from what is passed to them.
    Type type = read_type(info.type, at.child("type"), main ? symbols_of(info.name) : DimSymbol());
    if (main && type.kind == Type::Kind::kUnknown) at.reject(fmt::format("graph input '{}' has no type", info.name));
    if (main && type.is_tensor() && type.dtype == DType::kUndefined)
      at.reject(fmt::format("graph input '{}' has no element type", info.name));
    std::string name(info.name);
    if (main) check_limits(type, fmt::format("graph input '{}'", name));
    scope.build.names.insert(name);
    define(scope, info.name, scope.build.graph.add_input(name, std::move(type)), at);
  }
}

void Importer::add_outputs(Scope& scope, const GraphProto& proto, const Where& where, bool main) {
  Graph& graph = scope.build.graph;
  std::unordered_set<std::string_view> given;
  for (size_t i = 0; i < proto.outputs.size(); ++i) {
    Where at = where.child("output", static_cast<int64_t>(i));
    ValueInfo info = read_value_info(proto.outputs[i], at);
    if (info.name.empty()) at.reject("a graph output has no name");
    auto id = try_find(scope, info.name, at);
    if (!id || *id == kNone)
      at.reject(fmt::format("graph output '{}' is made by no node and is no input or initializer", info.name));
    const std::string name(info.name);
    if (!given.insert(info.name).second && main) at.reject(fmt::format("graph output '{}' is given twice", name));
    // Outputs are found by name and made by a node: a constant, or a value of another name, needs a node of its own.
    // An input that is handed on under its own name is output as it is.
    bool plain = graph.value(*id).name == name && !graph.value(*id).is_constant();
    if (main && !plain) {
      if (graph.value(*id).name == name) graph.rename(*id, unique_name(scope.build, name));
      id = graph.node(place_node(scope, "Identity", {*id}, {name}, {}, "")).outputs[0];
    }
    hint_output(graph.value(*id), read_type(info.type, at.child("type"), symbols_of(info.name)));
    graph.outputs.push_back(*id);
  }
  if (main && graph.outputs.empty()) where.reject("the graph has no outputs");
}

Body Importer::import_body(Scope& outer, Bytes bytes, std::string attribute, const Where& where) {
  GraphProto proto = read_graph(bytes, where);
  auto graph = std::make_shared<Graph>();
  Build build{*graph, {}, {}, 0};
  Scope scope{build, &outer, outer.opsets, outer.env, {}, {}, &proto, {}};
  fill_graph(scope, proto, where, false);
  size_t own = graph->inputs.size() - build.captures.size();
  return {std::move(attribute), std::move(graph), own, std::move(build.captures)};
}

// The inputs of the node grow by what its bodies capture; all bodies get the same further inputs in the same order.
void Importer::attach_bodies(NodeEdit& edit, std::vector<Body>& bodies) {
  std::vector<ValueId> all;
  std::unordered_set<ValueId> seen;
  for (const Body& b : bodies) {
    for (const Capture& c : b.captures) {
      if (seen.insert(c.outer).second) all.push_back(c.outer);
    }
  }
  for (Body& b : bodies) {
    Graph& g = *b.graph;
    g.inputs.resize(b.own_inputs);
    // The iteration number and condition are scalars by definition.
    for (size_t i = 0; edit.op == "Loop" && i < std::min<size_t>(b.own_inputs, 2); ++i)
      g.value(g.inputs[i]).type.shape = Shape{};
    std::unordered_map<ValueId, ValueId> inner;
    for (const Capture& c : b.captures) inner.emplace(c.outer, c.inner);
    for (ValueId outer : all) {
      if (auto at = inner.find(outer); at != inner.end()) {
        g.inputs.push_back(at->second);
        continue;
      }
      // Not used inside; only its place counts.
      const Value& v = edit.graph.value(outer);
      Type type = v.type.is_tensor() ? Type::tensor(v.type.dtype) : v.type;
      g.add_input(fmt::format("{}~unused{}", v.name, g.inputs.size()), std::move(type));
    }
    edit.attrs.set(b.attribute, b.graph);
  }
  edit.inputs.insert(edit.inputs.end(), all.begin(), all.end());
  if (!all.empty()) edit.attrs.set("captures", static_cast<int64_t>(all.size()));
}

void Importer::import_nodes(Scope& scope, const std::vector<Bytes>& nodes, const Where& where) {
  auto count = static_cast<int64_t>(nodes.size());
  spend(nodes_, count, options_.limits.nodes, "nodes");
  if (!call_stack_.empty()) spend(inlined_nodes_, count, options_.limits.inlined_nodes, "nodes in functions as called");
  for (size_t i : order_nodes(scope, nodes, where)) {
    Where at = where.child("node", static_cast<int64_t>(i));
    NodeProto node = read_node(nodes[i], at);
    spend(names_, static_cast<int64_t>(node.inputs.size() + node.outputs.size() + node.attributes.size()),
          options_.limits.names, "node inputs, outputs and attributes");
    import_node(scope, node, at);
  }
}

// Names that a node needs: its inputs and what its bodies capture.
std::vector<std::string_view> Importer::needed_names(const NodeProto& node, const Where& where) {
  std::vector<std::string_view> out = node.inputs;
  for (size_t i = 0; i < node.attributes.size(); ++i) {
    Where at = where.child("attribute", static_cast<int64_t>(i));
    Message m(node.attributes[i], at);
    while (m.next()) {
      if (m.field() != 6) continue;
      const auto& inner = free_names(m.bytes("g"), at.child("g"));
      out.insert(out.end(), inner.begin(), inner.end());
    }
  }
  return out;
}

const std::vector<std::string_view>& Importer::free_names(Bytes bytes, const Where& where) {
  if (auto at = free_names_.find(bytes.data()); at != free_names_.end() && !bytes.empty()) return at->second;
  GraphProto proto = read_graph(bytes, where);
  std::unordered_set<std::string_view> own, used;
  for (Bytes b : proto.inputs) own.insert(read_value_info(b, where.child("input")).name);
  for (Bytes b : proto.initializers) own.insert(read_tensor_name(b, where.child("initializer")));
  for (Bytes b : proto.sparse_initializers) own.insert(read_sparse_name(b, where.child("sparse_initializer")));
  for (Bytes b : proto.outputs) used.insert(read_value_info(b, where.child("output")).name);
  for (size_t i = 0; i < proto.nodes.size(); ++i) {
    Where at = where.child("node", static_cast<int64_t>(i));
    NodeProto node = read_node(proto.nodes[i], at);
    for (std::string_view name : needed_names(node, at)) used.insert(name);
    for (std::string_view name : node.outputs) own.insert(name);
  }
  std::vector<std::string_view> out;
  for (std::string_view name : used) {
    if (!name.empty() && !own.contains(name)) out.push_back(name);
  }
  return free_names_[bytes.data()] = std::move(out);
}

// File order when that is an order of use, which ONNX demands; else the nearest one to it. Cycles are an error.
Importer::Order Importer::order_nodes(const Scope& scope, const std::vector<Bytes>& nodes, const Where& where) {
  std::unordered_map<std::string_view, size_t> made_by;
  std::vector<std::vector<std::string_view>> needs(nodes.size());
  bool sorted = true;
  Order out(nodes.size());
  std::unordered_set<size_t> dropped;
  for (size_t i = 0; i < nodes.size(); ++i) {
    out[i] = i;
    Where at = where.child("node", static_cast<int64_t>(i));
    NodeProto node = read_node(nodes[i], at);
    needs[i] = needed_names(node, at);
    for (std::string_view name : node.outputs) {
      if (name.empty()) continue;
      if (scope.names.contains(name)) {
        at.reject(
            fmt::format("value '{}' is made by a node ({}) but is an input or initializer already", name, node.op));
      }
      auto [had, fresh] = made_by.emplace(name, i);
      if (fresh) continue;
      Where earlier = where.child("node", static_cast<int64_t>(had->second));
      if (!is_constant_node(node) || !is_constant_node(read_node(nodes[had->second], earlier)))
        at.reject(fmt::format("value '{}' is made twice, by nodes {} and {}", name, had->second, i));
      // Some exporters define one constant name twice; everyone takes the later one.
      dropped.insert(had->second);
      had->second = i;
    }
  }
  std::vector<std::vector<size_t>> users(nodes.size());
  std::vector<size_t> missing(nodes.size(), 0);
  for (size_t i = 0; i < nodes.size(); ++i) {
    for (std::string_view name : needs[i]) {
      auto at = made_by.find(name);
      if (name.empty() || at == made_by.end()) continue;
      if (at->second >= i) sorted = false;
      users[at->second].push_back(i);
      ++missing[i];
    }
  }
  if (sorted && dropped.empty()) return out;
  out.clear();
  std::priority_queue<size_t, std::vector<size_t>, std::greater<>> ready;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (missing[i] == 0) ready.push(i);
  }
  while (!ready.empty()) {
    size_t i = ready.top();
    ready.pop();
    out.push_back(i);
    for (size_t user : users[i]) {
      if (--missing[user] == 0) ready.push(user);
    }
  }
  for (size_t i = 0; out.size() != nodes.size() && i < nodes.size(); ++i) {
    if (missing[i] == 0) continue;
    Where at = where.child("node", static_cast<int64_t>(i));
    NodeProto node = read_node(nodes[i], at);
    at.reject(fmt::format("node '{}' ({}) is part of, or depends on, a cycle", node.name, node.op));
  }
  std::erase_if(out, [&](size_t i) { return dropped.contains(i); });
  return out;
}

}  // namespace tenon::onnx
