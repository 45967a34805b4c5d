// A CUDA device and what lives on it: move-only RAII over the driver's handles. Everything made from a Device keeps it
// alive. Objects belong to one thread at a time; a Device is shared by all and thread-safe.
//
// Errors: a recoverable one (out of memory, a bad argument) throws and changes nothing. A sticky one (illegal address,
// assert, ...) marks the Device lost: it, and every later call on anything of the Device, throws unavailable at once,
// without asking the driver. Destructors never throw.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cuda/driver.hpp"

namespace tenon::cuda {

/// What kernels are chosen by.
struct DeviceInfo {
  int ordinal = 0;
  std::string name;
  int major = 0, minor = 0;
  int multiprocessors = 0;
  size_t memory = 0, l2 = 0;
  int shared_per_block = 48 << 10, shared_per_multiprocessor = 48 << 10;

  int capability() const noexcept { return major * 10 + minor; }
  /// NVRTC's name of the target: "sm_86", and "sm_90a" where the instructions of that very architecture are wanted.
  std::string arch() const;
};

/// What a device of that architecture has, without the device: for compiling and short-listing elsewhere.
DeviceInfo typical_device(int capability);

class Device {
 public:
  /// The devices that the driver shows.
  static std::vector<DeviceInfo> list(const Driver& driver);
  /// Opens device `ordinal` with its primary context. Throws not-found with the devices there are.
  static std::shared_ptr<Device> open(std::shared_ptr<const Driver> driver, int ordinal);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const DeviceInfo& info() const noexcept { return info_; }
  const Driver& driver() const noexcept { return *driver_; }
  const DriverApi& api() const noexcept { return driver_->api(); }
  bool lost() const noexcept { return lost_.load(std::memory_order_acquire); }

  /// Makes this device's context the calling thread's. Throws when the device is lost.
  void enter() const;
  /// Throws if `result` is an error; see above. `call` names the function.
  void check(Result result, const char* call) const;
  /// Waits for everything on the device.
  void synchronize() const;
  /// Free and total bytes of device memory.
  std::pair<size_t, size_t> memory() const;

 private:
  Device() = default;
  [[noreturn]] void fail_lost() const;

  std::shared_ptr<const Driver> driver_;
  DeviceInfo info_;
  int handle_ = 0;
  ContextHandle* context_ = nullptr;
  mutable std::atomic<bool> lost_{false};
  mutable std::mutex mutex_;
  mutable std::string reason_;  // why it was lost
};

using DeviceRef = std::shared_ptr<const Device>;

/// A handle of the driver with the function that ends it.
template <class H>
class Owned {
 public:
  Owned() = default;
  Owned(DeviceRef device, H handle) : device_(std::move(device)), handle_(handle) {}
  Owned(Owned&& other) noexcept : device_(std::move(other.device_)), handle_(std::exchange(other.handle_, H{})) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Owned() {
    if (handle_) release(*device_, handle_);
  }
  H get() const noexcept { return handle_; }
  explicit operator bool() const noexcept { return handle_ != H{}; }
  const DeviceRef& device() const noexcept { return device_; }

 private:
  static void release(const Device& device, H handle) noexcept;
  DeviceRef device_;
  H handle_{};
};

/// Device memory.
class Buffer {
 public:
  Buffer() = default;
  /// `bytes` of device memory (none for 0). Out of memory throws unavailable with the numbers.
  Buffer(const DeviceRef& device, size_t bytes);
  DevicePtr get() const noexcept { return memory_.get(); }
  size_t bytes() const noexcept { return bytes_; }

 private:
  Owned<DevicePtr> memory_;
  size_t bytes_ = 0;
};

/// Host memory that copies to and from the device run at full speed with.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  PinnedBuffer(const DeviceRef& device, size_t bytes);
  std::byte* data() const noexcept { return static_cast<std::byte*>(memory_.get()); }
  size_t bytes() const noexcept { return bytes_; }

