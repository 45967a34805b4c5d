// tenon inspect: what is in a model or plan.
#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "cli/common.hpp"
#include "graph/text.hpp"
#include "ops/op_table.hpp"
#include "plan/plan.hpp"

namespace tenon::cli {
namespace {

using Json = nlohmann::ordered_json;

struct InspectVerb {
  std::string model;
  bool json = false, text = false, optimized = false;
  std::vector<std::string> disabled;
  std::string stop_after;
};

struct Counts {
  std::map<std::string, int> ops;
  std::map<std::string, std::pair<int64_t, int64_t>> weights;  // dtype -> tensors, bytes
  int64_t parameters = 0;
  int nodes = 0;
};

void count(const Graph& g, Counts& c) {
  std::vector<char> seen(static_cast<size_t>(g.value_count()), 0);
  for (NodeId id : g.order()) {
    const Node& n = g.node(id);
    ++c.ops[n.op];
    ++c.nodes;
    for (ValueId v : n.inputs) {
      if (v == kNone || !g.value(v).is_constant() || seen[static_cast<size_t>(v)]) continue;
      seen[static_cast<size_t>(v)] = 1;
      const Tensor& t = g.value(v).constant;
      auto& [tensors, bytes] = c.weights[std::string(name(t.dtype()))];
      ++tensors;
      bytes += t.bytes();
      c.parameters += t.size();
    }
    for (const auto& [key, attr] : n.attrs.items()) {
      if (const auto* sub = std::get_if<GraphPtr>(&attr); sub != nullptr && *sub) count(**sub, c);
    }
  }
}

Json summary(const Graph& g) {
  Counts c;
  count(g, c);
  auto values = [&](const std::vector<ValueId>& ids) {
    Json out = Json::array();
    for (ValueId v : ids) out.push_back({{"name", g.value(v).name}, {"type", g.value(v).type.text()}});
    return out;
  };
  Json j;
  j["name"] = g.name;
  j["inputs"] = values(g.inputs);
  j["outputs"] = values(g.outputs);
  j["nodes"] = c.nodes;
  j["parameters"] = c.parameters;
  j["ops"] = c.ops;
  Json weights = Json::object();
  for (const auto& [dtype, n] : c.weights) weights[dtype] = {{"tensors", n.first}, {"bytes", n.second}};
  j["weights"] = std::move(weights);
  j["metadata"] = g.metadata;
  return j;
}

void print_summary(const Json& j, const std::string& path) {
  fmt::print("{}\n", path);
  for (const auto& [key, value] : j["metadata"].items()) {
    std::string text = value.get<std::string>();
    if (text.size() > 100) text = text.substr(0, 97) + "...";
    fmt::print("  {:<18} {}\n", key, text);
  }
  for (const char* side : {"inputs", "outputs"}) {
    for (const Json& v : j[side]) {
      fmt::print("{:<8} {}: {}\n", std::string(side).substr(0, std::string(side).size() - 1),
                 v["name"].get<std::string>(), v["type"].get<std::string>());
    }
  }
  fmt::print("{} nodes, {} parameters", j["nodes"].get<int>(), j["parameters"].get<int64_t>());
  for (const auto& [dtype, w] : j["weights"].items())
    fmt::print(", {} of {}", human_bytes(w["bytes"].get<double>()), dtype);
  fmt::print("\n");
  std::vector<std::pair<std::string, int>> ops;
  for (const auto& [op, n] : j["ops"].items()) ops.emplace_back(op, n.get<int>());
  std::stable_sort(ops.begin(), ops.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  for (const auto& [op, n] : ops) fmt::print("  {:>5}  {}\n", n, op);
}

void inspect(const InspectVerb& o) {
  expect(o.optimized || (o.disabled.empty() && o.stop_after.empty()),
         "--disable-pass and --stop-after are about the passes: give --optimized, too, to run them");
  if (is_plan_file(o.model) && !o.text && !o.optimized) {
    fmt::print("{}\n", read_plan_info(o.model));
    return;
  }
  GraphPtr g = import_model(o.model, true);
  if (o.optimized) {
    OptimizeOptions options;
    options.disabled = {o.disabled.begin(), o.disabled.end()};
    options.stop_after = o.stop_after;
    if (!o.json && !o.text) {
      options.trace = [](const Graph&, const PassReport& r) {
        if (r.changed) fmt::print("{:<28} {:>6} nodes  {:.2f} ms\n", r.name, r.nodes_after, r.milliseconds);
      };
    }
    optimize(*g, all_ops(), options);
  }
  if (o.text) {
    PrintOptions options;
    options.node_names = true;
    fmt::print("{}", print(*g, options));
    return;
  }
  Json j = summary(*g);
  if (o.json) {
    fmt::print("{}\n", j.dump(2));
  } else {
    print_summary(j, o.model);
  }
}

}  // namespace

void add_inspect(CLI::App& app) {
  auto o = std::make_shared<InspectVerb>();
  CLI::App* sub = app.add_subcommand("inspect", "Show what is in a model or plan");
  sub->add_option("model", o->model, "ONNX model, plan or graph text")->required();
  sub->add_flag("--text", o->text, "Print the graph as text");
  sub->add_flag("--json", o->json, "One JSON object on standard output");
  sub->add_flag("--optimized", o->optimized, "Run the passes first and show what each changed");
  sub->add_option("--disable-pass", o->disabled, "Leave a pass out (repeatable)")->expected(1)->take_all();
  sub->add_option("--stop-after", o->stop_after, "Run no pass after this one");
  sub->footer(
      "Examples:\n"
      "  tenon inspect model.onnx\n"
      "  tenon inspect model.onnx --optimized\n"
      "  tenon inspect model.plan --text");
  sub->callback([o] { inspect(*o); });
}

}  // namespace tenon::cli
