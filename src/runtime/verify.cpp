#include "runtime/verify.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/checked.hpp"
#include "base/error.hpp"
#include "graph/interpret.hpp"
#include "plan/flow.hpp"
#include "runtime/compare.hpp"

namespace tenon {
namespace {

// A small model can ask for any amount of memory, and a build must not take that unasked.
constexpr int64_t kMaxBytes = int64_t{2} << 30;
constexpr int kMaxBlamed = 6;  // more culprits than this mean that something general is wrong

double rms_of(const Tensor& wanted, const Tensor& got) {
  if (!wanted.defined() && !got.defined()) return 0;
  if (wanted.dtype() != got.dtype() || wanted.dims() != got.dims()) return HUGE_VAL;
  if (wanted.dtype() == DType::kString) return identical(wanted, got) ? 0 : HUGE_VAL;
  double error = 0, scale = 0;
  for (int64_t i = 0; i < wanted.size(); ++i) {
    double a = wanted.at(i), b = got.at(i);
    if (std::isfinite(a)) scale += a * a;
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    if (!std::isfinite(a - b)) return HUGE_VAL;
    error += (a - b) * (a - b);
  }
  return error == 0 ? 0 : scale > 0 ? std::sqrt(error / scale) : std::sqrt(error);
}

double tolerance_for(const Graph& g) {
  bool half = false;
  for (NodeId id : g.order()) {
    const Node& n = g.node(id);
    if (n.op.find("Quantize") != std::string::npos || n.op.find("Integer") != std::string::npos ||
        n.op.find("QLinear") != std::string::npos) {
      return 0.15;
    }
    for (ValueId v : n.outputs) {
      DType t = v == kNone ? DType::kUndefined : g.value(v).type.dtype;
      half = half || t == DType::kFloat16 || t == DType::kBFloat16;
    }
  }
  return half ? 0.02 : 1e-4;
}

// A row-major tensor of what lies at `data`.
Tensor gather(const void* data, const Type& type, const Ints& strides) {
  Tensor to = Tensor::uninitialized(type.dtype, const_dims(*type.shape));
  auto element = static_cast<size_t>(bits(type.dtype) / 8);
  Ints index(strides.size(), 0);
  for (int64_t i = 0; i < to.size(); ++i) {
    int64_t at = 0;
    for (size_t a = 0; a < index.size(); ++a) at += index[a] * strides[a];
    std::memcpy(to.mutable_raw() + static_cast<size_t>(i) * element,
                static_cast<const std::byte*>(data) + at * static_cast<int64_t>(element), element);
    for (size_t a = index.size(); a-- > 0;) {
      if (++index[a] < to.dims()[a]) break;
      index[a] = 0;
    }
  }
  return to;
}

// Holds each step inside control flow against the reference on the step's own inputs, until one departs.
class InnerSteps final : public FlowObserver {
 public:
  InnerSteps(const OpTable& ops, double (*tolerance)(const Tensor&)) : ops_(ops), tolerance_(tolerance) {
    flow_trace().observer = this;
  }
  ~InnerSteps() override { flow_trace().observer = nullptr; }
  InnerSteps(const InnerSteps&) = delete;
  InnerSteps& operator=(const InnerSteps&) = delete;

  const Step* guilty() const noexcept { return guilty_; }

  void before(const Program& body, const Step& step, const void* const* in) override {
    wanted_.clear();
    if (guilty_ != nullptr || step.node == kNone || step.kernel == nullptr || !step.bodies.empty()) return;
    if (checked_++ > kMaxChecked) return;
    const Node& n = body.graph->node(step.node);
    std::vector<Datum> arguments(step.in.size());
    std::vector<const Datum*> pointers(step.in.size(), nullptr);
    for (size_t i = 0; i < step.in.size(); ++i) {
      if (step.in[i].kind == Location::Kind::kAbsent) continue;
      if (bits(step.in_types[i].dtype) % 8 != 0) return;
      const Value& value = body.graph->value(n.inputs[i]);
      arguments[i] =
          value.is_constant() ? Datum(value.constant) : Datum(gather(in[i], step.in_types[i], step.in_strides[i]));
      pointers[i] = &arguments[i];
    }
    wanted_ = interpret_node(n, ops_, pointers);
  }

