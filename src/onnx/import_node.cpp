// Nodes: attributes, constants, names, checks, and functions inlined.
#include <algorithm>

#include "base/checked.hpp"
#include "onnx/importer.hpp"
#include "ops/op_table.hpp"

namespace tenon::onnx {
namespace {

std::string full_name(std::string_view domain, std::string_view op) {
  return domain.empty() ? std::string(op) : fmt::format("{}.{}", domain, op);
}

// The opset of ONNX's own domain that an operator came with.
int64_t first_opset(std::string_view op) {
  static const std::map<std::string_view, int64_t> table = {
#define TENON_ONNX_OP(name, opset) {#name, opset},
#include "onnx/op_versions.def"
#undef TENON_ONNX_OP
  };
  auto at = table.find(op);
  return at == table.end() ? 1 : at->second;
}

constexpr size_t kMaxAttributes = 1000;

// How messages call a node.
std::string label(const NodeProto& node, int64_t version) {
  return fmt::format("node '{}' ({}, domain {}, opset {})",
                     node.name.empty() && !node.outputs.empty() ? node.outputs[0] : node.name, node.op,
                     node.domain.empty() ? "ai.onnx" : node.domain, version);
}

}  // namespace

void Importer::spend(int64_t& counter, int64_t amount, int64_t limit, std::string_view what) const {
  counter += amount;
  expect(counter <= limit, "the model has more than {} {}; this is the importer's limit", limit, what);
}

int64_t Importer::opset(const Scope& scope, std::string_view domain) const {
  for (const auto& [name, version] : scope.opsets) {
    if (name == domain) return version;
  }
  // Other domains are often left out by their own exporters.
  expect(!domain.empty(), "the model does not say which opset of ONNX it uses (opset_import is missing)");
  return 1;
}

std::string Importer::unique_name(Build& build, std::string_view stem) const {
  stem = stem.substr(0, 80);
  for (;;) {
    std::string out = fmt::format("{}~{}", stem, build.next++);
    if (build.names.insert(out).second) return out;
  }
}

std::string Importer::output_name(Scope& scope, std::string_view name) const {
  if (name.empty()) return unique_name(scope.build, "unused");
  if (scope.prefix.empty() && scope.build.names.emplace(name).second) return std::string(name);
  return unique_name(scope.build, scope.prefix + std::string(name.substr(0, 60)));
}

void Importer::define(Scope& scope, std::string_view name, ValueId id, const Where& where) {
  Scope::Name entry;
  entry.id = id;
  if (!scope.names.emplace(name, std::move(entry)).second) where.reject(fmt::format("value '{}' is made twice", name));
}

std::optional<ValueId> Importer::try_find(Scope& scope, std::string_view name, const Where& where) {
  if (auto at = scope.names.find(name); at != scope.names.end()) {
    Scope::Name& entry = at->second;
    if (entry.kind == Scope::Name::kValue) return entry.id;
    Where from = where.child(entry.kind == Scope::Name::kSparse ? "sparse_initializer" : "initializer");
    Tensor value = entry.kind == Scope::Name::kInitializer ? weights_.tensor(entry.proto, from)
                   : entry.kind == Scope::Name::kSparse    ? weights_.sparse(entry.proto, from)
                                                           : std::move(*entry.value);
    bool own = scope.prefix.empty();
    if (entry.kind == Scope::Name::kAttribute && own) own = scope.build.names.emplace(name).second;
    entry.id = scope.build.graph.add_constant(
        std::move(value),
        own ? std::string(name) : unique_name(scope.build, scope.prefix + std::string(name.substr(0, 60))));
    entry.kind = Scope::Name::kValue;
    entry.value.reset();
    return entry.id;
  }
  if (scope.parent == nullptr) return std::nullopt;
  auto outer = try_find(*scope.parent, name, where);
  if (!outer) return std::nullopt;
  ValueId inner = kNone;
  if (*outer != kNone) {
    const Value& v = scope.parent->build.graph.value(*outer);
    std::string inner_name = scope.build.names.insert(v.name).second ? v.name : unique_name(scope.build, v.name);
    if (v.is_constant()) {
      inner = scope.build.graph.add_constant(v.constant, inner_name);
    } else {
      Type type = v.type.is_tensor() ? Type::tensor(v.type.dtype) : v.type;
      inner = scope.build.graph.add_input(inner_name, std::move(type));
      scope.build.captures.push_back({*outer, inner});
    }
  }
  define(scope, name, inner, where);
  return inner;
}

ValueId Importer::find(Scope& scope, std::string_view name, const Where& where) {
  if (name.empty()) return kNone;
  auto id = try_find(scope, name, where);
  if (!id)
    where.reject(fmt::format("input '{}' is made by no node and is no input or initializer of the graph{}", name,
                             scope.parent != nullptr ? " or of one around it" : ""));
  return *id;
}

DType Importer::hint(Scope& scope, ValueId id) const {
  if (!scope.hints) {
    scope.hints.emplace();
    if (scope.proto != nullptr) {
      Where where{nullptr, "value_info", -1, 0};
      for (const auto* list : {&scope.proto->value_info, &scope.proto->inputs, &scope.proto->outputs}) {
        for (Bytes b : *list) {
          ValueInfo info = read_value_info(b, where);
          Type type = read_type(info.type, where, {});
          if (type.is_tensor()) scope.hints->emplace(info.name, type.dtype);
        }
      }
    }
  }
  auto at = scope.hints->find(scope.build.graph.value(id).name);
  return at == scope.hints->end() ? DType::kUndefined : at->second;
}

std::optional<Attr> Importer::import_attr(Scope& scope, const AttrProto& a, const Where& where) {
  if (!a.ref.empty()) {
    if (scope.env == nullptr)
      where.reject(fmt::format("attribute '{}' refers to a function's, outside of one", a.name));
    auto at = scope.env->find(a.ref);
    return at == scope.env->end() ? std::nullopt : std::optional(at->second);
  }
  switch (a.type) {
    case AttrProto::kFloat: return static_cast<double>(a.f);
    case AttrProto::kInt: return a.i;
    case AttrProto::kString: return std::string(a.s);
    case AttrProto::kTensor: return weights_.tensor(a.t, where.child("t"));
    case AttrProto::kSparse: return weights_.sparse(a.sparse, where.child("sparse_tensor"));
    case AttrProto::kFloats: return a.floats;
    case AttrProto::kInts: return a.ints;
    case AttrProto::kStrings: return Strings(a.strings.begin(), a.strings.end());
    case AttrProto::kTypeProto: return read_type(a.type_proto, where.child("tp"), symbols_of(a.name)).text();
    default:
      fail(Code::kUnsupported, "{}: attribute '{}' has type {}, which is not supported", where.text(), a.name, a.type);
  }
}

void Importer::import_node(Scope& scope, const NodeProto& node, const Where& where) {
  int64_t version = 0;
  try {
    if (node.op.empty()) where.reject("a node has no op_type");
    if (node.attributes.size() > kMaxAttributes)
      where.reject(
          fmt::format("a node has {} attributes; at most {} are taken", node.attributes.size(), kMaxAttributes));
    auto function = function_index_.find(fmt::format("{}:{}:{}", node.domain, node.op, node.overload));
    if (function != function_index_.end()) {
      import_call(scope, node, function->second, where);
      return;
    }
    version = opset(scope, node.domain);
    if (node.domain.empty() && version > kNewestOpset)
      fail(Code::kUnsupported,
           "the model uses opset {} of ONNX; up to {} are known here. Export it with opset {} or older", version,
           kNewestOpset, kNewestOpset);
    if (int64_t first = first_opset(node.op); node.domain.empty() && version < first)
      fail(Code::kUnsupported,
           "operator {} came with opset {}, but the model says that it is written in opset {}; export it with opset {} "
           "or newer",
           node.op, first, version, first);
    if (!import_constant(scope, node, where)) import_op(scope, node, where);
  } catch (Error& e) {
    if (e.notes().size() < 8) e.note("in " + label(node, version));
    throw;
  }
}

bool Importer::import_constant(Scope& scope, const NodeProto& node, const Where& where) {
  if (node.op != "Constant" || !node.domain.empty()) return false;
  if (node.outputs.size() != 1 || node.attributes.size() != 1 || node.outputs[0].empty())
    where.reject("a Constant has exactly one attribute and one output");
  Where at = where.child("attribute", 0);
  AttrProto a = read_attr(node.attributes[0], at);
  auto value = import_attr(scope, a, at);
  if (!value) at.reject("the function is called without the attribute that this constant refers to");
  Scope::Name entry;
  entry.kind = Scope::Name::kAttribute;
  auto list = [](const auto& v) { return static_cast<int64_t>(v.size()); };
  if (auto* t = std::get_if<Tensor>(&*value)) entry.value = *t;
  if (auto* i = std::get_if<int64_t>(&*value)) entry.value = Tensor::scalar(*i);
  if (auto* f = std::get_if<double>(&*value)) entry.value = Tensor::scalar(static_cast<float>(*f));
  if (auto* s = std::get_if<std::string>(&*value)) entry.value = Tensor::scalar(*s);
  if (auto* v = std::get_if<Ints>(&*value)) entry.value = Tensor::of_ints(*v);
  if (auto* v = std::get_if<Strings>(&*value)) entry.value = Tensor::of<std::string>({list(*v)}, *v);
  if (auto* v = std::get_if<Floats>(&*value)) {
    std::vector<float> single(v->begin(), v->end());
    entry.value = Tensor::of<float>({list(single)}, single);
  }
  if (!entry.value) at.reject(fmt::format("attribute '{}' cannot be the value of a Constant", a.name));
  if (!scope.names.emplace(node.outputs[0], std::move(entry)).second)
    where.reject(fmt::format("value '{}' is made twice", node.outputs[0]));
  return true;
}

void Importer::import_op(Scope& scope, const NodeProto& node, const Where& where) {
  Graph& graph = scope.build.graph;
  NodeEdit edit(graph);
  edit.op = std::string(node.op);
  edit.domain = std::string(node.domain);
  edit.version = opset(scope, node.domain);
  edit.name = std::string(node.name);
  for (std::string_view in : node.inputs) edit.inputs.push_back(find(scope, in, where));
  while (!edit.inputs.empty() && edit.inputs.back() == kNone) edit.inputs.pop_back();
  for (std::string_view out : node.outputs)
    edit.outputs.push_back(out.empty() ? std::string() : output_name(scope, out));
  while (!edit.outputs.empty() && edit.outputs.back().empty()) edit.outputs.pop_back();
  std::vector<Body> bodies;
  int64_t limit =
      checked_add(options_.limits.attribute_bytes, checked_mul<int64_t>(8, static_cast<int64_t>(bytes_.size())));
  for (size_t i = 0; i < node.attributes.size(); ++i) {
    Where at = where.child("attribute", static_cast<int64_t>(i));
    AttrProto a = read_attr(node.attributes[i], at);
    spend(attribute_bytes_, static_cast<int64_t>(node.attributes[i].size()), limit, "bytes of attributes");
    bool twice = edit.attrs.has(a.name) ||
                 std::any_of(bodies.begin(), bodies.end(), [&](const Body& b) { return b.attribute == a.name; });
    if (twice) at.reject(fmt::format("attribute '{}' is given twice", a.name));
    if (a.name == "captures") at.reject("an attribute named 'captures' is the importer's own and cannot be in a model");
    if (a.type == AttrProto::kGraph && a.ref.empty()) {
      bodies.push_back(import_body(scope, a.g, std::string(a.name), at.child("g")));
    } else if (auto value = import_attr(scope, a, at)) {
      edit.attrs.set(std::string(a.name), std::move(*value));
    }
  }
  // Checked here, where outputs that are left out are still counted: a branch makes all that its node names.
  for (const Body& b : bodies) {
    if (edit.op == "If" && b.graph->outputs.size() != node.outputs.size())
      where.reject(
          fmt::format("{} has {} outputs, the If has {}", b.attribute, b.graph->outputs.size(), node.outputs.size()));
  }
  attach_bodies(edit, bodies);
  edit.place = [&](std::string op, std::vector<ValueId> in, std::vector<std::string> out, Attrs attrs,
                   std::string name) {
    return place_node(scope, std::move(op), std::move(in), std::move(out), std::move(attrs), std::move(name));
  };
  edit.hint = [&](ValueId id) { return hint(scope, id); };
  edit.fresh = [&](std::string_view stem) { return unique_name(scope.build, stem); };
  finish_node(scope, edit, node);
}

void Importer::finish_node(Scope& scope, NodeEdit& edit, const NodeProto& node) {
  convert_node(edit);
  while (!edit.inputs.empty() && edit.inputs.back() == kNone) edit.inputs.pop_back();
  std::vector<std::string> names = edit.outputs;
  while (!names.empty() && names.back().empty()) names.pop_back();
  for (std::string& n : names) {
    if (n.empty()) n = unique_name(scope.build, "unused");
  }
  // A conversion may have made all that is wanted already.
  NodeId id = kNone;
  if (!names.empty() || edit.produced().empty())
    id = place_node(scope, full_name(edit.domain, edit.op), edit.inputs, names, edit.attrs, edit.name);
  Where where{nullptr, node.op, -1, 0};
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    if (node.outputs[i].empty()) continue;
    ValueId made = kNone;
    if (i < edit.produced().size()) made = edit.produced()[i];
    if (made == kNone && i < names.size()) made = scope.build.graph.node(id).outputs[i];
    expect(made != kNone, "the operator has no output {} ('{}')", i, node.outputs[i]);
    define(scope, node.outputs[i], made, where);
  }
}

