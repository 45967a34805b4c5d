#include "runtime/cuda_session.hpp"

#include <algorithm>
#include <chrono>

#include "base/error.hpp"
#include "tactic/copy.hpp"

namespace tenon {
namespace {

using Kind = Location::Kind;

size_t bytes_of(const Type& t) { return static_cast<size_t>(byte_size(t.dtype, element_count(const_dims(*t.shape)))); }

/// Whether every operand is somewhere that the device can have a copy of.
bool addressable(const Step& step) {
  auto ok = [](const Location& l) { return l.kind != Kind::kDatum; };
  return std::all_of(step.in.begin(), step.in.end(), ok) && std::all_of(step.out.begin(), step.out.end(), ok);
}

const CudaKernel* cuda_kernel(const Step& step) { return dynamic_cast<const CudaKernel*>(step.kernel.get()); }

}  // namespace

bool CudaExecution::wanted(const Program& program) {
  return std::any_of(program.steps.begin(), program.steps.end(),
                     [](const Step& s) { return cuda_kernel(s) != nullptr; });
}

CudaExecution::CudaExecution(std::shared_ptr<const Program> program, std::byte* host_arena)
    : program_(std::move(program)),
      runtime_(CudaRuntime::current()),
      stream_(runtime_.device()),
      host_arena_(host_arena),
      arena_(runtime_.device(), static_cast<size_t>(program_->arena_bytes)),
      inputs_(program_->inputs.size()),
      outputs_(program_->outputs.size()),
      constants_(program_->constants.size()),
      steps_(program_->steps.size()) {
  for (size_t i = 0; i < steps_.size(); ++i) bind_step(i);
  split();
}

cuda::DevicePtr CudaExecution::address(const Location& l) {
  auto index = static_cast<size_t>(l.index);
  auto offset = static_cast<cuda::DevicePtr>(l.offset);
  switch (l.kind) {
    case Kind::kArena: return arena_.get() + offset;
    case Kind::kConstant: {
      const Tensor& t = program_->constants[index];
      if (!constants_[index]) constants_[index] = runtime_.resident(t.raw(), static_cast<size_t>(t.bytes()));
      return constants_[index]->get() + offset;
    }
    case Kind::kInput:
      if (inputs_[index].bytes() == 0)
        inputs_[index] = cuda::Buffer(runtime_.device(), bytes_of(program_->inputs[index]));
      return inputs_[index].get() + offset;
    case Kind::kOutput:
      if (outputs_[index].bytes() == 0)
        outputs_[index] = cuda::Buffer(runtime_.device(), bytes_of(program_->outputs[index]));
      return outputs_[index].get() + offset;
    default: return 0;
  }
}

void CudaExecution::bind_step(size_t i) {
  const Step& step = program_->steps[i];
  Bound& b = steps_[i];
  b.kernel = cuda_kernel(step);
  const CopyShape* copy = step.kernel ? copy_shape(*step.kernel) : nullptr;
  if (!b.kernel && copy && addressable(step) && bits(copy->dtype) % 8 == 0 && bits(copy->dtype) <= 64) {
    b.own = make_cuda_kernel(cuda::plan_copy(bits(copy->dtype) / 8, copy->dims, copy->from, copy->to),
                             [](const CudaBinding& bound) {
                               cuda::Operands o;
                               o.in[0] = bound.in[0];
                               o.out[0] = bound.out[0];
                               return cuda::operand_params(o);
                             });
    b.kernel = static_cast<const CudaKernel*>(b.own.get());
  }
  if (!b.kernel) return;
  for (const Location& l : step.in) b.in.push_back(address(l));
  for (const Location& l : step.out) b.out.push_back(address(l));
}

void CudaExecution::split() {
  for (size_t i = 0; i < steps_.size(); ++i) {
    bool device = steps_[i].kernel != nullptr;
    if (segments_.empty() || segments_.back().device != device) segments_.push_back({i, i, device, {}});
    segments_.back().last = i + 1;
  }
}

void CudaExecution::launch(size_t i) const {
  const Bound& b = steps_[i];
  b.kernel->launch(
      stream_, {b.in.data(), b.out.data(), arena_.get() + static_cast<cuda::DevicePtr>(program_->workspace_offset)});
}

void CudaExecution::run_device(Segment& segment, std::span<double> step_seconds) {
  if (!step_seconds.empty()) {
    cuda::Event begin(runtime_.device()), end(runtime_.device());
    for (size_t i = segment.first; i < segment.last; ++i) {
      stream_.record(begin);
      launch(i);
      stream_.record(end);
      end.synchronize();
      step_seconds[i] += end.since(begin) * 1e-3;
    }
    return;
  }
  if (!segment.graph) {
    stream_.begin_capture();
    try {
      for (size_t i = segment.first; i < segment.last; ++i) launch(i);
      segment.graph = stream_.end_capture();
    } catch (...) {
      stream_.cancel_capture();
      throw;
    }
  }
  stream_.launch(segment.graph);
}

void CudaExecution::move_outputs(std::span<void* const> outputs, bool to_host) const {
  for (size_t i = 0; i < outputs_.size(); ++i) {
    if (outputs_[i].bytes() == 0 || outputs[i] == nullptr) continue;
    if (to_host) {
      stream_.download(outputs[i], outputs_[i].get(), outputs_[i].bytes());
    } else {
      stream_.upload(outputs_[i].get(), outputs[i], outputs_[i].bytes());
    }
  }
}

void CudaExecution::run_host(const Segment& segment, std::span<const void* const>, std::span<void* const> outputs,
                             const std::function<void(size_t)>& host_step, std::span<double> step_seconds) {
  auto arena = static_cast<size_t>(program_->workspace_offset);
  if (arena > 0) stream_.download(host_arena_, arena_.get(), arena);
  move_outputs(outputs, true);
  stream_.synchronize();
  for (size_t i = segment.first; i < segment.last; ++i) {
    auto begin = std::chrono::steady_clock::now();
    host_step(i);
    if (!step_seconds.empty())
      step_seconds[i] += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  if (arena > 0) stream_.upload(arena_.get(), host_arena_, arena);
  move_outputs(outputs, false);
}

void CudaExecution::run(std::span<const void* const> inputs, std::span<void* const> outputs,
                        const std::function<void(size_t)>& host_step, std::span<double> step_seconds) {
  for (size_t i = 0; i < inputs_.size(); ++i) {
    if (inputs_[i].bytes() > 0) stream_.upload(inputs_[i].get(), inputs[i], inputs_[i].bytes());
  }
  for (Segment& s : segments_) {
    if (s.device) {
      run_device(s, step_seconds);
    } else {
      run_host(s, inputs, outputs, host_step, step_seconds);
    }
  }
  move_outputs(outputs, true);
  // What is delivered from the arena (an output that is a view) is read there.
  bool from_arena = std::any_of(program_->output_locations.begin(), program_->output_locations.end(),
                                [](const Location& l) { return l.kind == Kind::kArena; });
  if (from_arena && program_->workspace_offset > 0) {
    stream_.download(host_arena_, arena_.get(), static_cast<size_t>(program_->workspace_offset));
  }
  stream_.synchronize();
}

}  // namespace tenon
