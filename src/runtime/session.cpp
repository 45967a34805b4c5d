#include "runtime/session.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "base/checked.hpp"
#include "base/error.hpp"
#include "graph/interpret.hpp"
#include "plan/flow.hpp"
#include "runtime/bodies.hpp"
#include "runtime/cuda_session.hpp"

namespace tenon {
namespace {

using Kind = Location::Kind;

// Called for each input and output of every run, so it makes no vector to compare with.
bool fits(const Datum& d, const Type& t) {
  if (!d.is_tensor() || !d.tensor.defined() || d.tensor.dtype() != t.dtype || !t.is_static()) return false;
  const Dims& dims = d.tensor.dims();
  return std::equal(dims.begin(), dims.end(), t.shape->begin(), t.shape->end(),
                    [](int64_t have, const Dim& want) { return want.maybe() == have; });
}

}  // namespace

ProgramSession::ProgramSession(std::shared_ptr<const Program> program, std::shared_ptr<ThreadPool> pool,
                               const OpTable& ops)
    : program_(std::move(program)), pool_(std::move(pool)), ops_(ops) {
  arena_ = Tensor::uninitialized(DType::kUInt8, {round_up(program_->arena_bytes, 64) + 64});
  data_.resize(static_cast<size_t>(program_->datum_count));
  layer_count_ = all_steps(*program_).size();
  resolve();
  if (CudaExecution::wanted(*program_)) {
    cuda_ = std::make_unique<CudaExecution>(program_, arena_.mutable_raw());
    input_addresses_.resize(program_->inputs.size());
    output_addresses_.resize(program_->outputs.size());
  }
}

ProgramSession::~ProgramSession() = default;

const void* ProgramSession::address(const Location& l) const {
  switch (l.kind) {
    case Kind::kArena: return arena_.raw() + l.offset;
    case Kind::kConstant: return program_->constants[static_cast<size_t>(l.index)].raw() + l.offset;
    default: return nullptr;
  }
}

void ProgramSession::resolve() {
  size_t count = program_->steps.size();
  in_.resize(count);
  out_.resize(count);
  for (size_t s = 0; s < count; ++s) {
    const Step& step = program_->steps[s];
    for (const Location& l : step.in) in_[s].push_back(address(l));
    for (const Location& l : step.out) out_[s].push_back(const_cast<void*>(address(l)));
    auto patch = [&](const Location& l, const void** slot) {
      if (l.kind == Kind::kInput) input_patches_.push_back({slot, l});
      if (l.kind == Kind::kOutput) output_patches_.push_back({slot, l});
    };
    for (size_t i = 0; i < step.in.size(); ++i) patch(step.in[i], &in_[s][i]);
    for (size_t i = 0; i < step.out.size(); ++i) patch(step.out[i], const_cast<const void**>(&out_[s][i]));
  }
}

void ProgramSession::prepare_outputs(std::span<const Datum>, std::span<Datum> outputs) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Type& t = program_->outputs[i];
    bool written_here = program_->output_locations[i].kind != Kind::kDatum && t.is_tensor() && t.is_static() &&
                        t.dtype != DType::kString;
    if (written_here && !fits(outputs[i], t)) outputs[i] = Datum(Tensor::uninitialized(t.dtype, const_dims(*t.shape)));
  }
}

void ProgramSession::bind(std::span<const Datum> inputs, std::span<Datum> outputs) {
  const Program& p = *program_;
  expect(inputs.size() == p.inputs.size() && outputs.size() == p.outputs.size(),
         "the program has {} inputs and {} outputs; {} and {} were given", p.inputs.size(), p.outputs.size(),
         inputs.size(), outputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (p.inputs[i].is_tensor() && p.inputs[i].is_static() && !fits(inputs[i], p.inputs[i])) {
      fail(Code::kInvalidArgument, "input {} must be {}", i, p.inputs[i].text());
    }
  }
  prepare_outputs(inputs, outputs);
  for (const Patch& patch : input_patches_) {
    const Datum& d = inputs[static_cast<size_t>(patch.location.index)];
    *patch.slot = d.is_tensor() && d.tensor.defined() ? d.tensor.raw() + patch.location.offset : nullptr;
  }
  for (const Patch& patch : output_patches_) {
    *patch.slot = outputs[static_cast<size_t>(patch.location.index)].tensor.raw() + patch.location.offset;
  }
}

