// Session: what one thread needs to run a program: the arena, the resolved pointers. run() allocates nothing when the
// program is allocation_free(). One thread at a time per session; sessions of one program may run side by side.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "graph/op.hpp"
#include "plan/program.hpp"

namespace tenon {

class ProgramSession {
 public:
  ProgramSession(std::shared_ptr<const Program> program, std::shared_ptr<ThreadPool> pool, const OpTable& ops);
  ~ProgramSession();
  ProgramSession(const ProgramSession&) = delete;
  ProgramSession& operator=(const ProgramSession&) = delete;

  const Program& program() const noexcept { return *program_; }

  /// Runs once. `inputs` match program().inputs in type and shape, row-major. Where outputs[i] is a defined tensor of
  /// the right type and shape it is written; otherwise it is set to a new one. `step_seconds`, when given, has one
  /// entry a step and is added to.
  void run(std::span<const Datum> inputs, std::span<Datum> outputs, std::span<double> step_seconds = {});

  /// Bytes of the arena.
  int64_t arena_bytes() const noexcept { return program_->arena_bytes; }

 private:
  struct Patch {
    const void** slot;
    Location location;
  };
  void resolve();
  const void* address(const Location& l) const;
  void run_reference(const Step& step, std::span<const Datum> inputs, std::span<Datum> outputs);
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
  std::vector<Datum> data_;  // data-dependent values
};

}  // namespace tenon
