// Runs tests in processes of their own: a crash or an endless loop is one failing test, and the rest goes on.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace tenon::conformance {

struct Outcome {
  bool passed = false;
  std::string message;  ///< what went wrong, one line
  double seconds = 0;
};

/// Calls work(i) for each i below `count`, in up to `jobs` processes at a time, and returns what each answered. One
/// that kills its process or takes longer than `limit_seconds` fails with a message that says so. No threads may run
/// yet.
std::vector<Outcome> run_isolated(size_t count, int jobs, int limit_seconds,
                                  const std::function<Outcome(size_t)>& work);

}  // namespace tenon::conformance
