#include <algorithm>
#include <utility>

#include "base/error.hpp"
#include "base/file.hpp"
#include "engine/guard.hpp"
#include "engine/state.hpp"
#include "onnx/import.hpp"

namespace tenon {
namespace {

// The caller's callbacks are for build() alone, yet the core keeps its options and plans further shapes later, on the
// thread of whichever session asks. They go through this, which build() empties at its end.
struct Hooks {
  std::function<void(std::string_view phase, int done, int total)> progress;
  std::function<bool()> cancel;

  void report(std::string_view phase, int done, int total) const {
    if (progress) progress(phase, done, total);
  }
  bool cancelled() const { return cancel && cancel(); }
  void check() const {
    if (cancelled()) fail(Code::kCancelled, "the build was cancelled");
  }
};

TensorInfo describe(const Value& value, const std::map<std::string, ProfileRange>& profile) {
  TensorInfo info;
  info.name = value.name;
  if (!value.type.is_tensor()) return info;
  info.dtype = value.type.dtype;
  info.has_rank = value.type.shape.has_value();
  if (info.has_rank) {
    for (const Dim& d : *value.type.shape) {
      // The importer's names for dimensions that the model does not name are no use to anybody else.
      bool named = !d.is_const() && d.text().find('?') == std::string::npos;
      info.dims.push_back(d.maybe().value_or(-1));
      info.symbols.push_back(named ? d.text() : "");
    }
  }
  if (auto at = profile.find(value.name); at != profile.end()) {
    info.profile = ShapeProfile{at->second.min, at->second.opt, at->second.max};
  }
  return info;
}

std::shared_ptr<const EngineState> wrap(std::shared_ptr<EngineCore> core) {
  auto state = std::make_shared<EngineState>();
  const Graph& g = core->graph();
  for (ValueId v : g.inputs) state->inputs.push_back(describe(g.value(v), core->profile()));
  for (ValueId v : g.outputs) state->outputs.push_back(describe(g.value(v), {}));
  state->core = std::move(core);
  return state;
}

void check_numbers(int threads, int level) {
  expect(threads >= 0 && threads <= 4096, "{} threads cannot be had; 0 takes one for each physical core", threads);
  expect(level >= 0 && level <= 5, "the optimisation level is 0 to 5, not {}", level);
}

void check_profile(const std::string& input, const ShapeProfile& p) {
  expect(p.min.size() == p.opt.size() && p.opt.size() == p.max.size(),
         "the profile of '{}' has shapes of {}, {} and {} dimensions; min, opt and max need the same number", input,
         p.min.size(), p.opt.size(), p.max.size());
  for (size_t i = 0; i < p.min.size(); ++i) {
    expect(0 <= p.min[i] && p.min[i] <= p.opt[i] && p.opt[i] <= p.max[i],
           "the profile of '{}' must have 0 <= min <= opt <= max; dimension {} has {}, {}, {}", input, i, p.min[i],
           p.opt[i], p.max[i]);
  }
}

std::shared_ptr<EngineCore> build_core(const std::function<GraphPtr()>& import, const BuildConfig& config) {
  check_numbers(config.threads, config.opt_level);
  auto hooks = std::make_shared<Hooks>(Hooks{config.progress, config.cancel});
  hooks->report("importing", 0, 1);
  GraphPtr graph = import();
  hooks->check();
  hooks->report("importing", 1, 1);

  auto shapes = config.shapes;
  std::map<std::string, ProfileRange> profile;
  for (const auto& [input, p] : config.profiles) {
    check_profile(input, p);
    profile[input] = {p.min, p.opt, p.max};
    shapes.emplace(input, p.opt);
  }
  EngineOptions options;
  options.threads = config.threads;
  options.level = config.opt_level;
  options.timing_cache = config.timing_cache;
  for (const std::string& pass : config.disabled_passes) options.optimize.disabled.insert(pass);
  options.optimize.trace = [hooks](const Graph&, const PassReport&) { hooks->check(); };
  options.progress = [hooks](std::string_view phase, int done, int total) { hooks->report(phase, done, total); };
  options.cancelled = [hooks] { return hooks->cancelled(); };
  auto core = EngineCore::build(std::move(graph), shapes, std::move(profile), std::move(options));
  *hooks = {};
  return core;
}

}  // namespace

size_t api::index_of(const std::vector<TensorInfo>& infos, std::string_view name, std::string_view what) {
  auto at = std::find_if(infos.begin(), infos.end(), [&](const TensorInfo& i) { return i.name == name; });
  if (at != infos.end()) return static_cast<size_t>(at - infos.begin());
  std::string all;
  for (const TensorInfo& i : infos) all += (all.empty() ? "" : ", ") + i.name;
  fail(Code::kNotFound, "the model has no {} '{}'; its {}s are {}", what, name, what, all);
}

Engine Engine::build(const std::string& onnx_path, const BuildConfig& config) {
  return api::guarded([&] { return Engine(wrap(build_core([&] { return onnx::import_file(onnx_path); }, config))); });
}

Engine Engine::build(std::span<const std::byte> onnx_bytes, const BuildConfig& config) {
  return api::guarded(
      [&] { return Engine(wrap(build_core([&] { return onnx::import_bytes(onnx_bytes, nullptr); }, config))); });
}

Engine Engine::load(const std::string& plan_path, const LoadConfig& config) {
  return api::guarded([&] {
    check_numbers(config.threads, config.opt_level);
    EngineOptions options;
    options.threads = config.threads;
    options.rebuild = config.rebuild;
    options.level = config.opt_level;
    options.timing_cache = config.timing_cache;
    return Engine(wrap(EngineCore::load(load_plan(plan_path), std::move(options))));
  });
}

void Engine::save(const std::string& plan_path) const {
  api::guarded([&] { save_plan(state_->core->plan(), plan_path); });
}

const std::vector<TensorInfo>& Engine::inputs() const noexcept { return state_->inputs; }
const std::vector<TensorInfo>& Engine::outputs() const noexcept { return state_->outputs; }
size_t Engine::input_index(std::string_view name) const { return api::index_of(state_->inputs, name, "input"); }
size_t Engine::output_index(std::string_view name) const { return api::index_of(state_->outputs, name, "output"); }
const std::map<std::string, std::string>& Engine::metadata() const noexcept { return state_->core->graph().metadata; }
const std::vector<std::string>& Engine::notes() const noexcept { return state_->core->notes(); }
int Engine::threads() const noexcept { return state_->core->pool()->threads(); }

}  // namespace tenon