 private:
  Owned<void*> memory_;
  size_t bytes_ = 0;
};

class Event {
 public:
  Event() = default;
  explicit Event(const DeviceRef& device);
  EventHandle* get() const noexcept { return handle_.get(); }
  void synchronize() const;
  /// Milliseconds from `begin` to this event; both have happened.
  float since(const Event& begin) const;

 private:
  Owned<EventHandle*> handle_;
};

/// Kernels that were captured once and are launched as a whole.
class Graph {
 public:
  Graph() = default;
  explicit operator bool() const noexcept { return static_cast<bool>(exec_); }
  GraphExecHandle* get() const noexcept { return exec_.get(); }

 private:
  friend class Stream;
  explicit Graph(Owned<GraphExecHandle*> exec) : exec_(std::move(exec)) {}
  Owned<GraphExecHandle*> exec_;
};

class Stream {
 public:
  Stream() = default;
  explicit Stream(const DeviceRef& device);
  StreamHandle* get() const noexcept { return handle_.get(); }
  const DeviceRef& device() const noexcept { return handle_.device(); }

  void upload(DevicePtr to, const void* from, size_t bytes) const;
  void download(void* to, DevicePtr from, size_t bytes) const;
  void copy(DevicePtr to, DevicePtr from, size_t bytes) const;
  void fill(DevicePtr to, unsigned char value, size_t bytes) const;
  void record(const Event& event) const;
  void wait(const Event& event) const;
  void synchronize() const;
  void launch(const Graph& graph) const;

  /// What is put on this stream between the two is recorded, not run. A capture that is not ended (an exception on the
  /// way) is ended and dropped by cancel_capture().
  void begin_capture() const;
  Graph end_capture() const;
  void cancel_capture() const noexcept;

 private:
  Owned<StreamHandle*> handle_;
};

/// How a kernel is launched.
struct LaunchShape {
  std::array<unsigned, 3> grid = {1, 1, 1}, block = {1, 1, 1};
  unsigned shared_bytes = 0;
  unsigned cluster = 1;       ///< blocks along x in a cluster
  bool programmatic = false;  ///< may begin while its predecessor ends; the kernel itself waits where it must
};

/// A kernel's parameters, in order. Addresses stay valid while the object lives.
class Params {
 public:
  static constexpr size_t kBytes = 1024;
  static constexpr int kCount = 32;
  template <class T>
  Params& add(const T& value) {
    return add_bytes(&value, sizeof(T), alignof(T));
  }
  void** addresses() const noexcept { return const_cast<void**>(addresses_.data()); }
  Params() = default;
  Params(const Params& other);
  Params& operator=(const Params& other);

 private:
  Params& add_bytes(const void* bytes, size_t size, size_t align);
  alignas(64) std::array<std::byte, kBytes> bytes_;
  std::array<void*, kCount> addresses_{};
  size_t used_ = 0;
  int count_ = 0;
};

class Function {
 public:
  Function() = default;
  explicit operator bool() const noexcept { return handle_ != nullptr; }
  void launch(const Stream& stream, const LaunchShape& shape, const Params& params) const;
  int registers() const { return attribute(FunctionAttribute::kRegisters); }
  int local_bytes() const { return attribute(FunctionAttribute::kLocalBytes); }

 private:
  friend class Module;
  int attribute(FunctionAttribute which) const;
  DeviceRef device_;
  FunctionHandle* handle_ = nullptr;
};

/// A loaded cubin. Outlives the Functions that were taken from it.
class Module {
 public:
  Module() = default;
  Module(const DeviceRef& device, std::span<const std::byte> cubin);
  /// `shared_bytes` of dynamic shared memory and clusters of `cluster` are allowed for.
  Function function(const char* name, unsigned shared_bytes = 0, unsigned cluster = 1) const;

 private:
  Owned<ModuleHandle*> handle_;
};

}  // namespace tenon::cuda
