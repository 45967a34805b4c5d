// tenon build: a model becomes a plan file.
#include <fmt/core.h>

#include <chrono>

#include "base/error.hpp"
#include "cli/common.hpp"

namespace tenon::cli {
namespace {

struct BuildVerb {
  ModelOptions model;
  std::string output;
  std::vector<std::string> explain;
};

void explain(const EngineCore& engine, const Program& program, const std::vector<std::string>& names) {
  std::vector<NodeId> order = program.graph->order();
  for (size_t i = 0; i < order.size() && i < engine.candidates().size(); ++i) {
    const Node& n = program.graph->node(order[i]);
    bool wanted = names.front() == "all" || std::find(names.begin(), names.end(), n.name) != names.end();
    if (!wanted) continue;
    const Choice& c = program.choices[i];
    fmt::print("{} {}\n", n.op, n.name.empty() ? fmt::format("(node {})", n.id) : n.name);
    for (const Candidate& k : engine.candidates()[i]) {
      bool won = k.willing && k.tactic == (c.tactic.empty() ? "reference" : c.tactic) && k.in == c.in && k.out == c.out;
      fmt::print("  {} {:<24} {:>13} -> {:<13} {}\n", won ? "*" : " ", k.tactic, name(k.in), name(k.out),
                 k.willing ? fmt::format("{} {}", human_seconds(k.seconds), k.measured ? "measured" : "estimated")
                           : "no: " + k.why);
    }
  }
}

void build(const BuildVerb& o) {
  auto begin = std::chrono::steady_clock::now();
  auto engine = open_model(o.model);
  print_notes(*engine, false);
  auto dims = input_dims(engine->graph(), wanted_shapes(engine->graph(), o.model, 0));
  std::shared_ptr<const Program> program;
  if (dims) program = engine->program(*dims);
  if (!o.explain.empty() && program) explain(*engine, *program, o.explain);
  std::string path = o.output.empty() ? o.model.model + ".plan" : o.output;
  save_plan(engine->plan(), path);
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  fmt::print("built {} in {}: {}\n", path, human_seconds(seconds),
             program ? fmt::format("{} steps, arena {}, packed weights {}", program->steps.size(),
                                   human_bytes(static_cast<double>(program->arena_bytes)),
                                   human_bytes(static_cast<double>(engine->weight_bytes())))
                     : "shapes are open, they are planned at the first run (give --shape to plan now)");
  fmt::print("next: tenon bench {}\n", path);
}

}  // namespace

void add_build(CLI::App& app) {
  auto o = std::make_shared<BuildVerb>();
  CLI::App* sub = app.add_subcommand("build", "Optimise a model for this machine and write a plan");
  add_model_options(*sub, o->model);
  sub->add_option("--output,-o,--saveEngine", o->output, "Where to write the plan (default: MODEL.plan)");
  sub->add_option("--explain", o->explain, "Print every tactic's verdict and time for a node (by name), or for 'all'");
  sub->callback([o] { build(*o); });
}

}  // namespace tenon::cli
