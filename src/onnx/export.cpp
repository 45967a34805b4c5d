#include "onnx/export.hpp"

#include <algorithm>
#include <functional>
#include <iterator>
#include <protozero/pbf_writer.hpp>
#include <unordered_map>
#include <unordered_set>

#include "base/checked.hpp"
#include "base/file.hpp"
#include "onnx/convert.hpp"

namespace tenon::onnx {
namespace {

using Writer = protozero::pbf_writer;

struct Versions {
  int64_t opset = 21;
  int64_t ir() const { return opset >= 28 ? 14 : opset >= 25 ? 13 : opset == 24 ? 12 : opset == 23 ? 11 : 10; }
};

struct Newer {
  std::string_view op, attr;  ///< attr "": the operator itself
  int64_t opset;
};

constexpr Newer kNewer[] = {
    {"Attention", "", 24},
    {"Attention", "left_window_size", 25},
    {"Attention", "right_window_size", 25},
    {"BitCast", "", 26},
    {"Cast", "round_mode", 24},
    {"CastLike", "round_mode", 24},
    {"CausalConvWithState", "", 27},
    {"CumProd", "", 26},
    {"DequantizeLinear", "output_dtype", 23},
    {"LinearAttention", "", 27},
    {"QuantizeLinear", "precision", 23},
    {"RMSNormalization", "", 23},
    {"Range", "stash_type", 27},
    {"RotaryEmbedding", "", 23},
    {"SpaceToDepth", "mode", 28},
    {"SwiGLU", "", 28},
    {"Swish", "", 24},
    {"TensorScatter", "", 24},
};

int64_t opset_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat4E2M1: return 23;
    case DType::kFloat8E8M0: return 24;
    case DType::kInt2:
    case DType::kUInt2: return 25;
    default: return 21;
  }
}

std::pair<std::string, std::string> split_name(const std::string& op) {
  size_t dot = op.rfind('.');
  return dot == std::string::npos ? std::pair(std::string(), op) : std::pair(op.substr(0, dot), op.substr(dot + 1));
}

/// Where large constants go when they do not go into the model itself.
struct DataFile {
  std::string location;
  std::unique_ptr<AtomicFile> file;
};

class Exporter {
 public:
  Exporter(const Graph& graph, DataFile* data) : graph_(graph), data_(data) {}
  std::string run();

 private:
  using NamesOf = std::unordered_map<ValueId, std::string>;

  void survey(const Graph& g);
  void write_header(Writer& model);
  void write_graph(Writer out, const Graph& g, NamesOf names, bool main);
  void write_node(Writer out, const Graph& g, const Node& node, NamesOf& names);
  void write_attr(Writer out, const Graph& g, const Node& node, const Attrs::Item& item, const NamesOf& names);
  void write_body(Writer out, const Node& node, const Graph& body, const NamesOf& names);
  void write_identity(Writer out, const std::string& from, const std::string& to);
  void write_tensor(Writer out, const Tensor& t, const std::string& name);
  void write_value(Writer out, const std::string& name, const Type& type);
  void write_type(Writer out, const Type& type);
  std::string unique(std::string name);
  const std::string& name_of(const Graph& g, ValueId id, NamesOf& names);

  const Graph& graph_;
  DataFile* data_;
  Versions versions_;
  std::map<std::string, int64_t> domains_;
  std::map<std::string, int64_t> internal_;
  std::unordered_set<std::string> used_, node_names_;
};

// What the model will need: opset, domains; and what cannot be written at all.
void Exporter::survey(const Graph& g) {
  for (NodeId id : g.order()) {
    const Node& n = g.node(id);
    auto [domain, op] = split_name(n.op);
    if (domain == "tenon") ++internal_[n.op];
    if (!domain.empty()) {
      int64_t version = domain == "ai.onnx.ml" ? (op == "TreeEnsemble" ? 5 : 4) : 1;
      domains_[domain] = std::max(domains_[domain], version);
    }
    for (const Newer& k : kNewer) {
      if (domain.empty() && k.op == op && (k.attr.empty() || n.attrs.has(k.attr)))
        versions_.opset = std::max(versions_.opset, k.opset);
    }
    for (ValueId v : n.inputs) {
      if (v != kNone) versions_.opset = std::max(versions_.opset, opset_of(g.value(v).type.dtype));
    }
    for (const auto& [name, attr] : n.attrs.items()) {
      if (const auto* body = std::get_if<GraphPtr>(&attr)) survey(**body);
    }
  }
}

