// conformance: runs the official ONNX backend tests through the interpreter and through optimiser and planner on the
// CPU, and compares what passes with a status file. Exit code 0 when every test is as the file says.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "corpus.hpp"
#include "graph/interpret.hpp"
#include "onnx/import.hpp"
#include "ops/op_table.hpp"
#include "runtime/engine.hpp"
#include "status.hpp"
#include "workers.hpp"

using namespace tenon;
using namespace tenon::conformance;

namespace {

struct Options {
  std::string data, status, filter, mode, json;
  std::vector<std::string> disabled;
  int jobs = 2, limit = 240;
  bool update = false, verbose = false;
};

std::vector<Datum> run_planned(const GraphPtr& graph, const std::vector<Datum>& inputs, const Options& options) {
  EngineOptions engine;
  engine.threads = 1;
  engine.level = 1;  // estimates: what is chosen must not depend on the machine's load
  engine.optimize.disabled.insert(options.disabled.begin(), options.disabled.end());
  std::map<std::string, Dims> shapes;
  for (size_t i = 0; i < inputs.size() && i < graph->inputs.size(); ++i) {
    if (inputs[i].is_tensor()) shapes[graph->value(graph->inputs[i]).name] = inputs[i].tensor.dims();
  }
  auto core = EngineCore::build(graph->clone(), shapes, {}, engine);
  ProgramSession session(core->program_for(inputs), core->pool(), core->ops());
  std::vector<Datum> outputs(graph->outputs.size());
  session.run(inputs, outputs);
  return outputs;
}

std::string run_case(const Case& test, Mode mode, bool random, const Options& options) {
  GraphPtr graph = onnx::import_file(test.model);
  size_t set = 0;
  for (const Data& data : read_data(test, *graph)) {
    std::vector<Datum> got =
        mode == kInterpreter ? interpret(*graph, all_ops(), data.inputs) : run_planned(graph, data.inputs, options);
    for (size_t i = 0; i < data.outputs.size(); ++i) {
      std::string d = random ? kind_difference(data.outputs[i], got.at(i)) : difference(data.outputs[i], got.at(i));
      if (!d.empty()) return fmt::format("data set {}, output {}: {}", set, i, d);
    }
    ++set;
  }
  return "";
}

Outcome guarded(const Case& test, Mode mode, bool random, const Options& options) {
  try {
    std::string wrong = run_case(test, mode, random, options);
    return {wrong.empty(), wrong};
  } catch (const Error& e) {
    return {false, e.what()};
  } catch (const std::exception& e) {
    return {false, fmt::format("an exception that is no Error: {}", e.what())};
  }
}

struct Tally {
  int total = 0, passed[kModes] = {0, 0}, both = 0;
};

void print_table(const std::map<std::string, Tally>& parts) {
  fmt::print("\n{:<20} {:>6} {:>12} {:>12} {:>12}\n", "part", "tests", "interpreter", "planned", "both");
  Tally all;
  auto line = [](const std::string& name, const Tally& t) {
    fmt::print("{:<20} {:>6} {:>12} {:>12} {:>12}\n", name, t.total, t.passed[0], t.passed[1], t.both);
  };
  for (const auto& [name, t] : parts) {
    line(name, t);
    all.total += t.total;
    all.both += t.both;
    for (int m = 0; m < kModes; ++m) all.passed[m] += t.passed[m];
  }
  line("all", all);
}

std::string short_reason(const std::string& message) {
  std::string out = message.substr(0, message.find(" while interpreting"));
  return out.size() > 160 ? out.substr(0, 157) + "..." : out;
}

void write_json(const std::string& path, const std::map<std::string, Tally>& parts) {
  nlohmann::json out;
  for (const auto& [name, t] : parts)
    out[name] = {{"tests", t.total}, {"interpreter", t.passed[0]}, {"planned", t.passed[1]}, {"both", t.both}};
  std::ofstream(path) << out.dump(2) << '\n';
}

// One test in one mode.
struct Job {
  const Case* test;
  Mode mode;
  bool random;  ///< only types and shapes can be compared
};

std::vector<Job> make_jobs(const std::vector<Case>& cases, const Status& expected, const Options& o) {
  std::vector<Job> jobs;
  for (int m = 0; m < kModes; ++m) {
    if (!o.mode.empty() && o.mode != (m == kInterpreter ? "interpreter" : "planned")) continue;
    for (const Case& c : cases) {
      auto e = expected.find(c.name);
      std::string state = e == expected.end() ? "" : e->second.state[m];
      if (state == "skip" || c.name.find(o.filter) == std::string::npos) continue;
      jobs.push_back({&c, static_cast<Mode>(m), state == "random"});
    }
  }
  // The networks take longest; begin with them.
  std::stable_partition(jobs.begin(), jobs.end(), [](const Job& j) { return j.test->part == "light"; });
  return jobs;
}

// Changes against the status file, printed; `updated` becomes what the file should say.
int report(const std::vector<Job>& jobs, const std::vector<Outcome>& outcomes, Status& updated, const Options& o) {
  int changes = 0;
  for (size_t i = 0; i < jobs.size(); ++i) {
    const std::string& test = jobs[i].test->name;
    bool known = updated.contains(test);
    Expected& e = updated[test];
    std::string& state = e.state[jobs[i].mode];
    std::string now = !outcomes[i].passed ? "fail" : jobs[i].random ? "random" : "pass";
    if (!known || state != now) {
      ++changes;
      if (!o.update && !o.status.empty())
        fmt::print("{} {}: {} where {} is expected. {}\n", jobs[i].mode == kInterpreter ? "interpreter" : "planned",
                   test, now, known ? state : "nothing", outcomes[i].message);
    }
    if (o.verbose && !outcomes[i].passed)
      fmt::print("fail {} {}: {}\n", jobs[i].mode == kInterpreter ? "interpreter" : "planned", test,
                 outcomes[i].message);
    state = now;
    if (!outcomes[i].passed && e.reason.empty()) e.reason = short_reason(outcomes[i].message);
    if (e.state[kInterpreter] == "pass" && e.state[kPlanned] == "pass") e.reason.clear();
  }
  return changes;
}

int run(const Options& o) {
  std::vector<Case> cases = find_cases(o.data);
  Status status = o.status.empty() ? Status() : read_status(o.status);
  std::vector<Job> jobs = make_jobs(cases, status, o);
  std::vector<Outcome> outcomes = run_isolated(
      jobs.size(), o.jobs, o.limit, [&](size_t i) { return guarded(*jobs[i].test, jobs[i].mode, jobs[i].random, o); });
  int changes = report(jobs, outcomes, status, o);
  std::map<std::string, Tally> parts;
  std::map<std::string, int> passes;
  for (const Case& c : cases) ++parts[c.part].total;
  for (size_t i = 0; i < jobs.size(); ++i) {
    if (!outcomes[i].passed || jobs[i].random) continue;
    Tally& t = parts[jobs[i].test->part];
    ++t.passed[jobs[i].mode];
    if (++passes[jobs[i].test->name] == kModes) ++t.both;
    if (o.verbose && outcomes[i].seconds > 2)
      fmt::print("slow: {} {:.1f} s\n", jobs[i].test->name, outcomes[i].seconds);
  }
  print_table(parts);
  if (!o.json.empty()) write_json(o.json, parts);
  if (o.update) {
    write_status(o.status, status);
    return 0;
  }
  if (o.status.empty()) return 0;
  std::set<std::string> present;
  for (const Case& c : cases) present.insert(c.name);
  for (const auto& [test, e] : status) {
    if (present.contains(test)) continue;
    fmt::print("{} is in the status file and not in the corpus\n", test);
    ++changes;
  }
  if (changes > 0) fmt::print("\n{} differences from {}; --update writes it anew\n", changes, o.status);
  return changes > 0 ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("The official ONNX backend tests: interpreter, and optimiser with planner on the CPU");
  Options o;
  app.add_option("data", o.data, "folder with node/, simple/, ...")->required();
  app.add_option("--status", o.status, "file with the expected state of every test");
  app.add_flag("--update", o.update, "write the status file instead of comparing with it");
  app.add_option("--filter", o.filter, "only tests whose name holds this");
  app.add_option("--mode", o.mode, "interpreter or planned; both if not given")
      ->check(CLI::IsMember({"interpreter", "planned"}));
  app.add_option("--disable-pass", o.disabled, "leave a pass out (planned mode)");
  app.add_option("--jobs", o.jobs, "processes")->check(CLI::Range(1, 256));
  app.add_option("--limit", o.limit, "seconds a test may take")->check(CLI::Range(1, 3600));
  app.add_option("--json", o.json, "write the table to this file as JSON");
  app.add_flag("--verbose", o.verbose, "print every failure and what is slow");
  CLI11_PARSE(app, argc, argv);
  try {
    expect(!o.update || !o.status.empty(), "--update needs --status");
    return run(o);
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 2;
  }
}
