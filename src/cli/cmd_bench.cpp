// tenon bench: latency and throughput of a model or plan.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "cli/common.hpp"
#include "cpu/isa.hpp"

namespace tenon::cli {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

struct BenchVerb {
  ModelOptions model;
  std::vector<std::string> inputs;
  double duration = 3;
  int warm_up = 5;
  int iterations = 10;
  bool json = false;
  bool layers = false;
};

double seconds_since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }

double percentile(const std::vector<double>& sorted, double p) {
  double at = p * static_cast<double>(sorted.size() - 1);
  auto low = static_cast<size_t>(at);
  size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (sorted[high] - sorted[low]) * (at - static_cast<double>(low));
}

Json layer_table(const Program& p, const std::vector<double>& seconds, int runs, double peak) {
  Json out = Json::array();
  for (size_t i = 0; i < p.steps.size(); ++i) {
    const Step& s = p.steps[i];
    double t = seconds[i] / runs;
    out.push_back({{"name", s.name},
                   {"op", s.op},
                   {"tactic", s.tactic},
                   {"detail", s.kernel ? s.kernel->detail() : ""},
                   {"ms", t * 1e3},
                   {"gflops", s.flops > 0 ? s.flops / t * 1e-9 : 0},
                   {"peak_fraction", s.flops > 0 && peak > 0 ? s.flops / t * 1e-9 / peak : 0},
                   {"gb_per_s", static_cast<double>(s.bytes) / t * 1e-9}});
  }
  return out;
}

void print_layers(const Json& layers) {
  double total = 0;
  for (const Json& l : layers) total += l["ms"].get<double>();
  std::vector<Json> sorted(layers.begin(), layers.end());
  std::stable_sort(sorted.begin(), sorted.end(), [](const Json& a, const Json& b) { return a["ms"] > b["ms"]; });
  fmt::print("{:>9} {:>6} {:>8} {:>6} {:>7}  {:<16} {:<22} {}\n", "ms", "share", "GFLOP/s", "peak", "GB/s", "op",
             "tactic", "node");
  for (const Json& l : sorted) {
    fmt::print("{:>9.4f} {:>5.1f}% {:>8.1f} {:>5.0f}% {:>7.1f}  {:<16} {:<22} {}\n", l["ms"].get<double>(),
               100 * l["ms"].get<double>() / total, l["gflops"].get<double>(), 100 * l["peak_fraction"].get<double>(),
               l["gb_per_s"].get<double>(), l["op"].get<std::string>(), l["tactic"].get<std::string>(),
               l["name"].get<std::string>());
  }
}

