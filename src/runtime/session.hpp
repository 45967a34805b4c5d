// Session: what one thread needs to run a program: the arena, the resolved pointers. run() allocates nothing when the
// program is allocation_free(). One thread at a time per session; sessions of one program may run side by side.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "graph/op.hpp"
#include "plan/program.hpp"

namespace tenon {

class BodyPrograms;
class CudaExecution;

class ProgramSession {
 public:
  ProgramSession(std::shared_ptr<const Program> program, std::shared_ptr<ThreadPool> pool, const OpTable& ops);
  ~ProgramSession();
  ProgramSession(const ProgramSession&) = delete;
  ProgramSession& operator=(const ProgramSession&) = delete;

  const Program& program() const noexcept { return *program_; }

  /// Runs once. `inputs` match program().inputs in type and shape, row-major. Where outputs[i] is a defined tensor of
  /// the right type and shape it is written; otherwise it is set to a new one. `step_seconds`, when given, has one
  /// entry for each of all_steps() and is added to; the time of control flow includes that of the steps inside.
  void run(std::span<const Datum> inputs, std::span<Datum> outputs, std::span<double> step_seconds = {});

  /// As run, calling `after` behind each step that a node of the program's graph made, with a row-major copy of the
  /// node's outputs (undefined tensors for those that are not static). For comparing layer by layer.
  using StepObserver = std::function<void(const Step& step, std::span<const Tensor> outputs)>;
  void run_observed(std::span<const Datum> inputs, std::span<Datum> outputs, const StepObserver& after);

  /// How many bodies of control flow were planned while it ran (see runtime/bodies.hpp).
  int bodies_planned() const noexcept;
  /// Bytes of the arena.
  int64_t arena_bytes() const noexcept { return program_->arena_bytes; }

 private:
  struct Patch {
    const void** slot;
    Location location;
  };
  void resolve();
  void bind(std::span<const Datum> inputs, std::span<Datum> outputs);
  void run_timed(std::span<const Datum> inputs, std::span<Datum> outputs, std::span<double> seconds);
  void run_step(size_t index, std::span<const Datum> inputs, std::span<Datum> outputs);
  void run_on_device(std::span<const Datum> inputs, std::span<Datum> outputs, std::span<double> seconds);
  Tensor read_back(const Step& step, size_t output, std::span<Datum> outputs) const;
  const void* address(const Location& l) const;
  void run_reference(const Step& step, std::span<const Datum> inputs, std::span<Datum> outputs);
  std::vector<Datum> run_flow(const Node& node, std::span<const Datum* const> inputs);
  void prepare_outputs(std::span<const Datum> inputs, std::span<Datum> outputs);
  void deliver(std::span<const Datum> inputs, std::span<Datum> outputs);
  Datum datum_at(const Location& l, const Type& type, std::span<const Datum> inputs, std::span<Datum> outputs) const;

  std::shared_ptr<const Program> program_;
  std::shared_ptr<ThreadPool> pool_;
  const OpTable& ops_;
  Tensor arena_;
  std::vector<std::vector<const void*>> in_;
  std::vector<std::vector<void*>> out_;
  std::vector<Patch> input_patches_, output_patches_;
  std::vector<Datum> data_;              // data-dependent values
  std::unique_ptr<CudaExecution> cuda_;  // when the program has steps for a GPU
  std::vector<const void*> input_addresses_;
  std::vector<void*> output_addresses_;
  size_t layer_count_ = 0;
  std::unique_ptr<BodyPrograms> bodies_;  // made when a step needs it
};

}  // namespace tenon
