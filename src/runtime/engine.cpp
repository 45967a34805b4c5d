#include "runtime/engine.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "cpu/isa.hpp"
#include "ops/op_table.hpp"
#include "passes/region.hpp"
#include "passes/widen_half.hpp"
#include "tactic/cuda.hpp"
#include "tactic/libraries.hpp"
#include "tenon/version.hpp"

namespace tenon {
namespace {

std::string layout_text() { return fmt::format("{}", cpu::layout_id()); }

// The library that these choices need, asked for only then: opening it takes time that a plan without it does not
// spend.
std::string library_of(const std::vector<Choice>& choices, const EngineOptions& options) {
  for (const Choice& c : choices) {
    if (!needs_library(c.tactic)) continue;
    std::string found = options.libraries ? library_behind(c.tactic) : "";
    return found.empty() ? "no oneDNN" : found;
  }
  return "";
}

// What the choices and the packed weights of a plan are for.
std::string device_text(const EngineOptions& options) {
  if (options.tactics != &cuda_tactics()) return "cpu";
  const cuda::DeviceInfo& info = CudaRuntime::current().device()->info();
  return fmt::format("{} ({})", info.name, info.arch());
}

std::string shapes_text(const Graph& g, const std::vector<Dims>& dims) {
  std::string out;
  for (size_t i = 0; i < dims.size(); ++i) {
    out += (i ? ", " : "") + g.value(g.inputs[i]).name + ":" + dims_text(dims[i]);
  }
  return out;
}

// A graph that was read, and every graph inside it.
void verify_all(const Graph& g, const OpTable& ops, int depth) {
  expect(depth < 100, "graphs are nested more than 100 deep");
  verify(g, ops, "loading a plan");
  for (NodeId id : g.order()) {
    for (const auto& [name, attr] : g.node(id).attrs.items()) {
      const auto* body = std::get_if<GraphPtr>(&attr);
      if (body != nullptr && *body != nullptr) verify_all(**body, ops, depth + 1);
    }
  }
}

// Exporters write the sizes of their example input into the file also where the network takes any. A shape that the
// caller asks for wins: the dimension that contradicts it becomes a symbol, and all shapes behind it are inferred anew.
// (A network that really needs the declared size is refused by the inference, with the node that needs it.)
std::vector<std::string> free_contradicted_dims(Graph& g, const std::map<std::string, Dims>& shapes) {
  std::vector<std::string> notes;
  for (ValueId v : g.inputs) {
    Value& value = g.value(v);
    auto given = shapes.find(value.name);
    if (given == shapes.end() || !value.type.shape || value.type.shape->size() != given->second.size()) continue;
    std::string declared = value.type.text();
    bool freed = false;
    for (size_t i = 0; i < given->second.size(); ++i) {
      Dim& dim = (*value.type.shape)[i];
      if (!dim.is_const() || dim.value() == given->second[i]) continue;
      dim = Dim::symbol(fmt::format("?{}.{}", value.name, i));
      freed = true;
    }
    if (freed) {
      notes.push_back(fmt::format("the model declares input '{}' as {}; it is planned for {}, as asked", value.name,
                                  declared, dims_text(given->second)));
    }
  }
  if (notes.empty()) return notes;
  for (int v = 0; v < g.value_count(); ++v) {
    Value& value = g.value(v);
    value.content.reset();
    if (!value.is_constant() && value.producer != kNone) value.type = {};
  }
  return notes;
}

}  // namespace

EngineCore::EngineCore(EngineOptions options)
    : options_(std::move(options)),
      ops_(all_ops()),
      tactics_(options_.tactics != nullptr ? *options_.tactics
               : options_.libraries        ? cpu_tactics()
                                           : own_cpu_tactics()),
      weights_(std::make_shared<PlanWeights>()) {
  pool_ = std::make_shared<ThreadPool>(options_.threads);
  options_.threads = pool_->threads();
  if (!options_.timing_cache.empty()) timings_.load(options_.timing_cache);
}

std::shared_ptr<EngineCore> EngineCore::build(GraphPtr imported, const std::map<std::string, Dims>& shapes,
                                              std::map<std::string, ProfileRange> profile, EngineOptions options) {
  std::shared_ptr<EngineCore> e(new EngineCore(std::move(options)));
  e->graph_ = std::move(imported);
  e->profile_ = std::move(profile);
  e->notes_ = free_contradicted_dims(*e->graph_, shapes);
  if (widen_half(*e->graph_, e->ops_)) e->notes_.emplace_back("float16 is computed in float32 on this device");
  e->reports_ = optimize(*e->graph_, e->ops_, e->options_.optimize);
  e->info_ = {{"tenon", kVersion},
              {"isa", cpu::isa_name()},
              {"layout", layout_text()},
              {"threads", std::to_string(e->options_.threads)},
              {"device", device_text(e->options_)}};
  if (auto dims = input_dims(*e->graph_, shapes)) {
    auto made = e->make(*dims);
    e->programs_.push_front({*dims, made, true});
  }
  if (!e->options_.timing_cache.empty() && e->timings_.changed()) e->timings_.save(e->options_.timing_cache);
  return e;
}

std::shared_ptr<EngineCore> EngineCore::load(Plan plan, EngineOptions options) {
  std::shared_ptr<EngineCore> e(new EngineCore(std::move(options)));
  e->adopt(plan);
  return e;
}

void EngineCore::adopt(Plan& plan) {
  graph_ = std::move(plan.graph);
  profile_ = std::move(plan.profile);
  info_ = plan.info;
  verify_all(*graph_, ops_, 0);
  infer_types(*graph_, ops_);
  bool same = info_["layout"] == layout_text() && info_["tenon"] == kVersion && info_["isa"] == cpu::isa_name() &&
              info_["device"] == device_text(options_);
  std::string library;
  for (const Specialization& s : plan.specializations) {
    if (library.empty()) library = library_of(s.choices, options_);
  }
  std::string built_with = info_.contains("library") ? info_["library"] : "";
  info_.erase("library");
  bool same_library = library.empty() || library == built_with;
  if (!same || !same_library) {
    std::string what = fmt::format("the plan was built by Tenon {} for {}; this is Tenon {} on {}", info_["tenon"],
                                   info_["isa"], kVersion, cpu::isa_name());
    if (same) what = fmt::format("the plan uses {}; here is {}", built_with.empty() ? "oneDNN" : built_with, library);
    if (!options_.rebuild) {
      fail(Code::kUnsupported, "{}; without --no-rebuild it is planned again from its graph", what);
    }
    notes_.push_back(what + ": planned again from its graph");
    for (const Specialization& s : plan.specializations) programs_.push_back({s.input_dims, make(s.input_dims), true});
    info_["layout"] = layout_text();
    info_["tenon"] = kVersion;
    info_["isa"] = cpu::isa_name();
    info_["device"] = device_text(options_);
    return;
  }
  weights_ = std::make_shared<PlanWeights>(std::move(plan.packed), std::move(plan.hashes));
  BuildOptions build;
  build.threads = options_.threads;
  for (Specialization& s : plan.specializations) {
    verify_all(*s.graph, ops_, 0);
    infer_types(*s.graph, ops_);
    for (size_t i = 0; i < s.graph->inputs.size(); ++i) {
      const Type& t = s.graph->value(s.graph->inputs[i]).type;
      expect(!t.is_tensor() || (t.is_static() && const_dims(*t.shape) == s.input_dims[i]),
             "a specialization of the plan says it is for other shapes than it is");
    }
    auto made = build_program(s.graph, std::move(s.choices), tactics_, *weights_, build);
    programs_.push_back({std::move(s.input_dims), std::move(made), true});
  }
}

GraphPtr EngineCore::specialize(const std::vector<Dims>& dims) const {
  GraphPtr g = graph_->clone();
  // With numbers for the symbols more patterns are seen: what was fused goes back to its parts first.
  bool symbolic = std::any_of(g->inputs.begin(), g->inputs.end(),
                              [&](ValueId v) { return g->value(v).type.is_tensor() && !g->value(v).type.is_static(); });
  if (symbolic) inline_regions(*g);
  for (int v = 0; v < g->value_count(); ++v) {
    Value& value = g->value(v);
    if (value.is_constant()) continue;
    bool input = std::find(g->inputs.begin(), g->inputs.end(), v) != g->inputs.end();
    if (!input) value.type = {};
    value.content.reset();
  }
  for (size_t i = 0; i < dims.size(); ++i) {
    Type& t = g->value(g->inputs[i]).type;
    if (t.is_tensor()) t.shape = to_shape(dims[i]);
  }
  optimize(*g, ops_, options_.optimize);
  if (options_.optimize.stop_after.empty() && expand_refused(*g, tactics_, ops_, options_.threads)) {
    OptimizeOptions parts = options_.optimize;  // without what would put them together again
    parts.disabled.insert({"fuse_attention", "fuse_normalization", "fuse_activation"});
    optimize(*g, ops_, parts);
  }
  if (inline_refused(*g, tactics_, ops_, options_.threads)) g->compact();
  return g;
}

// Inside a profile every shape runs the tactics that were chosen for `opt`: nothing is measured while somebody waits. A
// shape whose graph came out another (a branch, a tile that is no view there) is planned by itself.
std::shared_ptr<const Program> EngineCore::make_like_opt(const GraphPtr& g) {
  auto opt = std::find_if(programs_.begin(), programs_.end(), [](const Cached& c) { return c.pinned; });
  if (profile_.empty() || opt == programs_.end()) return nullptr;
  const Graph& like = *opt->program->graph;
  std::vector<NodeId> theirs = like.order(), ours = g->order();
  bool same = std::equal(theirs.begin(), theirs.end(), ours.begin(), ours.end(),
                         [&](NodeId a, NodeId b) { return like.node(a).op == g->node(b).op; });
  if (!same) return nullptr;
  BuildOptions build;
  build.threads = options_.threads;
  try {
    return build_program(g, opt->program->choices, tactics_, *weights_, build);
  } catch (const Error&) {
    return nullptr;  // a tactic does not take this shape
  }
}

std::shared_ptr<const Program> EngineCore::make(const std::vector<Dims>& dims) {
  GraphPtr g = specialize(dims);
  if (auto made = make_like_opt(g)) return made;
  SelectOptions select;
  select.threads = options_.threads;
  select.level = options_.level;
  select.budget_seconds = options_.budget_seconds;
  select.barred = options_.barred;
  select.cache = &timings_;
  select.cancelled = options_.cancelled;
  if (options_.progress) {
    select.progress = [this](int done, int total) { options_.progress("choosing tactics", done, total); };
  }
  selection_ = select_tactics(*g, tactics_, *pool_, select);
  BuildOptions build;
  build.threads = options_.threads;
  try {
    return build_program(std::move(g), selection_.choices, tactics_, *weights_, build);
  } catch (Error& e) {
    throw e.note("while planning for " + shapes_text(*graph_, dims));
  }
}

void EngineCore::check_profile(const std::vector<Dims>& dims) const {
  for (size_t i = 0; i < dims.size(); ++i) {
    const Value& v = graph_->value(graph_->inputs[i]);
    if (!v.type.is_tensor()) continue;
    if (v.type.shape) {
      expect(v.type.shape->size() == dims[i].size(), "input '{}' is {}; a tensor of shape {} was given", v.name,
             v.type.text(), dims_text(dims[i]));
      for (size_t a = 0; a < dims[i].size(); ++a) {
        const Dim& d = (*v.type.shape)[a];
        expect(!d.is_const() || d.value() == dims[i][a], "input '{}' is {}; a tensor of shape {} was given", v.name,
               v.type.text(), dims_text(dims[i]));
      }
    }
    auto range = profile_.find(v.name);
    if (range == profile_.end()) continue;
    const ProfileRange& r = range->second;
    for (size_t a = 0; a < dims[i].size() && a < r.min.size(); ++a) {
      expect(dims[i][a] >= r.min[a] && dims[i][a] <= r.max[a],
             "input '{}' of shape {} is outside the optimization profile {} to {}", v.name, dims_text(dims[i]),
             dims_text(r.min), dims_text(r.max));
    }
  }
  // One symbol has one value: N in two inputs must agree.
  std::map<std::string, int64_t> bound;
  for (size_t i = 0; i < dims.size(); ++i) {
    const Value& v = graph_->value(graph_->inputs[i]);
    if (!v.type.is_tensor() || !v.type.shape) continue;
    for (size_t a = 0; a < dims[i].size(); ++a) {
      const Dim& d = (*v.type.shape)[a];
      if (!d.is_symbol() || d.text().starts_with("?")) continue;
      auto [at, fresh] = bound.emplace(d.text(), dims[i][a]);
      expect(fresh || at->second == dims[i][a], "dimension {} is {} in one input and {} in '{}'", d.text(), at->second,
             dims[i][a], v.name);
    }
  }
}

std::shared_ptr<const Program> EngineCore::program(const std::vector<Dims>& dims) {
  std::lock_guard lock(mutex_);
  for (auto at = programs_.begin(); at != programs_.end(); ++at) {
    if (at->dims != dims) continue;
    programs_.splice(programs_.begin(), programs_, at);
    return programs_.front().program;
  }
  expect(dims.size() == graph_->inputs.size(), "the model has {} inputs, {} were given", graph_->inputs.size(),
         dims.size());
  check_profile(dims);
  programs_.push_front({dims, make(dims), false});
  size_t loose = 0;
  for (auto at = programs_.begin(); at != programs_.end();) {
    loose += at->pinned ? 0 : 1;
    at = !at->pinned && loose > options_.max_programs ? programs_.erase(at) : std::next(at);
  }
  return programs_.front().program;
}

std::shared_ptr<const Program> EngineCore::program_for(std::span<const Datum> inputs) {
  expect(inputs.size() == graph_->inputs.size(), "the model has {} inputs, {} were given", graph_->inputs.size(),
         inputs.size());
  std::vector<Dims> dims;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Value& v = graph_->value(graph_->inputs[i]);
    bool tensor = inputs[i].is_tensor();
    expect(tensor == v.type.is_tensor(), "input '{}' must be {}", v.name, v.type.text());
    if (tensor) {
      expect(inputs[i].tensor.dtype() == v.type.dtype, "input '{}' is {}; a {} tensor was given", v.name, v.type.text(),
             name(inputs[i].tensor.dtype()));
    }
    dims.push_back(tensor ? inputs[i].tensor.dims() : Dims());
  }
  return program(dims);
}