void bench(const BenchVerb& o) {
  auto begin = Clock::now();
  auto engine = open_model(o.model);
  print_notes(*engine, o.json);
  const Graph& g = engine->graph();
  std::vector<Datum> inputs;
  if (!o.inputs.empty()) {
    inputs = read_inputs(g, o.inputs);
  } else {
    // What a plan was made for is what is measured, unless another shape is asked for.
    bool asked = !o.model.shapes.empty() || !o.model.opt_shapes.empty() || o.model.batch > 0;
    auto dims = asked ? std::nullopt : engine->planned_dims();
    if (!dims) dims = input_dims(g, wanted_shapes(g, o.model, 1));
    expect(dims.has_value(), "the model's input shapes are open: give --shape NAME:DIMS or --inputs FILE");
    inputs = sample_inputs(g, *dims);
  }
  auto program = engine->program_for(inputs);
  ProgramSession session(program, engine->pool(), engine->ops());
  double build_seconds = seconds_since(begin);
  std::vector<Datum> outputs(program->outputs.size());
  for (int i = 0; i < o.warm_up; ++i) session.run(inputs, outputs);
  std::vector<double> times;
  auto start = Clock::now();
  while ((static_cast<int>(times.size()) < o.iterations || seconds_since(start) < o.duration) && !interrupted()) {
    auto t = Clock::now();
    session.run(inputs, outputs);
    times.push_back(seconds_since(t));
    if (times.size() >= 200000) break;
  }
  expect(!times.empty(), "interrupted before the first run");
  double wall = seconds_since(start), sum = 0;
  for (double t : times) sum += t;
  std::sort(times.begin(), times.end());
  auto ms = [](double s) { return s * 1e3; };
  int64_t batch =
      inputs.empty() || !inputs[0].is_tensor() || inputs[0].tensor.rank() == 0 ? 1 : inputs[0].tensor.dims()[0];
  Json j;
  j["model"] = o.model.model;
  j["device"] = "cpu";
  j["isa"] = cpu::isa_name();
  j["threads"] = engine->pool()->threads();
  j["batch"] = batch;
  j["precision"] = "fp32";
  j["latency_ms"] = {{"min", ms(times.front())},
                     {"mean", ms(sum / static_cast<double>(times.size()))},
                     {"median", ms(percentile(times, 0.5))},
                     {"p90", ms(percentile(times, 0.9))},
                     {"p99", ms(percentile(times, 0.99))},
                     {"max", ms(times.back())}};
  j["runs"] = times.size();
  j["throughput_per_s"] = static_cast<double>(batch) * static_cast<double>(times.size()) / wall;
  j["build_s"] = build_seconds;
  j["arena_bytes"] = program->arena_bytes;
  j["packed_weight_bytes"] = engine->weight_bytes();
  j["peak_memory_bytes"] = peak_memory_bytes();
  if (o.layers) {
    double peak = cpu::measure_peak_gflops(*engine->pool());
    std::vector<double> seconds(program->steps.size(), 0);
    int runs = 0;
    for (auto t = Clock::now(); runs < 3 || (seconds_since(t) < 1 && runs < 1000); ++runs)
      session.run(inputs, outputs, seconds);
    j["peak_gflops"] = peak;
    j["layers"] = layer_table(*program, seconds, runs, peak);
  }
  if (o.json) {
    fmt::print("{}\n", j.dump(2));
    return;
  }
  fmt::print("{} on cpu ({}, {} threads), batch {}\n", o.model.model, cpu::isa_name(), engine->pool()->threads(),
             batch);
  fmt::print(
      "latency: min {:.3f} ms, mean {:.3f} ms, median {:.3f} ms, p90 {:.3f} ms, p99 {:.3f} ms, max {:.3f} ms ({} "
      "runs)\n",
      ms(times.front()), j["latency_ms"]["mean"].get<double>(), ms(percentile(times, 0.5)), ms(percentile(times, 0.9)),
      ms(percentile(times, 0.99)), ms(times.back()), times.size());
  fmt::print("throughput: {:.1f} items/s\n", j["throughput_per_s"].get<double>());
  fmt::print("build or load: {}; arena {}, packed weights {}, peak memory {}\n", human_seconds(build_seconds),
             human_bytes(static_cast<double>(program->arena_bytes)),
             human_bytes(static_cast<double>(engine->weight_bytes())),
             human_bytes(static_cast<double>(peak_memory_bytes())));
  if (o.layers) print_layers(j["layers"]);
}

}  // namespace

void add_bench(CLI::App& app) {
  auto o = std::make_shared<BenchVerb>();
  CLI::App* sub = app.add_subcommand("bench", "Measure latency and throughput of a model or plan");
  add_model_options(*sub, o->model);
  sub->add_option("--inputs,-i", o->inputs, "Inputs as for run (default: generated)")->expected(1)->take_all();
  sub->add_option("--duration", o->duration, "Measure for at least this many seconds")->check(CLI::Range(0.0, 1e6));
  sub->add_option("--warmUp,--warm-up", o->warm_up, "Runs before measuring")->check(CLI::Range(0, 1 << 20));
  sub->add_option("--iterations", o->iterations, "Measure at least this many runs")->check(CLI::Range(1, 1 << 20));
  sub->add_flag("--layers,--dumpProfile", o->layers,
                "Time of every step, its tactic and the fraction of the machine's peak");
  sub->add_flag("--json", o->json, "One JSON object on standard output");
  sub->callback([o] { bench(*o); });
}

}  // namespace tenon::cli
