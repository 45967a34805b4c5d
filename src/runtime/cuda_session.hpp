// A program whose steps run on an NVIDIA GPU: device memory for the arena, the inputs and the outputs, the steps as
// CUDA graphs. Steps without a kernel of the GPU run on the host in between, with the arena copied there and back. One
// thread at a time, as the ProgramSession that owns it.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "plan/program.hpp"
#include "tactic/cuda.hpp"

namespace tenon {

class CudaExecution {
 public:
  /// Whether the program has steps for the GPU.
  static bool wanted(const Program& program);

  /// `host_arena`: the session's own, which host steps work in.
  CudaExecution(std::shared_ptr<const Program> program, std::byte* host_arena);

  /// Runs all steps. `inputs` and `outputs`: host addresses by position, null where there is none (data-dependent).
  /// `host_step` runs one step on the host. `step_seconds`, when given, has an entry a step and is added to; the steps
  /// are then launched one by one.
  void run(std::span<const void* const> inputs, std::span<void* const> outputs,
           const std::function<void(size_t)>& host_step, std::span<double> step_seconds);

 private:
  struct Segment {
    size_t first, last;  // steps [first, last)
    bool device;
    cuda::Graph graph;  // captured at the first run
  };
  struct Bound {
    const CudaKernel* kernel = nullptr;
    std::unique_ptr<Kernel> own;  // a copy's kernel, made here
    std::vector<cuda::DevicePtr> in, out;
  };
  void bind_step(size_t index);
  void split();
  cuda::DevicePtr address(const Location& l);
  void launch(size_t step) const;
  void run_device(Segment& segment, std::span<double> step_seconds);
  void run_host(const Segment& segment, std::span<const void* const> inputs, std::span<void* const> outputs,
                const std::function<void(size_t)>& host_step, std::span<double> step_seconds);
  void move_outputs(std::span<void* const> outputs, bool to_host) const;

  std::shared_ptr<const Program> program_;
  CudaRuntime& runtime_;
  cuda::Stream stream_;
  std::byte* host_arena_;
  cuda::Buffer arena_;
  std::vector<cuda::Buffer> inputs_, outputs_;  // by position; empty where nothing on the device reads or writes them
  std::vector<std::shared_ptr<const cuda::Buffer>> constants_;
  std::vector<Bound> steps_;
  std::vector<Segment> segments_;
};

}  // namespace tenon