  void after(const Program&, const Step& step, void* const* out) override {
    for (size_t i = 0; i < wanted_.size() && i < step.out.size(); ++i) {
      if (step.out[i].kind == Location::Kind::kAbsent || bits(step.out_types[i].dtype) % 8 != 0) continue;
      Tensor got = gather(out[i], step.out_types[i], step.out_strides[i]);
      if (rms_of(wanted_[i].tensor, got) > tolerance_(got)) guilty_ = &step;
    }
    wanted_.clear();
  }

 private:
  static constexpr int kMaxChecked = 5000;  // loops of many rounds repeat themselves
  const OpTable& ops_;
  double (*tolerance_)(const Tensor&);
  std::vector<Datum> wanted_;
  const Step* guilty_ = nullptr;
  int checked_ = 0;
};

class Verifier {
 public:
  Verifier(const GraphPtr& imported, const std::map<std::string, Dims>& shapes,
           const std::map<std::string, ProfileRange>& profile, EngineOptions options, const VerifyOptions& verify,
           VerifyReport& report)
      : imported_(imported),
        shapes_(shapes),
        profile_(profile),
        options_(std::move(options)),
        verify_(verify),
        report_(report) {}

  std::shared_ptr<EngineCore> run() {
    auto engine = build(options_);
    if (verify_.inputs.size() != imported_->inputs.size()) return engine;
    report_.done = true;
    report_.tolerance = verify_.tolerance > 0 ? verify_.tolerance : tolerance_for(*imported_);
    if (int64_t bytes = bytes_needed(*engine->program_for(verify_.inputs)); bytes > kMaxBytes) {
      report_.done = false;
      report_.why_not = fmt::format("the values of one run take {} MB, and up to {} MB are spent on that", bytes >> 20,
                                    kMaxBytes >> 20);
      return engine;
    }
    if (options_.progress) options_.progress("verifying against the reference", 0, 1);
    try {
      wanted_ = interpret(*imported_, engine->ops(), verify_.inputs);
    } catch (const Error& e) {
      report_.done = false;
      report_.why_not = "the reference refuses the sample inputs: " + e.message();
      return engine;
    }
    if (options_.progress) options_.progress("verifying against the reference", 1, 1);
    std::string output;
    report_.worst = error_of(*engine, output);
    while (report_.worst > report_.tolerance && static_cast<int>(report_.blamed.size()) < kMaxBlamed) {
      auto better = without_tactic(*engine);
      if (better == nullptr && report_.by_layer) break;
      if (better == nullptr) better = without_pass();
      if (better == nullptr) break;
      engine = better;
      report_.worst = error_of(*engine, output);
    }
    report_.output = output;
    report_.passed = report_.worst <= report_.tolerance || report_.by_layer;
    return engine;
  }

 private:
  std::shared_ptr<EngineCore> build(const EngineOptions& options) {
    return EngineCore::build(imported_->clone(), shapes_, profile_, options);
  }

  // What the plan holds at once; the reference holds about as much.
  static int64_t bytes_needed(const Program& program) {
    int64_t total = program.arena_bytes;
    const Graph& g = *program.graph;
    for (ValueId v : g.outputs) {
      const Type& t = g.value(v).type;
      if (t.is_static()) total = checked_add(total, byte_size(t.dtype, element_count(const_dims(*t.shape))));
    }
    return total;
  }

  double error_of(EngineCore& engine, std::string& output) {
    auto program = engine.program_for(verify_.inputs);
    ProgramSession session(program, engine.pool(), engine.ops());
    std::vector<Datum> outputs(program->outputs.size());
    session.run(verify_.inputs, outputs);
    double worst = 0;
    for (size_t i = 0; i < outputs.size(); ++i) {
      double e = rms_error(wanted_[i], outputs[i]);
      if (e <= worst) continue;
      worst = e;
      output = engine.graph().value(engine.graph().outputs[i]).name;
    }
    return worst;
  }