std::string Exporter::unique(std::string name) {
  if (name.empty()) name = "value";
  if (used_.insert(name).second) return name;
  for (int64_t i = 1;; ++i) {
    std::string other = fmt::format("{}~{}", name, i);
    if (used_.insert(other).second) return other;
  }
}

const std::string& Exporter::name_of(const Graph& g, ValueId id, NamesOf& names) {
  auto at = names.find(id);
  return at != names.end() ? at->second : names.emplace(id, unique(g.value(id).name)).first->second;
}

std::string Exporter::run() {
  // A model that came in at a newer opset stays there: its element types may need it.
  if (auto at = graph_.metadata.find("opset"); at != graph_.metadata.end())
    versions_.opset = std::clamp<int64_t>(std::strtoll(at->second.c_str(), nullptr, 10), 21, kNewestOpset);
  survey(graph_);
  if (!internal_.empty()) {
    std::string list;
    for (const auto& [op, count] : internal_) list += fmt::format(" {} ({})", op, count);
    fail(Code::kUnsupported, "the graph has operators that ONNX does not have:{}; decompose them before exporting",
         list);
  }
  std::string bytes;
  Writer model(bytes);
  write_header(model);
  write_graph(Writer(model, 7), graph_, {}, true);
  return bytes;
}

void Exporter::write_header(Writer& model) {
  auto text = [&](const char* key) {
    auto at = graph_.metadata.find(key);
    return at == graph_.metadata.end() ? std::string() : at->second;
  };
  model.add_int64(1, versions_.ir());
  model.add_string(2, "tenon");
  if (!text("domain").empty()) model.add_string(4, text("domain"));
  if (!text("model_version").empty()) model.add_int64(5, std::strtoll(text("model_version").c_str(), nullptr, 10));
  if (!text("doc").empty()) model.add_string(6, text("doc"));
  auto import = [&](const std::string& domain, int64_t version) {
    Writer opset(model, 8);
    opset.add_string(1, domain);
    opset.add_int64(2, version);
  };
  import("", versions_.opset);
  for (const auto& [domain, version] : domains_) import(domain, version);
  for (const auto& [key, value] : graph_.metadata) {
    if (!key.starts_with("props.")) continue;
    Writer entry(model, 14);
    entry.add_string(1, key.substr(6));
    entry.add_string(2, value);
  }
}

// `names` has what the graph captures; its own names are added here.
void Exporter::write_graph(Writer out, const Graph& g, NamesOf names, bool main) {
  // The model's interface keeps its names whatever else is called the same.
  std::vector<std::string> output_names;
  std::vector<std::pair<std::string, std::string>> identities;
  std::unordered_set<ValueId> formal;
  for (ValueId v : g.inputs) {
    if (names.contains(v)) continue;
    formal.insert(v);
    name_of(g, v, names);
  }
  std::unordered_set<ValueId> seen;
  for (ValueId v : g.outputs) {
    // ONNX wants an output to be made by a node of this graph, and once.
    bool plain = g.value(v).producer != kNone && seen.insert(v).second;
    if (plain) {
      output_names.push_back(name_of(g, v, names));
    } else {
      const std::string& from = name_of(g, v, names);
      output_names.push_back(unique(g.value(v).name));
      identities.emplace_back(from, output_names.back());
    }
  }
  std::vector<ValueId> constants;
  std::unordered_set<ValueId> written;
  auto use = [&](ValueId v) {
    if (v != kNone && g.value(v).is_constant() && written.insert(v).second) constants.push_back(v);
  };
  for (NodeId id : g.order()) {
    for (ValueId v : g.node(id).inputs) use(v);
    write_node(Writer(out, 1), g, g.node(id), names);
  }
  for (ValueId v : g.outputs) use(v);
  for (const auto& [from, to] : identities) write_identity(Writer(out, 1), from, to);
  out.add_string(2, g.name.empty() ? "graph" : g.name);
  for (ValueId v : constants) write_tensor(Writer(out, 5), g.value(v).constant, name_of(g, v, names));
  for (ValueId v : g.inputs) {
    if (formal.contains(v)) write_value(Writer(out, 11), name_of(g, v, names), g.value(v).type);
  }
  for (size_t i = 0; i < g.outputs.size(); ++i) {
    const Type& type = g.value(g.outputs[i]).type;
    expect(!main || type.kind != Type::Kind::kUnknown, "output '{}' has no known type; infer types before exporting",
           output_names[i]);
    write_value(Writer(out, 12), output_names[i], type);
  }
}

