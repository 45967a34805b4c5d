#include <algorithm>
#include <chrono>

#include "base/error.hpp"
#include "graph/text.hpp"
#include "passes/pass.hpp"

namespace tenon {
namespace {

constexpr int kRounds = 4;  // pipelines until a fixpoint; more only happens when two passes undo each other

struct Cleanup {
  std::string_view name;
  bool (*run)(Graph&, PassContext&);
};
constexpr Cleanup kCleanup[] = {
    {"fold_constants", fold_constants},
    {"merge_equal_nodes", merge_equal_nodes},
    {"remove_dead_nodes", remove_dead_nodes},
};

bool disabled(const OptimizeOptions& options, std::string_view name) { return options.disabled.contains(name); }

bool clean(Graph& graph, PassContext& context, const OptimizeOptions& options) {
  bool changed = false;
  for (int i = 0; i < kRounds; ++i) {
    bool again = false;
    for (const Cleanup& step : kCleanup) {
      if (!disabled(options, step.name)) again |= step.run(graph, context);
    }
    changed |= again;
    if (!again) break;
  }
  return changed;
}

// Calls f(sub-graph). A branch of an If may contradict the shapes at hand because it is not the one that will be taken
// (silero-vad has a branch for each sampling rate): such a branch stays as it was, and is an error when it runs.
template <class F>
void each_subgraph(Graph& graph, F&& f) {
  for (NodeId id : graph.order()) {
    std::vector<Attrs::Item> items = graph.node(id).attrs.items();
    const Node& node = graph.node(id);
    for (const auto& [name, attr] : items) {
      // Epilogues and regions are made by fusion and are already what they should be.
      if (name == "epilogue" || node.op == "tenon.Pointwise") continue;
      const auto* g = std::get_if<GraphPtr>(&attr);
      if (g == nullptr || !*g) continue;
      if (node.op != "If") {
        f(**g);
        continue;
      }
      GraphPtr branch = (*g)->clone();
      try {
        f(*branch);
      } catch (const Error& e) {
        if (e.code() != Code::kInvalidArgument) throw;
        continue;
      }
      graph.node(id).attrs.set(name, branch);
    }
  }
}

void check_names(const OptimizeOptions& options) {
  std::vector<std::string> known = pass_names();
  auto check = [&](const std::string& name) {
    if (name.empty() || std::find(known.begin(), known.end(), name) != known.end()) return;
    std::string all;
    for (const std::string& k : known) all += "\n  " + k;
    fail(Code::kInvalidArgument, "there is no pass '{}'; the passes are:{}", name, all);
  };
  for (const std::string& name : options.disabled) check(name);
  check(options.stop_after);
}

void run_pipeline(Graph& graph, PassContext& context, const OptimizeOptions& options, std::vector<PassReport>& reports,
                  int depth) {
  expect(depth < 100, "graphs are nested more than 100 deep");
  infer_types(graph, context.ops);
  clean(graph, context, options);
  for (int round = 0; round < kRounds; ++round) {
    bool changed = false;
    for (const Pass& pass : pipeline()) {
      if (disabled(options, pass.name)) continue;
      auto begin = std::chrono::steady_clock::now();
      PassReport report{pass.name};
      try {
        report.changed = pass.run(graph, context);
        if (report.changed) {
          infer_types(graph, context.ops);
          clean(graph, context, options);
        }
        verify(graph, context.ops, pass.name);
      } catch (Error& e) {
        throw e.note(fmt::format("in pass {}; --disable-pass {} leaves it out", pass.name, pass.name));
      }
      report.milliseconds = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
      report.nodes_after = graph.node_count();
      changed |= report.changed;
      if (depth == 0) {
        reports.push_back(report);
        if (options.trace) options.trace(graph, report);
      }
      if (pass.name == options.stop_after) return;
    }
    if (!changed) break;
  }
  each_subgraph(graph, [&](Graph& sub) { run_pipeline(sub, context, options, reports, depth + 1); });
}

}  // namespace

std::vector<std::string> pass_names() {
  std::vector<std::string> out;
  for (const Cleanup& c : kCleanup) out.emplace_back(c.name);
  for (const Pass& p : pipeline()) out.emplace_back(p.name);
  return out;
}

std::vector<PassReport> optimize(Graph& graph, const OpTable& ops, const OptimizeOptions& options) {
  check_names(options);
  PassContext context{ops, options.fold_bytes};
  std::vector<PassReport> reports;
  verify(graph, ops, "import");
  run_pipeline(graph, context, options, reports, 0);
  graph.compact();
  return reports;
}

void verify(const Graph& graph, const OpTable& ops, std::string_view after) {
  auto broken = [&](const std::string& what) { fail(Code::kInternal, "after {}: {}", after, what); };
  std::vector<NodeId> order = graph.order();
  std::vector<char> defined(static_cast<size_t>(graph.value_count()), 0);
  auto mark = [&](ValueId v) { return defined[static_cast<size_t>(v)] != 0; };
  for (int v = 0; v < graph.value_count(); ++v) {
    if (graph.value(v).is_constant()) defined[static_cast<size_t>(v)] = 1;
  }
  for (ValueId v : graph.inputs) defined[static_cast<size_t>(v)] = 1;
  for (NodeId id : order) {
    const Node& n = graph.node(id);
    const Op* op = ops.find(n.op);
    if (op == nullptr) fail(Code::kUnsupported, "after {}: operator {} is not known", after, n.op);
    size_t count = n.inputs.size();
    if (GraphPtr e = n.attrs.graph("epilogue")) count -= std::min(count, e->inputs.size() - 1);
    size_t captures = static_cast<size_t>(std::max<int64_t>(0, n.attrs.integer("captures", 0)));
    count -= std::min(count, captures);
    if (static_cast<int>(count) < op->min_inputs || (op->max_inputs >= 0 && static_cast<int>(count) > op->max_inputs)) {
      fail(Code::kInvalidArgument, "node '{}': {} takes {} to {} inputs, {} are given", n.name, n.op, op->min_inputs,
           op->max_inputs, count);
    }
    for (size_t i = 0; i < n.inputs.size(); ++i) {
      ValueId v = n.inputs[i];
      if (v == kNone) continue;
      if (!mark(v)) broken(fmt::format("{} reads '{}', which nothing defines", n.op, graph.value(v).name));
      const auto& uses = graph.value(v).uses;
      bool listed = uses.size() > 64 || std::any_of(uses.begin(), uses.end(), [&](const Use& u) {
                      return u.node == id && u.index == static_cast<int>(i);
                    });
      if (!listed) broken(fmt::format("the use of '{}' by {} is not listed", graph.value(v).name, n.op));
    }
    for (ValueId v : n.outputs) {
      if (v == kNone) continue;
      if (mark(v)) broken(fmt::format("'{}' is defined twice", graph.value(v).name));
      defined[static_cast<size_t>(v)] = 1;
    }
  }
  for (ValueId v : graph.outputs) {
    if (!mark(v)) broken(fmt::format("output '{}' is not defined", graph.value(v).name));
  }
}

}  // namespace tenon
