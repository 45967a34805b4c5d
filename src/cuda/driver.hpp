// The driver, loaded, and what its errors mean. A Driver is immutable and shared by everything that was made with it;
// thread-safe.
#pragma once

#include <memory>
#include <string>

#include "cuda/driver_api.hpp"

namespace tenon::cuda {

class Driver {
 public:
  /// The driver of this machine (libcuda.so.1), initialised, loaded once a process. Throws unavailable with what was
  /// looked for when there is none, or with the driver's words when it does not start.
  static std::shared_ptr<const Driver> system();
  /// A driver behind a table of the caller's: what tests use.
  explicit Driver(const DriverApi& api, std::string path = "a table of functions")
      : api_(api), path_(std::move(path)) {}

  const DriverApi& api() const noexcept { return api_; }
  const std::string& path() const noexcept { return path_; }
  /// 13000 for CUDA 13.0.
  int version() const;
  /// "cuMemAlloc_v2: out of memory (CUDA_ERROR_OUT_OF_MEMORY)".
  std::string describe(Result result, const char* call) const;

 private:
  DriverApi api_;
  std::string path_;
};

enum class Severity {
  kRecoverable,  ///< the call had no effect; the context is as good as before (out of memory, a bad argument)
  kSticky,       ///< the context is lost: every later call in this process fails
};
Severity severity(Result result) noexcept;

}  // namespace tenon::cuda