void Exporter::write_identity(Writer out, const std::string& from, const std::string& to) {
  out.add_string(1, from);
  out.add_string(2, to);
  out.add_string(4, "Identity");
}

void Exporter::write_node(Writer out, const Graph& g, const Node& node, NamesOf& names) {
  auto [domain, op] = split_name(node.op);
  auto own = static_cast<int64_t>(node.inputs.size()) - node.attrs.integer("captures", 0);
  for (int64_t i = 0; i < own; ++i) {
    ValueId v = node.inputs[static_cast<size_t>(i)];
    out.add_string(1, v == kNone ? std::string() : name_of(g, v, names));
  }
  // Bodies refer to captured values by name, so these must have one.
  for (size_t i = static_cast<size_t>(own); i < node.inputs.size(); ++i) name_of(g, node.inputs[i], names);
  for (ValueId v : node.outputs) out.add_string(2, v == kNone ? std::string() : name_of(g, v, names));
  // Node names are unique in what other runtimes read; conversions and inlining may repeat them here.
  if (!node.name.empty()) {
    std::string name = node.name;
    for (int64_t i = 1; !node_names_.insert(name).second; ++i) name = fmt::format("{}~{}", node.name, i);
    out.add_string(3, name);
  }
  out.add_string(4, op);
  for (const Attrs::Item& item : node.attrs.items()) {
    if (item.first != "captures") write_attr(Writer(out, 5), g, node, item, names);
  }
  if (!domain.empty()) out.add_string(7, domain);
}

void Exporter::write_attr(Writer out, const Graph& g, const Node& node, const Attrs::Item& item, const NamesOf& names) {
  enum { kFloat = 1, kInt, kString, kTensor, kGraph, kFloats, kInts, kStrings, kTypeProto = 13 };
  const auto& [name, attr] = item;
  out.add_string(1, name);
  int type = 0;
  if (node.op == "Optional" && name == "type" && node.outputs.size() == 1) {
    const Type& made = g.value(node.outputs[0]).type;
    expect(made.element != nullptr, "node '{}' (Optional): its output has no known type", node.name);
    type = kTypeProto;
    write_type(Writer(out, 14), *made.element);
  } else if (const auto* f = std::get_if<double>(&attr)) {
    type = kFloat;
    out.add_float(2, static_cast<float>(*f));
  } else if (const auto* i = std::get_if<int64_t>(&attr)) {
    type = kInt;
    out.add_int64(3, *i);
  } else if (const auto* s = std::get_if<std::string>(&attr)) {
    type = kString;
    out.add_bytes(4, *s);
  } else if (const auto* t = std::get_if<Tensor>(&attr)) {
    type = kTensor;
    write_tensor(Writer(out, 5), *t, "");
  } else if (const auto* body = std::get_if<GraphPtr>(&attr)) {
    type = kGraph;
    write_body(Writer(out, 6), node, **body, names);
  } else if (const auto* fs = std::get_if<Floats>(&attr)) {
    type = kFloats;
    std::vector<float> single(fs->begin(), fs->end());
    out.add_packed_float(7, single.begin(), single.end());
  } else if (const auto* is = std::get_if<Ints>(&attr)) {
    type = kInts;
    out.add_packed_int64(8, is->begin(), is->end());
  } else {
    type = kStrings;
    for (const std::string& s : std::get<Strings>(attr)) out.add_bytes(9, s);
  }
  out.add_enum(20, type);
}

void Exporter::write_body(Writer out, const Node& node, const Graph& body, const NamesOf& names) {
  auto captures = static_cast<size_t>(node.attrs.integer("captures", 0));
  TENON_CHECK(captures <= node.inputs.size() && captures <= body.inputs.size());
  NamesOf inside;
  for (size_t i = 0; i < captures; ++i) {
    ValueId from = node.inputs[node.inputs.size() - captures + i];
    inside[body.inputs[body.inputs.size() - captures + i]] = names.at(from);
  }
  write_graph(std::move(out), body, std::move(inside), false);
}

