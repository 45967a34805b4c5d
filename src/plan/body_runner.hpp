// BodyRunner: runs a program on memory that the caller brings, any number of times; immutable. What a session is to an
// engine, made for the inside of a kernel: it owns nothing and run() allocates nothing unless a step is a reference.
#pragma once

#include <memory>
#include <vector>

#include "plan/program.hpp"

namespace tenon {

class BodyRunner {
 public:
  /// The program's values are all static (no data-dependent sizes).
  explicit BodyRunner(std::shared_ptr<const Program> program);

  /// Bytes of 64-byte aligned memory that open() and run() need.
  int64_t workspace() const noexcept { return arena_at_ + program_->arena_bytes; }
  /// Prepares `memory`; it stays prepared until somebody else writes there.
  void open(std::byte* memory) const;
  /// Runs once. One pointer each input and output; a null output is not delivered where that would be a copy.
  void run(std::byte* memory, const void* const* in, void* const* out, ThreadPool& pool) const;

  const Program& program() const noexcept { return *program_; }
  /// The output is just this input handed on; -1: it is not.
  int passed_on(size_t output) const;

 private:
  struct Slot {
    size_t at;  ///< in the table of pointers
    Location location;
  };
  void run_reference(const Step& step, const void* const* in, void* const* out) const;
  void deliver(const std::byte* arena, const void* const* in, void* const* out) const;

  std::shared_ptr<const Program> program_;
  std::vector<Slot> fixed_, inputs_, outputs_;
  std::vector<size_t> in_at_, out_at_;  // by step: where its pointers begin
  std::vector<int64_t> layers_;         // by step: how many steps are inside it, all the way down
  size_t slots_ = 0;
  int64_t arena_at_ = 0;
};

}  // namespace tenon
