#include "onnx/import.hpp"

#include <cstdlib>
#include <cstring>

#include "base/checked.hpp"
#include "onnx/importer.hpp"
#include "ops/op_table.hpp"

namespace tenon::onnx {
namespace {

std::string function_key(std::string_view domain, std::string_view name, std::string_view overload) {
  return fmt::format("{}:{}:{}", domain, name, overload);
}

}  // namespace

GraphPtr Importer::run() {
  Where where{nullptr, "model", -1, 0};
  expect(!bytes_.empty(), "the file is empty; an ONNX model was expected");
  ModelProto model = read_model(bytes_, where);
  if (model.ir_version < 1) where.reject("there is no ir_version; this is not an ONNX model");
  if (!model.graph) where.reject("the model has no graph");
  // IR 1 and 2 had no opset imports; they mean the first opset.
  if (model.opsets.empty() && model.ir_version < 3) model.opsets.emplace_back("", 1);
  read_functions(model, where);
  Where at = where.child("graph");
  GraphProto proto = read_graph(*model.graph, at);
  auto graph = std::make_shared<Graph>();
  set_metadata(*graph, model, proto);
  Build build{*graph, {}, {}, 0};
  Scope scope{build, nullptr, model.opsets, nullptr, {}, {}, &proto, {}};
  fill_graph(scope, proto, at, true);
  if (!unknown_.empty() && !options_.allow_unknown_ops) fail_unknown(model);
  return graph;
}

void Importer::read_functions(const ModelProto& model, const Where& where) {
  for (size_t i = 0; i < model.functions.size(); ++i) {
    Where at = where.child("functions", static_cast<int64_t>(i));
    FunctionProto f = read_function(model.functions[i], at);
    if (!function_index_.emplace(function_key(f.domain, f.name, f.overload), i).second)
      at.reject(fmt::format("function '{}' of domain '{}' is defined twice", f.name, f.domain));
    if (f.opsets.empty()) f.opsets = model.opsets;
    functions_.push_back(std::move(f));
  }
}

void Importer::set_metadata(Graph& graph, const ModelProto& model, const GraphProto& proto) const {
  auto& out = graph.metadata;
  auto put = [&](const char* key, std::string_view value) {
    if (!value.empty()) out[key] = clean_utf8(value);
  };
  put("producer_name", model.producer_name);
  put("producer_version", model.producer_version);
  put("domain", model.domain);
  put("doc", model.doc);
  put("graph_name", proto.name);
  out["ir_version"] = std::to_string(model.ir_version);
  if (model.model_version != 0) out["model_version"] = std::to_string(model.model_version);
  for (const auto& [domain, version] : model.opsets)
    out[domain.empty() ? "opset" : "opset." + domain] = std::to_string(version);
  for (const auto& [key, value] : model.metadata) out["props." + clean_utf8(key)] = clean_utf8(value);
}

void Importer::fail_unknown(const ModelProto& model) const {
  std::string list;
  int shown = 0;
  bool standard = false;
  for (const auto& [op, u] : unknown_) {
    size_t dot = op.rfind('.');
    std::string domain = dot == std::string::npos ? "ai.onnx" : op.substr(0, dot);
    standard = standard || domain == "ai.onnx";
    if (shown++ >= 20) continue;
    list += fmt::format("\n  {} (domain {}, opset {}): {} node{}, first '{}'",
                        dot == std::string::npos ? op : op.substr(dot + 1), domain, u.version, u.count,
                        u.count == 1 ? "" : "s", u.first_node);
  }
  if (shown > 20) list += fmt::format("\n  and {} more", shown - 20);
  std::string producer = model.producer_name.empty() ? "an unnamed producer" : clean_utf8(model.producer_name);
  fail(Code::kUnsupported, "{} operator{} of the model (made by {}) {} not known here:{}\n{}", unknown_.size(),
       unknown_.size() == 1 ? "" : "s", producer, unknown_.size() == 1 ? "is" : "are", list,
       standard ? "Export the model with another opset (7 to 28), or with the operator decomposed or as a model-local "
                  "function."
                : "Export the model without runtime-specific operators (for instance before another runtime optimised "
                  "it), or give them as model-local functions.");
}

GraphPtr import_file(const std::string& path, const ImportOptions& options) {
  auto file = MappedFile::open(path);
  std::unique_ptr<char, void (*)(void*)> real(::realpath(path.c_str(), nullptr), std::free);
  std::string directory = real ? real.get() : path;
  size_t slash = directory.rfind('/');
  directory = slash == std::string::npos ? "." : slash == 0 ? "/" : directory.substr(0, slash);
  try {
    return Importer(file->bytes(), file, directory, options).run();
  } catch (Error& e) {
    e.note(fmt::format("while importing '{}'", path));
    throw;
  }
}

GraphPtr import_bytes(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                      const ImportOptions& options) {
  if (owner == nullptr) {
    auto copy = std::make_shared<std::vector<std::byte>>(bytes.begin(), bytes.end());
    bytes = *copy;
    owner = std::move(copy);
  }
  return Importer(bytes, std::move(owner), std::nullopt, options).run();
}

}  // namespace tenon::onnx
