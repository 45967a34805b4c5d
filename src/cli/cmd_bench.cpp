// tenon bench: latency and throughput of a model or plan.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/file.hpp"
#include "cli/common.hpp"
#include "cpu/isa.hpp"

namespace tenon::cli {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

constexpr size_t kMostRuns = 200000;

struct BenchVerb {
  ModelOptions model;
  InputOptions inputs;
  double duration = 3;
  int warm_up = 5;
  double warm_up_ms = 0;
  int iterations = 10;
  int average = 0;
  std::vector<double> percentiles;
  std::string save_engine, export_times, export_profile;
  bool json = false, layers = false, skip_inference = false;
};

struct Times {
  std::vector<double> begin, seconds;  // of each run, since the first
  std::vector<double> sorted;
  double wall = 0, sum = 0;
};

double seconds_since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }
double ms(double s) { return s * 1e3; }

double percentile(const std::vector<double>& sorted, double p) {
  double at = p * static_cast<double>(sorted.size() - 1);
  auto low = static_cast<size_t>(at);
  size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (sorted[high] - sorted[low]) * (at - static_cast<double>(low));
}

Times measure(const BenchVerb& o, ProgramSession& session, std::span<const Datum> inputs, std::span<Datum> outputs) {
  auto warm = Clock::now();
  for (int i = 0; i < o.warm_up || ms(seconds_since(warm)) < o.warm_up_ms; ++i) {
    check_interrupted();
    session.run(inputs, outputs);
  }
  Times t;
  auto start = Clock::now();
  int shown = 0;
  while ((static_cast<int>(t.seconds.size()) < o.iterations || seconds_since(start) < o.duration) &&
         t.seconds.size() < kMostRuns) {
    check_interrupted();
    auto begin = Clock::now();
    session.run(inputs, outputs);
    t.seconds.push_back(seconds_since(begin));
    t.begin.push_back(std::chrono::duration<double>(begin - start).count());
    if (int tenths = static_cast<int>(seconds_since(start) * 10); tenths > shown) {
      shown = tenths;
      show_progress("measuring", std::min(tenths, static_cast<int>(o.duration * 10) - 1),
                    static_cast<int>(o.duration * 10));
    }
  }
  show_progress("measuring", 1, 1);
  t.wall = seconds_since(start);
  for (double s : t.seconds) t.sum += s;
  t.sorted = t.seconds;
  std::sort(t.sorted.begin(), t.sorted.end());
  return t;
}

void write_json(const std::string& path, const Json& j) {
  AtomicFile file(path);
  file.write(j.dump(1) + "\n");
  file.commit();
}

// trtexec's fields: what a CPU does not do takes no time.
void export_times(const std::string& path, const Times& t) {
  Json out = Json::array();
  for (size_t i = 0; i < t.seconds.size(); ++i) {
    double from = ms(t.begin[i]), to = ms(t.begin[i] + t.seconds[i]);
    out.push_back({{"startEnqMs", from},
                   {"endEnqMs", to},
                   {"startH2dMs", from},
                   {"endH2dMs", from},
                   {"startComputeMs", from},
                   {"endComputeMs", to},
                   {"startD2hMs", to},
                   {"endD2hMs", to},
                   {"h2dMs", 0},
                   {"computeMs", ms(t.seconds[i])},
                   {"d2hMs", 0},
                   {"latencyMs", ms(t.seconds[i])}});
  }
  write_json(path, out);
}

struct Profile {
  std::vector<std::vector<double>> runs;  // seconds of every step, by run
  double of_step(size_t step) const {
    double sum = 0;
    for (const auto& run : runs) sum += run[step];
    return sum / static_cast<double>(runs.size());
  }
};

// Takes the time of the steps inside a step from that step's, so that all times add up to the run's.
void own_times(const Program& program, std::vector<double>& seconds) {
  std::vector<const Step*> steps = all_steps(program);
  for (size_t i = 0; i < steps.size(); ++i) {
    size_t end = i + 1 + inner_steps(*steps[i]);
    for (size_t k = i + 1; k < end; k += 1 + inner_steps(*steps[k])) seconds[i] -= seconds[k];
    seconds[i] = std::max(seconds[i], 0.0);
  }
}

Profile profile_steps(ProgramSession& session, std::span<const Datum> inputs, std::span<Datum> outputs) {
  Profile p;
  for (auto t = Clock::now(); p.runs.size() < 3 || (seconds_since(t) < 1 && p.runs.size() < 1000);) {
    check_interrupted();
    p.runs.emplace_back(all_steps(session.program()).size(), 0.0);
    session.run(inputs, outputs, p.runs.back());
    own_times(session.program(), p.runs.back());
  }
  return p;
}

