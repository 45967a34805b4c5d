// tenon compare: the plan against the reference interpreter, output by output and layer by layer.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "cli/common.hpp"
#include "graph/interpret.hpp"
#include "graph/text.hpp"
#include "runtime/compare.hpp"

namespace tenon::cli {
namespace {

using Json = nlohmann::ordered_json;

struct CompareVerb {
  ModelOptions model;
  InputOptions inputs;
  double tolerance = 1e-3;
  int worst = 10;
  bool layers = false, json = false;
};

struct Row {
  std::string name, what;
  Difference difference;
};

Json as_json(const std::vector<Row>& rows) {
  Json out = Json::array();
  for (const Row& r : rows) {
    out.push_back({{"name", r.name},
                   {"what", r.what},
                   {"max_abs", r.difference.max_abs},
                   {"relative", r.difference.relative},
                   {"scale", r.difference.scale}});
  }
  return out;
}

void print_rows(const std::vector<Row>& rows) {
  for (const Row& r : rows) {
    fmt::print("  {:>10.3g} {:>10.3g} {:>10.3g}  {:<22} {}\n", r.difference.relative, r.difference.max_abs,
               r.difference.scale, r.what, r.name);
  }
}

// Each node of the program's graph against the interpreter on the same graph, worst first.
std::vector<Row> layer_rows(const Program& p, ProgramSession& session, const OpTable& ops,
                            std::span<const Datum> inputs, std::vector<Datum>& outputs) {
  std::map<NodeId, std::vector<Datum>> wanted;
  interpret(*p.graph, ops, inputs,
            [&](const Node& n, std::span<const Datum> out) { wanted[n.id].assign(out.begin(), out.end()); });
  std::vector<Row> rows;
  session.run_observed(inputs, outputs, [&](const Step& step, std::span<const Tensor> made) {
    const auto& want = wanted[step.node];
    for (size_t i = 0; i < made.size() && i < want.size(); ++i) {
      if (!made[i].defined() || !want[i].is_tensor() || !want[i].tensor.defined()) continue;
      rows.push_back({step.name, step.op + "/" + step.tactic, difference(want[i].tensor, made[i])});
    }
  });
  std::stable_sort(rows.begin(), rows.end(),
                   [](const Row& a, const Row& b) { return a.difference.relative > b.difference.relative; });
  return rows;
}

void compare(const CompareVerb& o) {
  auto engine = open_model(o.model);
  const Graph& g = engine->graph();
  std::vector<Datum> inputs = inputs_for(*engine, o.inputs, o.model);
  auto program = engine->program_for(inputs);
  ProgramSession session(program, engine->pool(), engine->ops());
  std::vector<Datum> outputs(program->outputs.size());
  session.run(inputs, outputs);
  GraphPtr original = is_plan_file(o.model.model) ? engine->graph().clone() : import_model(o.model.model);
  std::vector<Datum> wanted = interpret(*original, engine->ops(), inputs);
  std::vector<Row> rows;
  double worst = 0;
  for (size_t i = 0; i < outputs.size(); ++i) {
    rows.push_back({g.value(g.outputs[i]).name, "output", difference(wanted[i], outputs[i])});
    worst = std::max(worst, rows.back().difference.relative);
  }
  std::vector<Row> layers;
  if (o.layers) layers = layer_rows(*program, session, engine->ops(), inputs, outputs);
  if (o.json) {
    fmt::print(
        "{}\n",
        Json({{"outputs", as_json(rows)}, {"layers", as_json(layers)}, {"worst", worst}, {"tolerance", o.tolerance}})
            .dump(2));
  } else {
    fmt::print("  {:>10} {:>10} {:>10}  {:<22} {}\n", "relative", "max abs", "scale", "what", "name");
    print_rows(rows);
    if (o.layers) {
      layers.resize(std::min(layers.size(), static_cast<size_t>(std::max(0, o.worst))));
      fmt::print("worst layers (each against the reference on the reference's own inputs so far):\n");
      print_rows(layers);
    }
    fmt::print("{}: largest relative error {:.3g}, tolerance {:.3g}\n", worst <= o.tolerance ? "equal" : "DIFFERENT",
               worst, o.tolerance);
  }
  if (!(worst <= o.tolerance)) throw NotVerified();
}

}  // namespace

void add_compare(CLI::App& app) {
  auto o = std::make_shared<CompareVerb>();
  CLI::App* sub = app.add_subcommand("compare", "Compare a model or plan with the reference interpreter");
  add_model_options(*sub, o->model);
  add_input_options(*sub, o->inputs);
  sub->add_option("--tolerance", o->tolerance, "Largest error allowed, relative to an output's largest magnitude")
      ->check(number_in(-1e30, 1e30));
  sub->add_flag("--layers", o->layers, "Compare every layer, worst first");
  sub->add_option("--worst", o->worst, "How many layers to print")->check(CLI::Range(0, 1 << 20));
  sub->add_flag("--json", o->json, "One JSON object on standard output");
  sub->footer(
      "Exit code 6 when the largest error is above the tolerance.\n"
      "Examples:\n"
      "  tenon compare model.onnx --layers\n"
      "  tenon compare model.plan --inputs in.npz --tolerance 1e-4 --json");
  sub->callback([o] { compare(*o); });
}

}  // namespace tenon::cli