void Exporter::write_tensor(Writer out, const Tensor& t, const std::string& name) {
  out.add_packed_int64(1, t.dims().begin(), t.dims().end());
  out.add_int32(2, static_cast<int32_t>(t.dtype()));
  if (!name.empty()) out.add_string(8, name);
  if (t.dtype() == DType::kString) {
    for (const std::string& s : t.values<std::string>()) out.add_bytes(6, s);
    return;
  }
  if (data_ == nullptr || t.bytes() < 1024) {
    out.add_bytes(9, reinterpret_cast<const char*>(t.raw()), static_cast<size_t>(t.bytes()));
    return;
  }
  // Page-aligned, so that readers can use the mapping as it is.
  constexpr int64_t kAlign = 4096;
  static const std::string padding(kAlign, '\0');
  int64_t at = round_up(data_->file->size(), kAlign);
  data_->file->write(std::string_view(padding).substr(0, static_cast<size_t>(at - data_->file->size())));
  data_->file->write(std::span(t.raw(), static_cast<size_t>(t.bytes())));
  auto entry = [&](const char* key, const std::string& value) {
    Writer e(out, 13);
    e.add_string(1, key);
    e.add_string(2, value);
  };
  entry("location", data_->location);
  entry("offset", std::to_string(at));
  entry("length", std::to_string(t.bytes()));
  out.add_enum(14, 1);
}

void Exporter::write_value(Writer out, const std::string& name, const Type& type) {
  out.add_string(1, name);
  if (type.kind != Type::Kind::kUnknown) write_type(Writer(out, 2), type);
}

void Exporter::write_type(Writer out, const Type& type) {
  switch (type.kind) {
    case Type::Kind::kTensor: {
      Writer tensor(out, 1);
      tensor.add_int32(1, static_cast<int32_t>(type.dtype));
      if (!type.shape) return;
      // By way of strings: an unnamed dimension and a scalar's shape are empty messages, which must be there.
      std::string shape;
      for (const Dim& d : *type.shape) {
        std::string dim;
        if (d.is_const()) {
          Writer(dim).add_int64(1, d.value());
        } else if (std::string text = d.text(); text.find('?') == std::string::npos) {
          Writer(dim).add_string(2, text);
        }
        Writer(shape).add_message(1, dim);
      }
      tensor.add_message(2, shape);
      return;
    }
    case Type::Kind::kMap: {
      Writer map(out, 5);
      map.add_int32(1, static_cast<int32_t>(type.dtype));
      write_type(Writer(map, 2), *type.element);
      return;
    }
    case Type::Kind::kSequence:
    case Type::Kind::kOptional: {
      Writer container(out, type.kind == Type::Kind::kSequence ? 4 : 9);
      write_type(Writer(container, 1), *type.element);
      return;
    }
    case Type::Kind::kUnknown: return;
  }
}

int64_t constant_bytes(const Graph& g) {
  int64_t total = 0;
  for (ValueId v = 0; v < g.value_count(); ++v) {
    const Tensor& t = g.value(v).constant;
    if (t.defined() && g.use_count(v) > 0) total = checked_add(total, t.bytes());
  }
  for (NodeId id : g.order()) {
    for (const auto& [name, attr] : g.node(id).attrs.items()) {
      if (const auto* body = std::get_if<GraphPtr>(&attr)) total = checked_add(total, constant_bytes(**body));
    }
  }
  return total;
}

}  // namespace

std::string export_bytes(const Graph& graph) {
  int64_t bytes = constant_bytes(graph);
  expect(bytes < (int64_t{2000} << 20),
         "the graph has {} bytes of constants; more than 2 GiB do not fit into one ONNX "
         "file, export it to a path to have them written beside it",
         bytes);
  return Exporter(graph, nullptr).run();
}

void export_file(const Graph& graph, const std::string& path, const ExportOptions& options) {
  AtomicFile model(path);
  if (constant_bytes(graph) <= options.external_above) {
    model.write(export_bytes(graph));
    model.commit();
    return;
  }
  size_t slash = path.rfind('/');
  DataFile data{(slash == std::string::npos ? path : path.substr(slash + 1)) + ".data",
                std::make_unique<AtomicFile>(path + ".data")};
  model.write(Exporter(graph, &data).run());
  data.file->commit();
  model.commit();
}

}  // namespace tenon::onnx
