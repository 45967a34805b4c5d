#include "cli/common.hpp"

#include <fmt/core.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <csignal>
#include <fstream>

#include "base/error.hpp"
#include "base/file.hpp"
#include "cpu/onednn/library.hpp"
#include "graph/text.hpp"
#include "onnx/import.hpp"
#include "ops/op_table.hpp"
#include "tactic/cuda.hpp"

namespace tenon::cli {
namespace {

std::atomic<bool> stop{false};

// The first Ctrl-C asks the work to stop, so that everything is put away; what has not stopped at once (60 ms), or a
// second Ctrl-C, ends the process, temporary files removed. Only calls that signal handlers may make.
void give_up(int) {
  constexpr std::string_view text = "\ntenon: interrupted\n";
  remove_temporary_files();
  [[maybe_unused]] auto written = write(STDERR_FILENO, text.data(), text.size());
  _exit(kNoResource);
}

void on_interrupt(int signal) {
  if (stop.exchange(true)) give_up(signal);
  itimerval patience{{0, 0}, {0, 60'000}};
  setitimer(ITIMER_REAL, &patience, nullptr);
}

bool ends_with(const std::string& s, std::string_view tail) {
  return s.size() >= tail.size() && s.compare(s.size() - tail.size(), tail.size(), tail) == 0;
}

std::map<std::string, Dims> by_name(const Graph& g, const std::vector<std::string>& texts) {
  auto shapes = parse_shapes(texts);
  if (auto lone = shapes.find(""); lone != shapes.end()) {
    Dims dims = lone->second;
    shapes.erase(lone);
    shapes[only_input(g)] = dims;
  }
  return shapes;
}

void check_pass_name(const std::string& pass, const std::vector<std::string>& passes) {
  if (pass.empty() || std::find(passes.begin(), passes.end(), pass) != passes.end()) return;
  std::string near = nearest(pass, passes), all;
  for (const std::string& name : passes) all += (all.empty() ? "" : ", ") + name;
  fail(Code::kInvalidArgument, "there is no pass '{}'{}; the passes are {}", pass,
       near.empty() ? "" : fmt::format("; did you mean '{}'?", near), all);
}

}  // namespace

std::string only_input(const Graph& g) {
  expect(g.inputs.size() == 1, "the model has {} inputs; say which one: --shape NAME:1x3x224x224", g.inputs.size());
  return g.value(g.inputs[0]).name;
}

int exit_code(const Error& e) noexcept {
  switch (e.code()) {
    case Code::kInvalidArgument:
    case Code::kNotFound:
    case Code::kAlreadyExists: return kBadInput;
    case Code::kUnsupported: return kUnsupportedModel;
    case Code::kUnavailable:
    case Code::kCancelled: return kNoResource;
    default: return kInternalError;
  }
}

bool interrupted() noexcept { return stop.load(); }

void install_interrupt_handler() {
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  struct sigaction late {};
  late.sa_handler = give_up;
  sigaction(SIGALRM, &late, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is an error of its write
}

void check_interrupted() {
  if (interrupted()) fail(Code::kCancelled, "interrupted");
}

std::string nearest(const std::string& word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t least = std::max<size_t>(1, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    // Edit distance; a swap of neighbours counts as one.
    std::vector<std::vector<size_t>> d(word.size() + 1, std::vector<size_t>(candidate.size() + 1, 0));
    for (size_t i = 0; i <= word.size(); ++i) {
      for (size_t k = 0; k <= candidate.size(); ++k) {
        if (i == 0 || k == 0) {
          d[i][k] = i + k;
          continue;
        }
        d[i][k] = std::min({d[i - 1][k] + 1, d[i][k - 1] + 1, d[i - 1][k - 1] + (word[i - 1] != candidate[k - 1])});
        bool swapped = i > 1 && k > 1 && word[i - 1] == candidate[k - 2] && word[i - 2] == candidate[k - 1];
        if (swapped) d[i][k] = std::min(d[i][k], d[i - 2][k - 2] + 1);
      }
    }
    if (d[word.size()][candidate.size()] < least) {
      least = d[word.size()][candidate.size()];
      best = candidate;
    }
  }
  return best;
}

void show_progress(std::string_view phase, int done, int total) {
  static const bool terminal = isatty(STDERR_FILENO) != 0;
  if (!terminal || total <= 0) return;
  if (done >= total) {
    std::fputs("\r\033[K", stderr);
  } else {
    constexpr int kWidth = 30;
    int full = static_cast<int>(int64_t{kWidth} * done / total);
    fmt::print(stderr, "\r{} [{:<{}}] {}/{}\033[K", phase, std::string(static_cast<size_t>(full), '#'), kWidth, done,
               total);
  }
  std::fflush(stderr);
}

Dims parse_dims(const std::string& text) {
  Dims out;
  if (text.empty() || text == "scalar") return out;
  size_t at = 0;
  while (at <= text.size()) {
    size_t end = text.find_first_of("x,", at);
    if (end == std::string::npos) end = text.size();
    std::string piece = text.substr(at, end - at);
    bool digits = !piece.empty() && piece.size() < 18 &&
                  std::all_of(piece.begin(), piece.end(), [](unsigned char c) { return std::isdigit(c); });
    expect(digits, "shape '{}' is not understood; write it like 1x3x224x224", text);
    out.push_back(std::stoll(piece));
    at = end + 1;
  }
  return out;
}

std::map<std::string, Dims> parse_shapes(const std::vector<std::string>& texts) {
  std::map<std::string, Dims> out;
  auto one = [&](const std::string& text) {
    size_t colon = text.rfind(':');
    out[colon == std::string::npos ? "" : text.substr(0, colon)] =
        parse_dims(colon == std::string::npos ? text : text.substr(colon + 1));
  };
  for (const std::string& text : texts) {
    // trtexec writes several in one word: a:1x3,b:2x4.
    size_t at = 0;
    for (size_t i = 0; i <= text.size(); ++i) {
      bool separates = i == text.size() || (text[i] == ',' && text.find(':', i) != std::string::npos);
      if (!separates) continue;
      if (i > at) one(text.substr(at, i - at));
      at = i + 1;
    }
  }
  return out;
}

CLI::Validator number_in(double low, double high) {
  return {[low, high](std::string& text) -> std::string {
            double value = 0;
            bool number = CLI::detail::lexical_cast(text, value);
            if (number && value >= low && value <= high) return {};  // not so for NaN
            return fmt::format("Value {} not in range {} to {}", text, low, high);
          },
          fmt::format("in [{} - {}]", low, high)};
}

void add_shape_options(CLI::App& app, ModelOptions& o) {
  app.add_option("--shape,--shapes", o.shapes, "Input shape, NAME:1x3x224x224 (repeat for more inputs)")
      ->expected(1)
      ->take_all();
  app.add_option("--batch", o.batch, "Batch size: the first dimension of the inputs, where it is free")
      ->check(CLI::Range(1, 1 << 20));
}

void add_device_options(CLI::App& app, ModelOptions& o) {
  app.add_option("--threads", o.threads, "CPU threads (default: one for each physical core)")
      ->check(CLI::Range(0, 4096));
  app.add_option("--device", o.device, "cpu, or cuda, cuda:1, ...: an NVIDIA GPU");
  app.add_flag("--tf32", o.tf32, "Let products in float32 round their factors to TF32 on a GPU: faster, 3 digits");
}

void add_tuning_options(CLI::App& app, ModelOptions& o) {
  app.add_option(
         "--opt-level,--builderOptimizationLevel", o.level,
         fmt::format("0: first tactic, 1: estimates, 2: measured, 3 to 5: measured longer (default {})", o.level))
      ->check(CLI::Range(0, 5));
  app.add_option("--budget", o.budget, "Seconds to spend on measuring tactics, at most")->check(number_in(0.0, 1e6));
  app.add_option("--timing-cache,--timingCacheFile", o.timing_cache,
                 "File that remembers measured times between builds");
  app.add_flag("--no-rebuild", o.no_rebuild,
               "Refuse a plan of another machine or version instead of planning it again");
  app.add_flag("--no-libraries", o.no_libraries, "Use no kernels of libraries found on this machine (oneDNN)");
  app.add_option("--onednn-library", o.onednn,
                 "oneDNN's file, libdnnl.so.3, or 'none' (default: TENON_ONEDNN_LIBRARY, then the usual places)");
}

void add_pass_options(CLI::App& app, ModelOptions& o) {
  app.add_option("--disable-pass", o.disabled, "Leave a pass out (repeatable)")->expected(1)->take_all();
  app.add_option("--stop-after", o.stop_after, "Run no pass after this one");
}

void add_profile_options(CLI::App& app, ModelOptions& o) {
  app.add_option("--minShapes", o.min_shapes, "Smallest shapes of the optimization profile")->expected(1)->take_all();
  app.add_option("--optShapes", o.opt_shapes, "Shapes to optimise for")->expected(1)->take_all();
  app.add_option("--maxShapes", o.max_shapes, "Largest shapes of the optimization profile")->expected(1)->take_all();
}

void add_precision_flags(CLI::App& app) {
  app.add_flag_callback(
      "--fp32", [] {}, "Compute in float32: what this device does anyway");
  for (const char* name : {"fp16", "bf16", "fp8", "int8", "int4", "best"}) {
    app.add_flag_callback(
        fmt::format("--{}", name),
        [name] {
          fail(Code::kUnsupported,
               "precision {} is not available on device cpu (float16 models are computed in float32, quantised models "
               "in "
               "8 bits as they say); leave --{} out",
               name, name);
        },
        "Refused on device cpu");
  }
}

void add_model_options(CLI::App& app, ModelOptions& o, const std::string& names) {
  app.add_option(names, o.model, "ONNX model, plan or graph text")->required();
  add_shape_options(app, o);
  add_device_options(app, o);
  add_tuning_options(app, o);
  add_pass_options(app, o);
}

namespace {

// "cuda" or "cuda:1".
void use_cuda(EngineOptions& e, const std::string& device, bool tf32) {
  int ordinal = 0;
  bool known = device == "cuda";
  if (device.starts_with("cuda:")) {
    const char* end = device.data() + device.size();
    auto [at, error] = std::from_chars(device.data() + 5, end, ordinal);
    known = error == std::errc() && at == end && ordinal >= 0;
  }
  if (!known) fail(Code::kUnsupported, "there is no device '{}'; devices are cpu, cuda, cuda:0, cuda:1, ...", device);
  CudaRuntime::open(ordinal).tf32 = tf32;
  e.tactics = &cuda_tactics();
  e.level = std::min(e.level, 1);  // tile shapes are measured while kernels are prepared, on the device
}

}  // namespace

EngineOptions engine_options(const ModelOptions& o) {
  EngineOptions e;
  e.threads = o.threads;
  e.level = o.level;
  if (o.device != "cpu" && o.device != "cpu:0") use_cuda(e, o.device, o.tf32);
  e.budget_seconds = o.budget;
  e.timing_cache = o.timing_cache;
  e.rebuild = !o.no_rebuild;
  e.libraries = !o.no_libraries;
  if (!o.onednn.empty()) cpu::onednn::choose_library(o.onednn);
  std::vector<std::string> passes = pass_names();
  for (const std::vector<std::string>& names : {o.disabled, {o.stop_after}}) {
    for (const std::string& pass : names) check_pass_name(pass, passes);
  }
  e.optimize.disabled = {o.disabled.begin(), o.disabled.end()};
  e.optimize.stop_after = o.stop_after;
  e.cancelled = interrupted;
  e.progress = show_progress;
  return e;
}

GraphPtr import_model(const std::string& path, bool allow_unknown_ops) {
  if (is_plan_file(path)) return load_plan(path).graph;
  if (ends_with(path, ".txt")) {
    GraphPtr g = parse_graph(read_text_file(path));
    infer_types(*g, all_ops());
    return g;
  }
  onnx::ImportOptions options;
  options.allow_unknown_ops = allow_unknown_ops;
  return onnx::import_file(path, options);
}

std::map<std::string, Dims> wanted_shapes(const Graph& g, const ModelOptions& o, int64_t otherwise) {
  // What a profile leaves out is completed as trtexec does: the shape to be fast for is the largest one.
  auto shapes = by_name(g, o.shapes.empty() ? o.opt_shapes : o.shapes);
  for (const auto& more : {o.max_shapes, o.min_shapes}) {
    for (const auto& [name, dims] : by_name(g, more)) shapes.emplace(name, dims);
  }
  std::map<std::string, int64_t> symbols;
  for (ValueId v : g.inputs) {
    auto given = shapes.find(g.value(v).name);
    if (given == shapes.end() || !g.value(v).type.shape || g.value(v).type.shape->size() != given->second.size())
      continue;
    for (size_t i = 0; i < given->second.size(); ++i) {
      const Dim& d = (*g.value(v).type.shape)[i];
      if (d.is_symbol()) symbols[d.text()] = given->second[i];
    }
  }
  for (ValueId v : g.inputs) {
    const Value& value = g.value(v);
    if (shapes.contains(value.name) || !value.type.is_tensor() || !value.type.shape || value.type.is_static()) continue;
    Dims dims;
    for (size_t i = 0; i < value.type.shape->size(); ++i) {
      const Dim& d = (*value.type.shape)[i];
      auto known = symbols.find(d.text());
      int64_t n = d.is_const()              ? d.value()
                  : known != symbols.end()  ? known->second
                  : i == 0 && o.batch > 0   ? o.batch
                  : i == 0 && d.is_symbol() ? std::max<int64_t>(otherwise, otherwise ? 1 : 0)
                                            : otherwise;
      if (n <= 0) {
        dims.clear();
        break;
      }
      dims.push_back(n);
    }
    if (!dims.empty()) shapes[value.name] = dims;
  }
  return shapes;
}

namespace {

// The optimization profile that the options describe. --optShapes alone fixes nothing but what to plan now.
std::map<std::string, ProfileRange> profile_of(const Graph& g, const ModelOptions& o) {
  std::map<std::string, ProfileRange> profile;
  auto low = by_name(g, o.min_shapes), best = by_name(g, o.opt_shapes), high = by_name(g, o.max_shapes);
  std::map<std::string, Dims> named = low;
  named.insert(high.begin(), high.end());
  for (const auto& [name, any] : named) {
    expect(low.contains(name) && high.contains(name),
           "a profile of '{}' needs --minShapes and --maxShapes; only {} is given", name,
           low.contains(name) ? "--minShapes" : "--maxShapes");
    ProfileRange r{low[name], best.contains(name) ? best[name] : high[name], high[name]};
    expect(r.min.size() == r.opt.size() && r.opt.size() == r.max.size(), "the shapes of '{}' have different ranks",
           name);
    for (size_t i = 0; i < r.min.size(); ++i) {
      expect(r.min[i] <= r.opt[i] && r.opt[i] <= r.max[i],
             "the profile of '{}' must have min <= opt <= max; dimension {} has {}, {}, {}", name, i, r.min[i],
             r.opt[i], r.max[i]);
    }
    profile[name] = r;
  }
  return profile;
}

}  // namespace

std::shared_ptr<EngineCore> open_model(const ModelOptions& o, const std::map<std::string, Dims>& more,
                                       const ModelBuilder& builder) {
  EngineOptions options = engine_options(o);
  if (is_plan_file(o.model)) return EngineCore::load(load_plan(o.model), std::move(options));
  GraphPtr g = import_model(o.model);
  auto shapes = wanted_shapes(*g, o, 0);
  for (const auto& [name, dims] : more) shapes.emplace(name, dims);
  std::map<std::string, ProfileRange> profile = profile_of(*g, o);
  for (const auto& [name, range] : profile) shapes.emplace(name, range.opt);
  if (builder) return builder(g, shapes, profile, std::move(options));
  return EngineCore::build(std::move(g), shapes, std::move(profile), std::move(options));
}

void print_notes(const EngineCore& engine, bool quiet) {
  if (quiet) return;
  for (const std::string& note : engine.notes()) fmt::print(stderr, "note: {}\n", note);
}

int64_t peak_memory_bytes() {
  // Not getrusage: its maximum is inherited from the process that started this one, and was that of a large Python.
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoll(line.substr(6)) * 1024;
  }
  struct rusage usage {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;
}

std::string human_bytes(double bytes) {
  const char* units[] = {"B", "KB", "MB", "GB", "TB"};
  int u = 0;
  while (bytes >= 1000 && u < 4) {
    bytes /= 1000;
    ++u;
  }
  return u == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, units[u]);
}

std::string human_seconds(double s) {
  if (s < 1e-3) return fmt::format("{:.1f} us", s * 1e6);
  if (s < 1) return fmt::format("{:.3f} ms", s * 1e3);
  return fmt::format("{:.2f} s", s);
}

}  // namespace tenon::cli