void ProgramSession::run_step(size_t s, std::span<const Datum> inputs, std::span<Datum> outputs) {
  const Step& step = program_->steps[s];
  if (step.kernel == nullptr) {
    run_reference(step, inputs, outputs);
    return;
  }
  RunArgs args{in_[s].data(), out_[s].data(), arena_.mutable_raw() + program_->workspace_offset, *pool_};
  step.kernel->run(args);
}

void ProgramSession::run_on_device(std::span<const Datum> inputs, std::span<Datum> outputs, std::span<double> seconds) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    bool has = inputs[i].is_tensor() && inputs[i].tensor.defined();
    input_addresses_[i] = has ? inputs[i].tensor.raw() : nullptr;
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    bool has = outputs[i].is_tensor() && outputs[i].tensor.defined();
    output_addresses_[i] = has ? outputs[i].tensor.mutable_raw() : nullptr;
  }
  std::vector<double> by_step(seconds.empty() ? 0 : program_->steps.size());
  cuda_->run(
      input_addresses_, output_addresses_, [&](size_t s) { run_step(s, inputs, outputs); }, by_step);
  size_t at = 0;
  for (size_t s = 0; s < by_step.size(); ++s) {
    seconds[at] += by_step[s];
    at += 1 + inner_steps(program_->steps[s]);
  }
}

void ProgramSession::run(std::span<const Datum> inputs, std::span<Datum> outputs, std::span<double> step_seconds) {
  bind(inputs, outputs);
  if (cuda_) {
    run_on_device(inputs, outputs, step_seconds);
  } else if (step_seconds.empty()) {
    for (size_t s = 0; s < program_->steps.size(); ++s) run_step(s, inputs, outputs);
  } else {
    run_timed(inputs, outputs, step_seconds);
  }
  deliver(inputs, outputs);
}

void ProgramSession::run_timed(std::span<const Datum> inputs, std::span<Datum> outputs, std::span<double> seconds) {
  TENON_CHECK(seconds.size() == layer_count_);
  FlowTrace before = flow_trace();
  size_t at = 0;
  for (size_t s = 0; s < program_->steps.size(); ++s) {
    size_t inside = inner_steps(program_->steps[s]);
    flow_trace() = {seconds.data() + at + 1, nullptr};
    auto begin = std::chrono::steady_clock::now();
    try {
      run_step(s, inputs, outputs);
    } catch (...) {
      flow_trace() = before;
      throw;
    }
    seconds[at] += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    at += 1 + inside;
  }
  flow_trace() = before;
}

void ProgramSession::run_observed(std::span<const Datum> inputs, std::span<Datum> outputs, const StepObserver& after) {
  if (cuda_)
    fail(Code::kUnsupported, "only programs of the CPU are observed layer by layer; compare whole outputs on a GPU");
  bind(inputs, outputs);
  for (size_t s = 0; s < program_->steps.size(); ++s) {
    run_step(s, inputs, outputs);
    const Step& step = program_->steps[s];
    if (step.node == kNone) continue;
    std::vector<Tensor> made;
    for (size_t i = 0; i < step.out.size(); ++i) made.push_back(read_back(step, i, outputs));
    after(step, made);
  }
  deliver(inputs, outputs);
}

Tensor ProgramSession::read_back(const Step& step, size_t output, std::span<Datum> outputs) const {
  const Location& l = step.out[output];
  bool addressed = l.kind == Kind::kArena || l.kind == Kind::kOutput;
  if (!addressed || step.out_strides[output].empty() != step.out_types[output].shape->empty()) return {};
  const Type& type = step.out_types[output];
  if (!type.is_static() || bits(type.dtype) % 8 != 0) return {};
  const std::byte* from = l.kind == Kind::kArena ? arena_.raw() : outputs[static_cast<size_t>(l.index)].tensor.raw();
  Tensor to = Tensor::uninitialized(type.dtype, const_dims(*type.shape));
  auto element = static_cast<size_t>(bits(type.dtype) / 8);
  const Ints& strides = step.out_strides[output];
  Ints index(strides.size(), 0);
  for (int64_t i = 0; i < to.size(); ++i) {
    int64_t at = 0;
    for (size_t a = 0; a < index.size(); ++a) at += index[a] * strides[a];
    std::memcpy(to.mutable_raw() + static_cast<size_t>(i) * element,
                from + l.offset + at * static_cast<int64_t>(element), element);
    for (size_t a = index.size(); a-- > 0;) {
      if (++index[a] < to.dims()[a]) break;
      index[a] = 0;
    }
  }
  return to;
}