NodeId Importer::place_node(Scope& scope, std::string op, std::vector<ValueId> inputs, std::vector<std::string> outputs,
                            Attrs attrs, std::string name) {
  Graph& graph = scope.build.graph;
  const Op* known = all_ops().find(op);
  if (known == nullptr) note_unknown(scope, op, name);
  NodeId id = graph.add_node(std::move(op), std::move(inputs), std::move(outputs), std::move(attrs), std::move(name));
  if (known != nullptr) {
    check_op(*known, graph.node(id));
    infer_node(graph, id, all_ops());
  }
  return id;
}

void Importer::check_op(const Op& op, const Node& node) const {
  auto count = static_cast<int64_t>(node.inputs.size()) - node.attrs.integer("captures", 0);
  expect(count >= op.min_inputs && (op.max_inputs < 0 || count <= op.max_inputs), "{} takes {} to {} inputs and has {}",
         op.name, op.min_inputs, op.max_inputs < 0 ? std::string("any number of") : std::to_string(op.max_inputs),
         count);
  auto outputs = static_cast<int64_t>(node.outputs.size());
  expect(outputs >= op.min_outputs && (op.max_outputs < 0 || outputs <= op.max_outputs),
         "{} has {} outputs and here {}", op.name, op.max_outputs, outputs);
  for (const auto& [attr, value] : node.attrs.items()) {
    if (attr == "captures" || std::find(op.attrs.begin(), op.attrs.end(), attr) != op.attrs.end()) continue;
    std::string list;
    for (const std::string& a : op.attrs) list += (list.empty() ? "" : ", ") + a;
    fail(Code::kUnsupported, "{} has no attribute '{}' in its newest version; it understands: {}", op.name, attr,
         list.empty() ? "none" : list);
  }
}