  // Every step against the reference on the step's own inputs: what a model amplifies does not count, what a kernel
  // does wrong does. The first that departs is barred for its node; when none does, only amplified rounding is left, or
  // a pass.
  std::shared_ptr<EngineCore> without_tactic(EngineCore& engine) {
    auto program = engine.program_for(verify_.inputs);
    const Graph& g = *program->graph;
    std::map<NodeId, std::vector<Tensor>> made;
    std::map<NodeId, const Step*> steps;
    ProgramSession session(program, engine.pool(), engine.ops());
    std::vector<Datum> outputs(program->outputs.size());
    session.run_observed(verify_.inputs, outputs, [&](const Step& step, std::span<const Tensor> out) {
      if (step.kernel == nullptr) return;
      made[step.node].assign(out.begin(), out.end());
      steps[step.node] = &step;
    });
    std::vector<Datum> values(static_cast<size_t>(g.value_count()));
    for (int v = 0; v < g.value_count(); ++v) {
      if (g.value(v).is_constant()) values[static_cast<size_t>(v)] = Datum(g.value(v).constant);
    }
    for (size_t i = 0; i < g.inputs.size(); ++i) values[static_cast<size_t>(g.inputs[i])] = verify_.inputs[i];
    const Step* guilty = nullptr;
    for (NodeId id : g.order()) {
      const Node& n = g.node(id);
      std::vector<const Datum*> arguments;
      for (ValueId v : n.inputs) arguments.push_back(v == kNone ? nullptr : &values[static_cast<size_t>(v)]);
      std::vector<Datum> want = interpret_node(n, engine.ops(), arguments);
      auto at = made.find(id);
      for (size_t i = 0; i < n.outputs.size() && i < want.size(); ++i) {
        if (n.outputs[i] == kNone) continue;
        bool observed = at != made.end() && i < at->second.size() && at->second[i].defined();
        if (observed && rms_of(want[i].tensor, at->second[i]) > step_tolerance(at->second[i])) guilty = steps[id];
        values[static_cast<size_t>(n.outputs[i])] = observed ? Datum(at->second[i]) : std::move(want[i]);
      }
      if (guilty != nullptr) break;
    }
    // Of control flow, the step inside that is to blame, if it has a name to be barred by.
    if (guilty != nullptr && !guilty->bodies.empty()) {
      InnerSteps inner(engine.ops(), step_tolerance);
      session.run(verify_.inputs, outputs);
      if (inner.guilty() != nullptr && !inner.guilty()->name.empty()) guilty = inner.guilty();
    }
    report_.by_layer = guilty == nullptr;
    if (guilty == nullptr || guilty->name.empty() || options_.barred.contains(guilty->name)) return nullptr;
    report_.blamed.push_back(fmt::format("tactic {} of node {}", guilty->tactic, guilty->name));
    options_.barred[guilty->name] = guilty->tactic;
    return build(options_);
  }

  // An 8-bit result may fall on the other side of a rounding boundary now and then.
  static double step_tolerance(const Tensor& t) { return is_floating(t.dtype()) ? 1e-3 : 0.02; }

  // The graph itself is wrong: the pass without which it is right.
  std::shared_ptr<EngineCore> without_pass() {
    for (const Pass& pass : pipeline()) {
      if (options_.optimize.disabled.contains(pass.name)) continue;
      EngineOptions trial = options_;
      trial.optimize.disabled.insert(std::string(pass.name));
      auto engine = build(trial);
      std::string output;
      if (error_of(*engine, output) > report_.tolerance) continue;
      report_.blamed.push_back(fmt::format("pass {}", pass.name));
      options_ = std::move(trial);
      return engine;
    }
    return nullptr;
  }

  const GraphPtr& imported_;
  const std::map<std::string, Dims>& shapes_;
  const std::map<std::string, ProfileRange>& profile_;
  EngineOptions options_;
  const VerifyOptions& verify_;
  VerifyReport& report_;
  std::vector<Datum> wanted_;
};

}  // namespace

double rms_error(const Datum& wanted, const Datum& got) {
  if (wanted.kind != got.kind || wanted.items.size() != got.items.size()) return HUGE_VAL;
  double worst = rms_of(wanted.tensor, got.tensor);
  if (wanted.kind == Type::Kind::kMap) worst = std::max(worst, rms_of(wanted.keys, got.keys));
  for (size_t i = 0; i < wanted.items.size(); ++i) worst = std::max(worst, rms_error(wanted.items[i], got.items[i]));
  return worst;
}

std::shared_ptr<EngineCore> build_verified(const GraphPtr& imported, const std::map<std::string, Dims>& shapes,
                                           const std::map<std::string, ProfileRange>& profile, EngineOptions options,
                                           const VerifyOptions& verify, VerifyReport& report) {
  return Verifier(imported, shapes, profile, std::move(options), verify, report).run();
}

}  // namespace tenon
