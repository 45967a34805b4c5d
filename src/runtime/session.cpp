#include "runtime/session.hpp"

#include <chrono>
#include <cstring>

#include "base/checked.hpp"
#include "base/error.hpp"
#include "graph/interpret.hpp"

namespace tenon {
namespace {

using Kind = Location::Kind;

bool fits(const Datum& d, const Type& t) {
  return d.is_tensor() && d.tensor.defined() && d.tensor.dtype() == t.dtype && t.is_static() &&
         d.tensor.dims() == const_dims(*t.shape);
}

}  // namespace

ProgramSession::ProgramSession(std::shared_ptr<const Program> program, std::shared_ptr<ThreadPool> pool,
                               const OpTable& ops)
    : program_(std::move(program)), pool_(std::move(pool)), ops_(ops) {
  arena_ = Tensor::uninitialized(DType::kUInt8, {round_up(program_->arena_bytes, 64) + 64});
  data_.resize(static_cast<size_t>(program_->datum_count));
  resolve();
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

void ProgramSession::run(std::span<const Datum> inputs, std::span<Datum> outputs, std::span<double> step_seconds) {
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
  std::byte* workspace = arena_.mutable_raw() + p.workspace_offset;
  for (size_t s = 0; s < p.steps.size(); ++s) {
    const Step& step = p.steps[s];
    std::chrono::steady_clock::time_point begin;
    if (!step_seconds.empty()) begin = std::chrono::steady_clock::now();
    if (step.kernel != nullptr) {
      RunArgs args{in_[s].data(), out_[s].data(), workspace, *pool_};
      step.kernel->run(args);
    } else {
      run_reference(step, inputs, outputs);
    }
    if (!step_seconds.empty()) {
      step_seconds[s] += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    }
  }
  deliver(inputs, outputs);
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

void ProgramSession::run_reference(const Step& step, std::span<const Datum> inputs, std::span<Datum> outputs) {
  std::vector<Datum> arguments(step.in.size());
  std::vector<const Datum*> pointers(step.in.size(), nullptr);
  for (size_t i = 0; i < step.in.size(); ++i) {
    if (step.in[i].kind == Kind::kAbsent) continue;
    arguments[i] = datum_at(step.in[i], step.in_types[i], inputs, outputs);
    pointers[i] = &arguments[i];
  }
  const Node& node = program_->graph->node(step.node);
  std::vector<Datum> results = interpret_node(node, ops_, pointers);
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
