// tenon build: a model becomes a plan file.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/checked.hpp"
#include "base/error.hpp"
#include "cli/common.hpp"
#include "cpu/onednn/library.hpp"
#include "plan/flow.hpp"
#include "runtime/verify.hpp"

namespace tenon::cli {
namespace {

using Json = nlohmann::ordered_json;

struct BuildVerb {
  ModelOptions model;
  std::string output;
  std::vector<std::string> explain;
  std::vector<std::string> samples;
  double tolerance = 0;
  bool no_verify = false;
  bool json = false;
};

// Generated inputs of more bytes than this are not made only to verify on them.
constexpr int64_t kMaxSampleBytes = int64_t{1} << 30;

int64_t bytes_of(const Graph& g, const std::vector<Dims>& dims) {
  int64_t total = 0;
  for (size_t i = 0; i < dims.size(); ++i) {
    total = checked_add(total, byte_size(g.value(g.inputs[i]).type.dtype, element_count(dims[i])));
  }
  return total;
}

// Sample inputs for the shapes that will be planned: given ones, else generated; none (and why) where that cannot be.
std::vector<Datum> samples_for(const BuildVerb& o, const Graph& g, const std::map<std::string, Dims>& shapes,
                               std::string& why_not) {
  if (!o.samples.empty()) {
    InputOptions files;
    files.files = o.samples;
    return read_inputs(g, files, shapes);
  }
  // A shape that was asked for counts also where the model declares another (see free_contradicted_dims).
  GraphPtr open = g.clone();
  for (ValueId v : open->inputs) {
    Type& type = open->value(v).type;
    auto asked = shapes.find(open->value(v).name);
    if (asked != shapes.end() && type.is_tensor() && (!type.shape || type.shape->size() == asked->second.size())) {
      type.shape = to_shape(asked->second);
    }
  }
  auto dims = input_dims(*open, shapes);
  bool tensors = std::all_of(g.inputs.begin(), g.inputs.end(), [&](ValueId v) { return g.value(v).type.is_tensor(); });
  if (!dims || !tensors) return {};
  if (int64_t bytes = bytes_of(g, *dims); bytes > kMaxSampleBytes) {
    why_not = fmt::format("the inputs would take {}", human_bytes(static_cast<double>(bytes)));
    return {};
  }
  return sample_inputs(g, *dims);
}

std::string outcome(const VerifyReport& r) {
  if (!r.done) {
    return "not verified: " + (r.why_not.empty() ? "the shapes are open or the inputs are no tensors" : r.why_not) +
           " (give --shape or --verify-inputs)";
  }
  if (r.by_layer && r.worst > r.tolerance) {
    return fmt::format(
        "verified layer by layer: every step agrees with the reference on the same inputs; end to end the model "
        "amplifies rounding to {:.2g} rms on these inputs (--verify-inputs gives it real ones)",
        r.worst);
  }
  std::string text = fmt::format("{} against the reference: largest error {:.2g} rms, allowed {:.2g}",
                                 r.passed ? "verified" : "NOT VERIFIED", r.worst, r.tolerance);
  for (const std::string& b : r.blamed) text += "\n  left out, it gave other values: " + b;
  if (!r.passed)
    text += fmt::format("\n  the worst output is '{}'; tenon compare --layers shows where it begins", r.output);
  return text;
}

// `indent`: how deep inside control flow.
void explain(const Graph& graph, const std::vector<Choice>& choices, const Selection& selection,
             const std::vector<std::string>& names, int indent = 0) {
  std::vector<NodeId> order = graph.order();
  for (size_t i = 0; i < order.size() && i < selection.candidates.size(); ++i) {
    const Node& n = graph.node(order[i]);
    bool wanted = names.front() == "all" || std::find(names.begin(), names.end(), n.name) != names.end();
    const Choice& c = choices[i];
    if (wanted) {
      fmt::print("{:{}}{} {}\n", "", indent, n.op, n.name.empty() ? fmt::format("(node {})", n.id) : n.name);
      for (const Candidate& k : selection.candidates[i]) {
        bool won =
            k.willing && k.tactic == (c.tactic.empty() ? "reference" : c.tactic) && k.in == c.in && k.out == c.out;
        fmt::print("{:{}}  {} {:<24} {:>13} -> {:<13} {}\n", "", indent, won ? "*" : " ", k.tactic, name(k.in),
                   name(k.out),
                   k.willing ? fmt::format("{} {}", human_seconds(k.seconds), k.measured ? "measured" : "estimated")
                             : "no: " + k.why);
      }
    }
    auto inside = selection.inside.find(i);
    std::string why;
    std::optional<FlowSpec> spec = inside == selection.inside.end() ? std::nullopt : flow_spec(graph, n, why);
    if (!spec || c.bodies.size() != spec->bodies.size()) continue;
    for (size_t k = 0; k < spec->bodies.size(); ++k) {
      if (spec->bodies[k]) explain(*spec->bodies[k], c.bodies[k], inside->second[k], names, indent + 4);
    }
  }
}

std::shared_ptr<EngineCore> open_verified(const BuildVerb& o, VerifyReport& report) {
  if (o.no_verify || is_plan_file(o.model.model)) return open_model(o.model);
  auto engine = open_model(o.model, {},
                           [&](const GraphPtr& g, const std::map<std::string, Dims>& shapes,
                               const std::map<std::string, ProfileRange>& profile, EngineOptions options) {
                             VerifyOptions v;
                             v.inputs = samples_for(o, *g, shapes, report.why_not);
                             v.tolerance = o.tolerance;
                             return build_verified(g, shapes, profile, std::move(options), v, report);
                           });
  if (!o.json || (report.done && !report.passed)) fmt::print(stderr, "{}\n", outcome(report));
  return engine;
}

Json verification(const VerifyReport& r) {
  if (!r.done) return nullptr;
  return {{"passed", r.passed}, {"error", r.worst}, {"tolerance", r.tolerance}, {"left_out", r.blamed}};
}

void build(const BuildVerb& o) {
  auto begin = std::chrono::steady_clock::now();
  VerifyReport report;
  auto engine = open_verified(o, report);
  print_notes(*engine, o.json);
  check_interrupted();
  if (report.done && !report.passed) throw NotVerified();
  auto dims = input_dims(engine->graph(), wanted_shapes(engine->graph(), o.model, 0));
  std::shared_ptr<const Program> program;
  if (dims) program = engine->program(*dims);
  expect(o.explain.empty() || !o.json, "--explain prints a table; it does not go with --json");
  if (!o.explain.empty() && program) explain(*program->graph, program->choices, engine->selection(), o.explain);
  if (!o.explain.empty() && !o.model.no_libraries) {
    fmt::print("oneDNN, where it was looked for:\n{}", cpu::onednn::search_report());
  }
  std::string path = o.output.empty() ? o.model.model + ".plan" : o.output;
  save_plan(engine->plan(), path);
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (o.json) {
    Json j = {{"path", path}, {"seconds", seconds}, {"planned", program != nullptr}};
    if (program) {
      j["steps"] = program->steps.size();
      j["arena_bytes"] = program->arena_bytes;
    }
    j["packed_weight_bytes"] = engine->weight_bytes();
    j["peak_memory_bytes"] = peak_memory_bytes();
    j["verification"] = verification(report);
    j["notes"] = engine->notes();
    fmt::print("{}\n", j.dump(2));
    return;
  }
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
  add_model_options(*sub, o->model, "model,--onnx");
  add_profile_options(*sub, o->model);
  sub->add_option("--output,-o,--saveEngine", o->output, "Where to write the plan (default: MODEL.plan)");
  sub->add_option("--explain", o->explain, "Print every tactic's verdict and time for a node (by name), or for 'all'");
  sub->add_option("--verify-inputs,--loadInputs", o->samples,
                  "Sample inputs to verify on (default: generated); as run's --inputs")
      ->expected(1)
      ->take_all();
  sub->add_option("--verify-tolerance", o->tolerance, "Allowed rms error relative to an output (default: by precision)")
      ->check(number_in(0.0, 1e30));
  sub->add_flag("--no-verify", o->no_verify, "Do not compare the plan with the reference");
  sub->add_flag("--json", o->json, "One JSON object on standard output");
  add_precision_flags(*sub);
  sub->footer(
      "A plan holds the optimised graph, the chosen tactics and the packed weights. trtexec's flags work too.\n"
      "Examples:\n"
      "  tenon build model.onnx -o model.plan\n"
      "  tenon build model.onnx --minShapes x:1x3x224x224 --optShapes x:8x3x224x224 --maxShapes x:32x3x224x224\n"
      "  tenon build --onnx=model.onnx --saveEngine=model.plan --shapes=x:1x3x224x224");
  sub->callback([o] { build(*o); });
}

}  // namespace tenon::cli
