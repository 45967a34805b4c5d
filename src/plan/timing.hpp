// Timing one tactic on one problem, and the key under which a timing is remembered. Internal to plan.
#pragma once

#include <string>

#include "base/thread_pool.hpp"
#include "tactic/tactic.hpp"

namespace tenon {

/// Runs tactics on memory of its own. Inputs are small numbers, not zeros: some kernels are faster on zeros.
class TacticTimer {
 public:
  explicit TacticTimer(ThreadPool& pool) : pool_(pool) {}
  /// Seconds of the fastest of several runs, after a warm-up; stops early where a run takes long.
  double seconds(const Tactic& tactic, const Problem& problem, int repetitions);

 private:
  ThreadPool& pool_;
  std::vector<Tensor> buffers_;  // reused from problem to problem
  std::byte* buffer(size_t index, int64_t bytes);
};

/// One line of text with everything that the time of a problem depends on, this machine's ISA and threads included.
std::string problem_key(const Node& node, const Problem& problem);

}  // namespace tenon
