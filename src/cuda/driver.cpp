#include "cuda/driver.hpp"

#include <mutex>

#include "base/error.hpp"
#include "cuda/library.hpp"

namespace tenon::cuda {
namespace {

template <class F>
bool bind(const Library& library, const char* name, F& to) {
  to = reinterpret_cast<F>(library.symbol(name));
  return to != nullptr;
}

std::shared_ptr<const Driver> load() {
  Library library = find_library({"libcuda.so.1", "libcuda.so"}, "TENON_CUDA_DRIVER");
  if (!library.handle) {
    fail(Code::kUnavailable,
         "There is no NVIDIA driver here, so no CUDA device can be used: looked for {}. Install the driver of the GPU, "
         "or "
         "use --device cpu.",
         library.looked_for());
  }
  DriverApi api;
  const char* missing = nullptr;
#define TENON_CUDA_REQUIRE(name, parameters) \
  if (!bind(library, #name, api.name)) missing = #name;
#define TENON_CUDA_OPTIONAL(name, parameters) bind(library, #name, api.name);
  TENON_CUDA_DRIVER(TENON_CUDA_REQUIRE, TENON_CUDA_OPTIONAL)
#undef TENON_CUDA_REQUIRE
#undef TENON_CUDA_OPTIONAL
  if (missing) {
    fail(Code::kUnavailable,
         "The NVIDIA driver {} is too old: it has no {}. Tenon needs a driver for CUDA 12 or newer.", library.path,
         missing);
  }
  auto driver = std::make_shared<const Driver>(api, library.path);
  if (Result result = api.cuInit(0); result != kSuccess) {
    fail(Code::kUnavailable, "The NVIDIA driver {} does not start: {}. Is a GPU visible (nvidia-smi)?", library.path,
         driver->describe(result, "cuInit"));
  }
  return driver;
}

}  // namespace

std::shared_ptr<const Driver> Driver::system() {
  static std::mutex mutex;
  static std::shared_ptr<const Driver> driver;
  std::lock_guard lock(mutex);
  if (!driver) driver = load();
  return driver;
}

int Driver::version() const {
  int version = 0;
  return api_.cuDriverGetVersion(&version) == kSuccess ? version : 0;
}

std::string Driver::describe(Result result, const char* call) const {
  const char* name = nullptr;
  const char* text = nullptr;
  if (api_.cuGetErrorName(result, &name) != kSuccess || !name) name = "an unnamed error";
  if (api_.cuGetErrorString(result, &text) != kSuccess || !text) text = "no description";
  return fmt::format("{}: {} ({}, {})", call, text, name, result);
}

Severity severity(Result result) noexcept {
  switch (result) {
    case 4:   // deinitialised
    case 46:  // device unavailable
    case 214:
    case 220:
    case 226:  // memory or link failed (ECC, NVLink, contained)
    case 700:  // illegal address
    case 702:  // the watchdog ended a kernel
    case 709:
    case 710:  // context destroyed, device-side assert
    case 714:
    case 715:
    case 716:
    case 717:
    case 718:
    case 719:  // hardware exceptions of a kernel
    case 721:
    case 722:                            // tensor memory, external device
    case 999: return Severity::kSticky;  // unknown: the driver's word for what it cannot place
    default: return Severity::kRecoverable;
  }
}

}  // namespace tenon::cuda
