#include "plan/body_runner.hpp"

#include <chrono>
#include <cstring>

#include "base/checked.hpp"
#include "base/error.hpp"
#include "graph/interpret.hpp"
#include "ops/op_table.hpp"
#include "plan/flow.hpp"

namespace tenon {
namespace {

using Kind = Location::Kind;

size_t bytes_of(const Type& t) { return static_cast<size_t>(byte_size(t.dtype, element_count(const_dims(*t.shape)))); }

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

BodyRunner::BodyRunner(std::shared_ptr<const Program> program) : program_(std::move(program)) {
  TENON_CHECK(program_->datum_count == 0);
  auto take = [&](const Location& l) {
    if (l.kind == Kind::kInput) {
      inputs_.push_back({slots_, l});
    } else if (l.kind == Kind::kOutput) {
      outputs_.push_back({slots_, l});
    } else {
      fixed_.push_back({slots_, l});
    }
    ++slots_;
  };
  for (const Step& s : program_->steps) {
    in_at_.push_back(slots_);
    for (const Location& l : s.in) take(l);
    out_at_.push_back(slots_);
    for (const Location& l : s.out) take(l);
    layers_.push_back(static_cast<int64_t>(inner_steps(s)));
  }
  arena_at_ = round_up(static_cast<int64_t>(slots_ * sizeof(void*)), 64);
}

void BodyRunner::open(std::byte* memory) const {
  auto* table = reinterpret_cast<const void**>(memory);
  for (const Slot& s : fixed_) {
    const Location& l = s.location;
    table[s.at] = l.kind == Kind::kArena      ? memory + arena_at_ + l.offset
                  : l.kind == Kind::kConstant ? program_->constants[static_cast<size_t>(l.index)].raw() + l.offset
                                              : nullptr;
  }
}

void BodyRunner::run(std::byte* memory, const void* const* in, void* const* out, ThreadPool& pool) const {
  auto* table = reinterpret_cast<const void**>(memory);
  for (const Slot& s : inputs_) {
    table[s.at] = static_cast<const std::byte*>(in[s.location.index]) + s.location.offset;
  }
  for (const Slot& s : outputs_) {
    table[s.at] = static_cast<std::byte*>(out[s.location.index]) + s.location.offset;
  }
  FlowTrace trace = flow_trace();
  double* seconds = trace.seconds;
  for (size_t i = 0; i < program_->steps.size(); ++i) {
    const Step& step = program_->steps[i];
    const void* const* from = table + in_at_[i];
    auto* to = const_cast<void* const*>(table + out_at_[i]);
    double begin = 0;
    if (seconds != nullptr) {
      begin = now();
      flow_trace().seconds = seconds + 1;
    }
    if (trace.observer != nullptr) trace.observer->before(*program_, step, from);
    if (step.kernel != nullptr) {
      step.kernel->run({from, to, memory + arena_at_ + program_->workspace_offset, pool});
    } else {
      run_reference(step, from, to);
    }
    if (trace.observer != nullptr) trace.observer->after(*program_, step, to);
    if (seconds != nullptr) {
      *seconds += now() - begin;
      seconds += 1 + layers_[i];
    }
  }
  flow_trace() = trace;
  deliver(memory + arena_at_, in, out);
}

void BodyRunner::run_reference(const Step& step, const void* const* in, void* const* out) const {
  std::vector<Datum> arguments(step.in.size());
  std::vector<const Datum*> pointers(step.in.size(), nullptr);
  for (size_t i = 0; i < step.in.size(); ++i) {
    if (step.in[i].kind == Kind::kAbsent) continue;
    const Type& t = step.in_types[i];
    arguments[i] = Datum(
        Tensor::view(t.dtype, const_dims(*t.shape), {static_cast<const std::byte*>(in[i]), bytes_of(t)}, nullptr));
    pointers[i] = &arguments[i];
  }
  std::vector<Datum> made = interpret_node(program_->graph->node(step.node), all_ops(), pointers);
  for (size_t i = 0; i < step.out.size() && i < made.size(); ++i) {
    if (step.out[i].kind == Kind::kAbsent) continue;
    const Type& t = step.out_types[i];
    const Tensor& tensor = made[i].tensor;
    bool fits = made[i].is_tensor() && tensor.defined() && Type::tensor(tensor) == t;
    if (!fits) fail(Code::kInternal, "{} '{}' made something else than the planned {}", step.op, step.name, t.text());
    if (tensor.bytes() > 0) std::memcpy(out[i], tensor.raw(), static_cast<size_t>(tensor.bytes()));
  }
}

int BodyRunner::passed_on(size_t output) const {
  const Location& l = program_->output_locations[output];
  bool whole = l.kind == Kind::kInput && l.offset == 0 &&
               bytes_of(program_->outputs[output]) == bytes_of(program_->inputs[static_cast<size_t>(l.index)]);
  return whole ? l.index : -1;
}

// Outputs that no step writes where they belong: inputs and constants handed on, one value twice, pieces of others.
void BodyRunner::deliver(const std::byte* arena, const void* const* in, void* const* out) const {
  for (size_t i = 0; i < program_->outputs.size(); ++i) {
    const Location& l = program_->output_locations[i];
    if (out[i] == nullptr || (l.kind == Kind::kOutput && l.index == static_cast<int32_t>(i) && l.offset == 0)) continue;
    const std::byte* from = l.kind == Kind::kInput      ? static_cast<const std::byte*>(in[l.index])
                            : l.kind == Kind::kOutput   ? static_cast<const std::byte*>(out[l.index])
                            : l.kind == Kind::kConstant ? program_->constants[static_cast<size_t>(l.index)].raw()
                                                        : arena;
    std::memcpy(out[i], from + l.offset, bytes_of(program_->outputs[i]));
  }
}

}  // namespace tenon