Datum ProgramSession::datum_at(const Location& l, const Type& type, std::span<const Datum> inputs,
                               std::span<Datum> outputs) const {
  switch (l.kind) {
    case Kind::kInput:
      if (l.offset == 0 && (!type.is_static() || fits(inputs[static_cast<size_t>(l.index)], type))) {
        return inputs[static_cast<size_t>(l.index)];
      }
      break;
    case Kind::kDatum: return data_[static_cast<size_t>(l.index)];
    case Kind::kConstant: return Datum(program_->constants[static_cast<size_t>(l.index)]);
    default: break;
  }
  const std::byte* data = l.kind == Kind::kArena   ? arena_.raw()
                          : l.kind == Kind::kInput ? inputs[static_cast<size_t>(l.index)].tensor.raw()
                                                   : outputs[static_cast<size_t>(l.index)].tensor.raw();
  Dims dims = const_dims(*type.shape);
  auto bytes = static_cast<size_t>(byte_size(type.dtype, element_count(dims)));
  return Datum(Tensor::view(type.dtype, std::move(dims), {data + l.offset, bytes}, nullptr));
}

int ProgramSession::bodies_planned() const noexcept { return bodies_ ? bodies_->planned() : 0; }

// Control flow that was not planned: the reference counts the rounds, the bodies are planned for the shapes they meet.
std::vector<Datum> ProgramSession::run_flow(const Node& node, std::span<const Datum* const> inputs) {
  struct Scope {
    explicit Scope(BodyRuntime* runtime) : before(std::exchange(body_runtime(), runtime)) {}
    ~Scope() { body_runtime() = before; }
    BodyRuntime* before;
  };
  if (!bodies_) bodies_ = std::make_unique<BodyPrograms>(pool_, ops_, program_->threads);
  Scope scope(bodies_.get());
  return interpret_node(node, ops_, inputs);
}

void ProgramSession::run_reference(const Step& step, std::span<const Datum> inputs, std::span<Datum> outputs) {
  std::vector<Datum> arguments(step.in.size());
  std::vector<const Datum*> pointers(step.in.size(), nullptr);
  for (size_t i = 0; i < step.in.size(); ++i) {
    if (step.in[i].kind == Kind::kAbsent) continue;
    arguments[i] = datum_at(step.in[i], step.in_types[i], inputs, outputs);
    pointers[i] = &arguments[i];
  }
  const Node& node = program_->graph->node(step.node);
  std::vector<Datum> results = is_flow_op(node) ? run_flow(node, pointers) : interpret_node(node, ops_, pointers);
  for (size_t i = 0; i < step.out.size() && i < results.size(); ++i) {
    const Location& l = step.out[i];
    if (l.kind == Kind::kAbsent) continue;
    if (l.kind == Kind::kDatum) {
      // A result may be a view of the arena (Identity of an input); the datum outlives the step, so it owns its bytes.
      bool borrowed = results[i].is_tensor() && results[i].tensor.defined() && results[i].tensor.owner() == nullptr;
      data_[static_cast<size_t>(l.index)] = borrowed ? Datum(results[i].tensor.clone()) : std::move(results[i]);
      continue;
    }
    const Type& want = step.out_types[i];
    if (!fits(results[i], want)) {
      fail(Code::kInternal, "{} '{}' made {} {} where {} was planned", step.op, step.name,
           name(results[i].tensor.dtype()), dims_text(results[i].tensor.dims()), want.text());
    }
    std::byte* to = l.kind == Kind::kArena ? arena_.mutable_raw() + l.offset
                                           : outputs[static_cast<size_t>(l.index)].tensor.mutable_raw() + l.offset;
    if (results[i].tensor.bytes() > 0) {
      std::memcpy(to, results[i].tensor.raw(), static_cast<size_t>(results[i].tensor.bytes()));
    }
  }
}

void ProgramSession::deliver(std::span<const Datum> inputs, std::span<Datum> outputs) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Location& l = program_->output_locations[i];
    if (l.kind == Kind::kOutput && l.index == static_cast<int32_t>(i) && l.offset == 0) continue;
    const Type& t = program_->outputs[i];
    Datum d = datum_at(l, t, inputs, outputs);
    if (fits(outputs[i], t) && fits(d, t) && t.dtype != DType::kString) {
      if (d.tensor.bytes() > 0) {
        std::memcpy(outputs[i].tensor.mutable_raw(), d.tensor.raw(), static_cast<size_t>(d.tensor.bytes()));
      }
    } else {
      outputs[i] = d.is_tensor() && d.tensor.defined() ? Datum(d.tensor.clone()) : d;
    }
  }
}

}  // namespace tenon
