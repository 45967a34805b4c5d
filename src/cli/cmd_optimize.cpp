// tenon optimize: the optimised graph written back as standard ONNX, for other runtimes.
#include <fmt/core.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "cli/common.hpp"
#include "onnx/export.hpp"
#include "ops/op_table.hpp"
#include "passes/region.hpp"

namespace tenon::cli {
namespace {

using Json = nlohmann::ordered_json;

struct OptimizeVerb {
  ModelOptions model;
  std::string output;
  bool json = false;
};

void set_input_dims(Graph& g, const std::map<std::string, Dims>& shapes) {
  if (shapes.empty()) return;
  for (const auto& [name, dims] : shapes) {
    auto input = std::find_if(g.inputs.begin(), g.inputs.end(),
                              [&, &name = name](ValueId v) { return g.value(v).name == name; });
    expect(input != g.inputs.end(), "the model has no input '{}'", name);
    Type& type = g.value(*input).type;
    expect(type.is_tensor() && (!type.shape || type.shape->size() == dims.size()),
           "input '{}' is {}; shape {} does not fit", name, type.text(), dims_text(dims));
    type.shape = to_shape(dims);
  }
  for (int v = 0; v < g.value_count(); ++v) {
    Value& value = g.value(v);
    value.content.reset();
    if (!value.is_constant() && value.producer != kNone) value.type = {};
  }
}

void optimize_model(const OptimizeVerb& o) {
  auto begin = std::chrono::steady_clock::now();
  GraphPtr g = import_model(o.model.model);
  int before = g->node_count();
  // A plan's graph carries regions and epilogues, for which ONNX has no operator: their nodes go back into the graph.
  inline_regions(*g);
  set_input_dims(*g, wanted_shapes(*g, o.model, 0));
  OptimizeOptions options = engine_options(o.model).optimize;
  // Two make nodes of Tenon's own, and Attention is younger than what most other runtimes read.
  options.disabled.insert({"fuse_attention", "fuse_pointwise", "fuse_epilogue"});
  Json passes = Json::array();
  options.trace = [&](const Graph&, const PassReport& r) {
    check_interrupted();
    if (!r.changed) return;
    passes.push_back({{"name", r.name}, {"nodes", r.nodes_after}, {"ms", r.milliseconds}});
    if (!o.json) fmt::print("{:<28} {:>6} nodes  {:.2f} ms\n", r.name, r.nodes_after, r.milliseconds);
  };
  optimize(*g, all_ops(), options);
  std::string path = o.output;
  if (path.empty()) path = std::filesystem::path(o.model.model).replace_extension(".opt.onnx").string();
  onnx::export_file(*g, path);
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (o.json) {
    fmt::print("{}\n", Json({{"path", path},
                             {"seconds", seconds},
                             {"nodes_before", before},
                             {"nodes_after", g->node_count()},
                             {"passes", passes}})
                           .dump(2));
    return;
  }
  fmt::print("wrote {} in {}: {} nodes, {} before\n", path, human_seconds(seconds), g->node_count(), before);
  fmt::print("next: tenon inspect {}\n", path);
}

}  // namespace

void add_optimize(CLI::App& app) {
  auto o = std::make_shared<OptimizeVerb>();
  CLI::App* sub = app.add_subcommand("optimize", "Write the optimised graph back as ONNX that other runtimes read");
  sub->add_option("model,--onnx", o->model.model, "ONNX model, plan or graph text")->required();
  sub->add_option("--output,-o", o->output, "Where to write the model (default: MODEL.opt.onnx)");
  add_shape_options(*sub, o->model);
  add_pass_options(*sub, o->model);
  sub->add_flag("--json", o->json, "One JSON object on standard output");
  sub->footer(
      "Shapes that are given become fixed, and what depends on them is folded.\n"
      "Examples:\n"
      "  tenon optimize model.onnx -o small.onnx\n"
      "  tenon optimize model.onnx --shape images:1x3x640x640 -o fixed.onnx");
  sub->callback([o] { optimize_model(*o); });
}

}  // namespace tenon::cli