std::optional<std::vector<Dims>> EngineCore::planned_dims() const {
  std::lock_guard lock(mutex_);
  for (const Cached& c : programs_) {
    if (c.pinned) return c.dims;
  }
  return std::nullopt;
}

Plan EngineCore::plan() const {
  std::lock_guard lock(mutex_);
  Plan p;
  p.graph = graph_;
  p.profile = profile_;
  p.info = info_;
  p.packed = weights_->packed();
  for (const Cached& c : programs_) {
    if (!c.pinned) continue;
    p.specializations.push_back({c.dims, c.program->graph, c.program->choices});
    std::string library = library_of(c.program->choices, options_);
    if (!library.empty()) p.info["library"] = library;
  }
  return p;
}

std::optional<std::vector<Dims>> input_dims(const Graph& graph, const std::map<std::string, Dims>& shapes) {
  for (const auto& [input, dims] : shapes) {
    bool known =
        std::any_of(graph.inputs.begin(), graph.inputs.end(), [&](ValueId v) { return graph.value(v).name == input; });
    if (!known) {
      std::string all;
      for (ValueId v : graph.inputs) all += (all.empty() ? "" : ", ") + graph.value(v).name;
      fail(Code::kInvalidArgument, "the model has no input '{}'; its inputs are {}", input, all);
    }
  }
  std::vector<Dims> out;
  std::map<std::string, int64_t> symbols;
  for (ValueId v : graph.inputs) {
    auto given = shapes.find(graph.value(v).name);
    const Type& t = graph.value(v).type;
    if (given == shapes.end() || !t.shape) continue;
    expect(t.shape->size() == given->second.size(), "input '{}' is {}; shape {} does not fit", given->first, t.text(),
           dims_text(given->second));
    for (size_t i = 0; i < t.shape->size(); ++i) {
      const Dim& d = (*t.shape)[i];
      expect(!d.is_const() || d.value() == given->second[i], "input '{}' is {}; shape {} does not fit", given->first,
             t.text(), dims_text(given->second));
      if (d.is_symbol()) symbols.emplace(d.text(), given->second[i]);
    }
  }
  for (ValueId v : graph.inputs) {
    const Value& value = graph.value(v);
    auto given = shapes.find(value.name);
    if (!value.type.is_tensor()) {
      out.emplace_back();
    } else if (given != shapes.end()) {
      out.push_back(given->second);
    } else {
      if (!value.type.shape) return std::nullopt;
      Dims dims;
      for (const Dim& d : *value.type.shape) {
        auto n = d.evaluate([&](std::string_view s) -> std::optional<int64_t> {
          auto at = symbols.find(std::string(s));
          return at == symbols.end() ? std::nullopt : std::optional(at->second);
        });
        if (!n) return std::nullopt;
        dims.push_back(*n);
      }
      out.push_back(std::move(dims));
    }
  }
  return out;
}

}  // namespace tenon