// The shape that TensorRT's scripts read: a count, then a record a layer.
void export_profile(const std::string& path, const Program& program, const Profile& p) {
  double total = 0;
  std::vector<const Step*> steps = all_steps(program);
  for (size_t i = 0; i < steps.size(); ++i) total += p.of_step(i);
  Json out = Json::array({{{"count", p.runs.size()}}});
  for (size_t i = 0; i < steps.size(); ++i) {
    std::vector<double> sorted;
    for (const auto& run : p.runs) sorted.push_back(run[i]);
    std::sort(sorted.begin(), sorted.end());
    double mean = p.of_step(i);
    out.push_back({{"name", steps[i]->name},
                   {"timeMs", ms(mean) * static_cast<double>(p.runs.size())},
                   {"averageMs", ms(mean)},
                   {"medianMs", ms(percentile(sorted, 0.5))},
                   {"percentage", total > 0 ? 100 * mean / total : 0}});
  }
  write_json(path, out);
}

Json layer_table(const Program& p, const Profile& profile, double peak) {
  Json out = Json::array();
  std::vector<const Step*> steps = all_steps(p);
  for (size_t i = 0; i < steps.size(); ++i) {
    const Step& s = *steps[i];
    double t = profile.of_step(i);
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

Json latency_json(const BenchVerb& o, const Times& t) {
  Json out = {{"min", ms(t.sorted.front())},
              {"mean", ms(t.sum / static_cast<double>(t.seconds.size()))},
              {"median", ms(percentile(t.sorted, 0.5))},
              {"p90", ms(percentile(t.sorted, 0.9))},
              {"p95", ms(percentile(t.sorted, 0.95))},
              {"p99", ms(percentile(t.sorted, 0.99))},
              {"max", ms(t.sorted.back())}};
  for (double p : o.percentiles) out[fmt::format("p{}", p)] = ms(percentile(t.sorted, p / 100));
  return out;
}

Json averages(const BenchVerb& o, const Times& t) {
  Json out = Json::array();
  for (size_t i = 0; i + static_cast<size_t>(o.average) <= t.seconds.size(); i += static_cast<size_t>(o.average)) {
    double sum = 0;
    for (size_t k = i; k < i + static_cast<size_t>(o.average); ++k) sum += t.seconds[k];
    out.push_back(ms(sum / o.average));
  }
  return out;
}

void print_block(const BenchVerb& o, const Json& j, const Times& t) {
  if (o.average > 0) {
    for (const Json& mean : j["average_ms"])
      fmt::print("average of {} runs: {:.4f} ms\n", o.average, mean.get<double>());
  }
  fmt::print("{} on {} ({}, {} threads), batch {}\n", o.model.model, j["device"].get<std::string>(),
             j["isa"].get<std::string>(), j["threads"].get<int>(), j["batch"].get<int64_t>());
  std::string latency;
  for (const auto& [name, value] : j["latency_ms"].items()) {
    latency += fmt::format("{}{} {:.3f} ms", latency.empty() ? "" : ", ", name, value.get<double>());
  }
  fmt::print("latency: {} ({} runs)\n", latency, t.seconds.size());
  fmt::print("throughput: {:.1f} items/s\n", j["throughput_per_s"].get<double>());
  fmt::print("walltime: {}, computing {}\n", human_seconds(t.wall), human_seconds(t.sum));
  auto bytes = [&](const char* key) { return human_bytes(j[key].get<double>()); };
  fmt::print("build or load: {}; arena {}, packed weights {}, peak memory {}\n",
             human_seconds(j["build_s"].get<double>()), bytes("arena_bytes"), bytes("packed_weight_bytes"),
             bytes("peak_memory_bytes"));
  if (percentile(t.sorted, 0.9) > 1.3 * t.sorted.front()) {
    fmt::print("hint: the runs differ by more than 30 %: other work disturbs them, or --duration is too short\n");
  }
  if (o.layers) print_layers(j["layers"]);
  if (!o.layers) fmt::print("next: tenon bench {} --layers\n", o.model.model);
}

Json summary(const BenchVerb& o, const EngineCore& engine, const Program& program, std::span<const Datum> inputs,
             double build_seconds) {
  int64_t batch =
      inputs.empty() || !inputs[0].is_tensor() || inputs[0].tensor.rank() == 0 ? 1 : inputs[0].tensor.dims()[0];
  Json j;
  j["model"] = o.model.model;
  j["device"] = o.model.device;
  j["isa"] = cpu::isa_name();
  j["threads"] = engine.pool()->threads();
  j["batch"] = batch;
  j["precision"] = "fp32";
  j["build_s"] = build_seconds;
  j["arena_bytes"] = program.arena_bytes;
  j["packed_weight_bytes"] = engine.weight_bytes();
  return j;
}

void bench(const BenchVerb& o) {
  auto begin = Clock::now();
  auto engine = open_model(o.model);
  print_notes(*engine, o.json);
  std::vector<Datum> inputs = inputs_for(*engine, o.inputs, o.model);
  auto program = engine->program_for(inputs);
  ProgramSession session(program, engine->pool(), engine->ops());
  Json j = summary(o, *engine, *program, inputs, seconds_since(begin));
  if (!o.save_engine.empty()) save_plan(engine->plan(), o.save_engine);
  if (o.skip_inference) {
    j["peak_memory_bytes"] = peak_memory_bytes();
    fmt::print("{}\n", o.json ? j.dump(2) : fmt::format("built in {}", human_seconds(j["build_s"].get<double>())));
    return;
  }
  std::vector<Datum> outputs(program->outputs.size());
  Times times = measure(o, session, inputs, outputs);
  j["latency_ms"] = latency_json(o, times);
  j["runs"] = times.seconds.size();
  j["throughput_per_s"] = j["batch"].get<double>() * static_cast<double>(times.seconds.size()) / times.wall;
  j["peak_memory_bytes"] = peak_memory_bytes();
  if (o.average > 0) j["average_ms"] = averages(o, times);
  if (!o.export_times.empty()) export_times(o.export_times, times);
  if (o.layers || !o.export_profile.empty()) {
    Profile profile = profile_steps(session, inputs, outputs);
    if (!o.export_profile.empty()) export_profile(o.export_profile, *program, profile);
    if (o.layers) {
      double peak = cpu::measure_peak_gflops(*engine->pool());
      j["peak_gflops"] = peak;
      j["layers"] = layer_table(*program, profile, peak);
    }
  }
  if (o.json) {
    fmt::print("{}\n", j.dump(2));
  } else {
    print_block(o, j, times);
  }
}

}  // namespace

void add_bench(CLI::App& app) {
  auto o = std::make_shared<BenchVerb>();
  CLI::App* sub = app.add_subcommand("bench", "Measure latency and throughput of a model or plan");
  add_model_options(*sub, o->model, "model,--onnx,--loadEngine");
  add_profile_options(*sub, o->model);
  add_input_options(*sub, o->inputs);
  sub->add_option("--duration", o->duration, "Measure for at least this many seconds (200,000 runs at most)")
      ->check(number_in(0.0, 1e6));
  sub->add_option("--warm-up", o->warm_up, "Runs before measuring")->check(CLI::Range(0, 1 << 20));
  sub->add_option("--warmUp", o->warm_up_ms, "Milliseconds of runs before measuring, at least")
      ->check(number_in(0.0, 1e9));
  sub->add_option("--iterations", o->iterations, "Measure at least this many runs")->check(CLI::Range(1, 1 << 20));
  sub->add_option("--avgRuns", o->average, "Print averages of so many runs each")->check(CLI::Range(1, 1 << 20));
  sub->add_option("--percentile", o->percentiles, "Percentiles beyond 90, 95 and 99, separated by commas")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(number_in(0.0, 100.0));
  sub->add_option("--saveEngine", o->save_engine, "Write the plan, too");
  sub->add_flag("--skipInference", o->skip_inference, "Build or load only");
  sub->add_flag("--layers,--dumpProfile", o->layers,
                "Time of every step, its tactic and the fraction of the machine's peak");
  sub->add_option("--exportTimes", o->export_times, "Write the times of all runs as JSON, as trtexec does");
  sub->add_option("--exportProfile", o->export_profile, "Write the times of all steps as JSON, as trtexec does");
  sub->add_flag("--json", o->json, "One JSON object on standard output");
  add_precision_flags(*sub);
  sub->footer(
      "Without options: shapes from the model (open ones become 1), 5 runs to warm up, 3 seconds of runs.\n"
      "Examples:\n"
      "  tenon bench model.onnx\n"
      "  tenon bench model.onnx --batch 20 --threads 2 --json\n"
      "  tenon bench --loadEngine=model.plan --warmUp=200 --iterations=100 --dumpProfile --exportTimes=times.json");
  sub->callback([o] { bench(*o); });
}

}  // namespace tenon::cli