void Importer::note_unknown(const Scope& scope, const std::string& op, const std::string& node) {
  Unknown& u = unknown_[op];
  if (u.count++ > 0) return;
  u.first_node = node;
  size_t dot = op.rfind('.');
  u.version = opset(scope, dot == std::string::npos ? std::string_view() : std::string_view(op).substr(0, dot));
}

// A call: the function's nodes, between the caller's values, under names of their own.
void Importer::import_call(Scope& scope, const NodeProto& node, size_t index, const Where& where) {
  const FunctionProto& f = functions_[index];
  if (std::find(call_stack_.begin(), call_stack_.end(), index) != call_stack_.end())
    where.reject(fmt::format("function '{}' calls itself", f.name));
  if (static_cast<int>(call_stack_.size()) >= options_.limits.function_depth)
    where.reject(fmt::format("functions call each other deeper than {}", options_.limits.function_depth));
  if (node.inputs.size() > f.inputs.size() || node.outputs.size() > f.outputs.size())
    where.reject(fmt::format("function '{}' has {} inputs and {} outputs; the call has {} and {}", f.name,
                             f.inputs.size(), f.outputs.size(), node.inputs.size(), node.outputs.size()));
  spend(names_, static_cast<int64_t>(f.inputs.size() + f.outputs.size() + f.attributes.size() + f.defaults.size()),
        options_.limits.names, "node inputs, outputs and attributes");
  weights_.share();
  AttrEnv env;
  for (size_t i = 0; i < node.attributes.size(); ++i) {
    Where at = where.child("attribute", static_cast<int64_t>(i));
    AttrProto a = read_attr(node.attributes[i], at);
    if (auto value = import_attr(scope, a, at)) env.insert_or_assign(std::string(a.name), std::move(*value));
  }
  Where inside{&where, "function", static_cast<int64_t>(index), where.depth + 1};
  for (size_t i = 0; i < f.defaults.size(); ++i) {
    Where at = inside.child("attribute_proto", static_cast<int64_t>(i));
    AttrProto a = read_attr(f.defaults[i], at);
    if (env.contains(a.name)) continue;
    if (auto value = import_attr(scope, a, at)) env.emplace(std::string(a.name), std::move(*value));
  }
  Scope callee{scope.build, nullptr, f.opsets, &env, fmt::format("{}.{}/", f.name.substr(0, 40), calls_++),
               {},          nullptr, {}};
  for (size_t i = 0; i < f.inputs.size(); ++i)
    define(callee, f.inputs[i], i < node.inputs.size() ? find(scope, node.inputs[i], where) : kNone, inside);
  call_stack_.push_back(index);
  import_nodes(callee, f.nodes, inside);
  call_stack_.pop_back();
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    if (node.outputs[i].empty()) continue;
    ValueId id = find(callee, f.outputs[i], inside);
    if (id == kNone) inside.reject(fmt::format("output '{}' of function '{}' has no value here", f.outputs[i], f.name));
    const Value& v = scope.build.graph.value(id);
    bool fresh_value = v.producer != kNone && v.name.starts_with(callee.prefix);
    if (fresh_value) scope.build.graph.rename(id, output_name(scope, node.outputs[i]));
    define(scope, node.outputs[i], id, where);
  }
}

}  // namespace tenon::onnx
