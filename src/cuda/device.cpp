#include "cuda/device.hpp"

#include <cstring>

#include "base/error.hpp"

namespace tenon::cuda {

std::string DeviceInfo::arch() const {
  // From 9.0 on the instructions that matter (wgmma, tcgen05) belong to one architecture, not to its successors.
  return fmt::format("sm_{}{}", capability(), capability() == 90 || capability() == 100 ? "a" : "");
}

DeviceInfo typical_device(int capability) {
  struct Row {
    int capability, multiprocessors, shared_block, shared_sm;
    size_t l2;
  };
  static constexpr Row kRows[] = {{75, 40, 64, 64, 4},    {80, 108, 163, 164, 40}, {86, 84, 99, 100, 6},
                                  {89, 128, 99, 100, 72}, {90, 132, 227, 228, 50}, {100, 148, 227, 228, 126},
                                  {120, 170, 99, 100, 96}};
  for (const Row& row : kRows) {
    if (row.capability != capability) continue;
    DeviceInfo info;
    info.name = fmt::format("compute capability {}.{}", capability / 10, capability % 10);
    info.major = capability / 10;
    info.minor = capability % 10;
    info.multiprocessors = row.multiprocessors;
    info.l2 = row.l2 << 20;
    info.memory = size_t{16} << 30;
    info.shared_per_block = row.shared_block << 10;
    info.shared_per_multiprocessor = row.shared_sm << 10;
    return info;
  }
  fail(Code::kUnsupported, "No figures for compute capability {}.{}.", capability / 10, capability % 10);
}

// ---- Device

namespace {

void must(const Driver& driver, Result result, const char* call) {
  if (result != kSuccess) fail(Code::kUnavailable, "The NVIDIA driver refused: {}.", driver.describe(result, call));
}

DeviceInfo read_info(const Driver& driver, int ordinal) {
  const DriverApi& api = driver.api();
  int handle = 0;
  must(driver, api.cuDeviceGet(&handle, ordinal), "cuDeviceGet");
  auto get = [&](Attribute what) {
    int value = 0;
    must(driver, api.cuDeviceGetAttribute(&value, static_cast<int>(what), handle), "cuDeviceGetAttribute");
    return value;
  };
  DeviceInfo info;
  info.ordinal = ordinal;
  char name[256] = {};
  must(driver, api.cuDeviceGetName(name, sizeof name - 1, handle), "cuDeviceGetName");
  info.name = name;
  info.major = get(Attribute::kMajor);
  info.minor = get(Attribute::kMinor);
  info.multiprocessors = get(Attribute::kMultiprocessors);
  info.l2 = static_cast<size_t>(get(Attribute::kL2Bytes));
  info.shared_per_block = get(Attribute::kSharedPerBlock);
  info.shared_per_multiprocessor = get(Attribute::kSharedPerMultiprocessor);
  must(driver, api.cuDeviceTotalMem_v2(&info.memory, handle), "cuDeviceTotalMem");
  return info;
}

}  // namespace

std::vector<DeviceInfo> Device::list(const Driver& driver) {
  int count = 0;
  must(driver, driver.api().cuDeviceGetCount(&count), "cuDeviceGetCount");
  std::vector<DeviceInfo> devices;
  for (int i = 0; i < count; ++i) devices.push_back(read_info(driver, i));
  return devices;
}

std::shared_ptr<Device> Device::open(std::shared_ptr<const Driver> driver, int ordinal) {
  int count = 0;
  must(*driver, driver->api().cuDeviceGetCount(&count), "cuDeviceGetCount");
  if (ordinal < 0 || ordinal >= count) {
    std::string names;
    for (const DeviceInfo& info : list(*driver)) names += fmt::format(" cuda:{} is {}.", info.ordinal, info.name);
    fail(Code::kNotFound, "There is no device cuda:{}; the driver shows {}.{}", ordinal, count, names);
  }
  std::shared_ptr<Device> device(new Device());
  device->info_ = read_info(*driver, ordinal);
  must(*driver, driver->api().cuDeviceGet(&device->handle_, ordinal), "cuDeviceGet");
  ContextHandle* context = nullptr;
  must(*driver, driver->api().cuDevicePrimaryCtxRetain(&context, device->handle_), "cuDevicePrimaryCtxRetain");
  device->context_ = context;
  device->driver_ = std::move(driver);
  return device;
}

Device::~Device() {
  if (context_) api().cuDevicePrimaryCtxRelease_v2(handle_);
}

void Device::fail_lost() const {
  std::lock_guard lock(mutex_);
  fail(Code::kUnavailable,
       "The device cuda:{} ({}) is lost to this process since {}. Only a new process can use it again.", info_.ordinal,
       info_.name, reason_);
}

void Device::enter() const {
  if (lost()) fail_lost();
  check(api().cuCtxSetCurrent(context_), "cuCtxSetCurrent");
}

void Device::check(Result result, const char* call) const {
  if (result == kSuccess) return;
  std::string words = driver_->describe(result, call);
  if (severity(result) == Severity::kSticky) {
    {
      std::lock_guard lock(mutex_);
      if (!lost()) reason_ = words;
    }
    lost_.store(true, std::memory_order_release);
    fail_lost();
  }
  Code code = result == kOutOfMemory ? Code::kUnavailable : Code::kInternal;
  fail(code, "The NVIDIA driver refused on cuda:{}: {}.", info_.ordinal, words);
}

void Device::synchronize() const {
  enter();
  check(api().cuCtxSynchronize(), "cuCtxSynchronize");
}

std::pair<size_t, size_t> Device::memory() const {
  enter();
  size_t free = 0, total = 0;
  check(api().cuMemGetInfo_v2(&free, &total), "cuMemGetInfo");
  return {free, total};
}

// ---- Handles

namespace {

/// The context current, without a word if it cannot be: for destructors.
bool enter_quietly(const Device& device) noexcept {
  try {
    device.enter();
    return true;
  } catch (const Error&) {
    return false;  // lost: the driver reclaims what the process held
  }
}

}  // namespace

#define TENON_CUDA_RELEASE(Handle, call) \
  template <> \
  void Owned<Handle>::release(const Device& device, Handle handle) noexcept { \
    if (enter_quietly(device)) device.api().call(handle); \
  }
TENON_CUDA_RELEASE(DevicePtr, cuMemFree_v2)
TENON_CUDA_RELEASE(void*, cuMemFreeHost)
TENON_CUDA_RELEASE(EventHandle*, cuEventDestroy_v2)
TENON_CUDA_RELEASE(StreamHandle*, cuStreamDestroy_v2)
TENON_CUDA_RELEASE(ModuleHandle*, cuModuleUnload)
TENON_CUDA_RELEASE(GraphHandle*, cuGraphDestroy)
TENON_CUDA_RELEASE(GraphExecHandle*, cuGraphExecDestroy)
#undef TENON_CUDA_RELEASE

Buffer::Buffer(const DeviceRef& device, size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  device->enter();
  DevicePtr address = 0;
  Result result = device->api().cuMemAlloc_v2(&address, bytes);
  if (result == kOutOfMemory) {
    auto [free, total] = device->memory();
    fail(Code::kUnavailable, "cuda:{} is out of memory: {} MiB were asked for, {} of {} MiB are free.",
         device->info().ordinal, bytes >> 20, free >> 20, total >> 20);
  }
  device->check(result, "cuMemAlloc");
  memory_ = Owned<DevicePtr>(device, address);
}

PinnedBuffer::PinnedBuffer(const DeviceRef& device, size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  device->enter();
  void* address = nullptr;
  device->check(device->api().cuMemAllocHost_v2(&address, bytes), "cuMemAllocHost");
  memory_ = Owned<void*>(device, address);
}

Event::Event(const DeviceRef& device) {
  device->enter();
  EventHandle* event = nullptr;
  device->check(device->api().cuEventCreate(&event, 0), "cuEventCreate");
  handle_ = Owned<EventHandle*>(device, event);
}

void Event::synchronize() const {
  const Device& d = *handle_.device();
  d.enter();
  d.check(d.api().cuEventSynchronize(get()), "cuEventSynchronize");
}

float Event::since(const Event& begin) const {
  const Device& d = *handle_.device();
  d.enter();
  float ms = 0;
  d.check(d.api().cuEventElapsedTime(&ms, begin.get(), get()), "cuEventElapsedTime");
  return ms;
}

// ---- Stream

Stream::Stream(const DeviceRef& device) {
  constexpr unsigned kNonBlocking = 1;  // independent of the legacy default stream
  device->enter();
  StreamHandle* stream = nullptr;
  device->check(device->api().cuStreamCreate(&stream, kNonBlocking), "cuStreamCreate");
  handle_ = Owned<StreamHandle*>(device, stream);
}

// Every method: the context, then one call.
#define TENON_CUDA_ON_STREAM(call, ...) \
  const Device& d = *device(); \
  d.enter(); \
  d.check(d.api().call(__VA_ARGS__), #call)

void Stream::upload(DevicePtr to, const void* from, size_t bytes) const {
  TENON_CUDA_ON_STREAM(cuMemcpyHtoDAsync_v2, to, from, bytes, get());
}
void Stream::download(void* to, DevicePtr from, size_t bytes) const {
  TENON_CUDA_ON_STREAM(cuMemcpyDtoHAsync_v2, to, from, bytes, get());
}
void Stream::copy(DevicePtr to, DevicePtr from, size_t bytes) const {
  TENON_CUDA_ON_STREAM(cuMemcpyDtoDAsync_v2, to, from, bytes, get());
}
void Stream::fill(DevicePtr to, unsigned char value, size_t bytes) const {
  TENON_CUDA_ON_STREAM(cuMemsetD8Async, to, value, bytes, get());
}
void Stream::record(const Event& event) const { TENON_CUDA_ON_STREAM(cuEventRecord, event.get(), get()); }
void Stream::wait(const Event& event) const { TENON_CUDA_ON_STREAM(cuStreamWaitEvent, get(), event.get(), 0); }
void Stream::synchronize() const { TENON_CUDA_ON_STREAM(cuStreamSynchronize, get()); }
void Stream::launch(const Graph& graph) const { TENON_CUDA_ON_STREAM(cuGraphLaunch, graph.get(), get()); }
void Stream::begin_capture() const {
  constexpr int kThreadLocal = 1;  // other threads may allocate meanwhile
  TENON_CUDA_ON_STREAM(cuStreamBeginCapture_v2, get(), kThreadLocal);
}
#undef TENON_CUDA_ON_STREAM

Graph Stream::end_capture() const {
  const Device& d = *device();
  d.enter();
  GraphHandle* raw = nullptr;
  d.check(d.api().cuStreamEndCapture(get(), &raw), "cuStreamEndCapture");
  Owned<GraphHandle*> graph(device(), raw);
  GraphExecHandle* exec = nullptr;
  d.check(d.api().cuGraphInstantiateWithFlags(&exec, raw, 0), "cuGraphInstantiate");
  return Graph(Owned<GraphExecHandle*>(device(), exec));
}

void Stream::cancel_capture() const noexcept {
  if (!device() || !enter_quietly(*device())) return;
  GraphHandle* raw = nullptr;
  if (device()->api().cuStreamEndCapture(get(), &raw) == kSuccess && raw) device()->api().cuGraphDestroy(raw);
}

// ---- Kernels

Params::Params(const Params& other) { *this = other; }

Params& Params::operator=(const Params& other) {
  if (this == &other) return *this;
  bytes_ = other.bytes_;
  used_ = other.used_;
  count_ = other.count_;
  for (int i = 0; i < count_; ++i) {
    addresses_[i] = bytes_.data() + (static_cast<const std::byte*>(other.addresses_[i]) - other.bytes_.data());
  }
  return *this;
}

Params& Params::add_bytes(const void* bytes, size_t size, size_t align) {
  used_ = (used_ + align - 1) / align * align;
  TENON_CHECK(used_ + size <= kBytes && count_ < kCount);
  std::memcpy(bytes_.data() + used_, bytes, size);
  addresses_[count_++] = bytes_.data() + used_;
  used_ += size;
  return *this;
}

void Function::launch(const Stream& stream, const LaunchShape& shape, const Params& params) const {
  const DriverApi& api = device_->api();
  device_->enter();
  if (shape.cluster == 1 && !shape.programmatic) {
    device_->check(
        api.cuLaunchKernel(handle_, shape.grid[0], shape.grid[1], shape.grid[2], shape.block[0], shape.block[1],
                           shape.block[2], shape.shared_bytes, stream.get(), params.addresses(), nullptr),
        "cuLaunchKernel");
    return;
  }
  if (!api.cuLaunchKernelEx)
    fail(Code::kUnsupported, "This NVIDIA driver is too old for clusters (no cuLaunchKernelEx).");
  LaunchAttribute attributes[2];
  unsigned count = 0;
  if (shape.cluster > 1) {
    attributes[count].id = LaunchAttribute::kClusterDimension;
    attributes[count].value.cluster[0] = shape.cluster;
    attributes[count].value.cluster[1] = attributes[count].value.cluster[2] = 1;
    ++count;
  }
  if (shape.programmatic) {
    attributes[count].id = LaunchAttribute::kProgrammaticSerialization;
    attributes[count].value.allowed = 1;
    ++count;
  }
  LaunchConfig config{{shape.grid[0], shape.grid[1], shape.grid[2]},
                      {shape.block[0], shape.block[1], shape.block[2]},
                      shape.shared_bytes,
                      stream.get(),
                      attributes,
                      count};
  device_->check(api.cuLaunchKernelEx(&config, handle_, params.addresses(), nullptr), "cuLaunchKernelEx");
}

int Function::attribute(FunctionAttribute which) const {
  int value = 0;
  device_->enter();
  device_->check(device_->api().cuFuncGetAttribute(&value, static_cast<int>(which), handle_), "cuFuncGetAttribute");
  return value;
}

Module::Module(const DeviceRef& device, std::span<const std::byte> cubin) {
  device->enter();
  ModuleHandle* module = nullptr;
  device->check(device->api().cuModuleLoadData(&module, cubin.data()), "cuModuleLoadData");
  handle_ = Owned<ModuleHandle*>(device, module);
}

Function Module::function(const char* name, unsigned shared_bytes, unsigned cluster) const {
  const Device& d = *handle_.device();
  d.enter();
  Function f;
  d.check(d.api().cuModuleGetFunction(&f.handle_, handle_.get(), name), "cuModuleGetFunction");
  f.device_ = handle_.device();
  constexpr unsigned kAlwaysAllowed = 48 << 10;
  if (shared_bytes > kAlwaysAllowed) {
    d.check(d.api().cuFuncSetAttribute(f.handle_, static_cast<int>(FunctionAttribute::kDynamicShared),
                                       static_cast<int>(shared_bytes)),
            "cuFuncSetAttribute");
  }
  constexpr unsigned kPortableCluster = 8;
  if (cluster > kPortableCluster) {
    d.check(d.api().cuFuncSetAttribute(f.handle_, static_cast<int>(FunctionAttribute::kNonPortableCluster), 1),
            "cuFuncSetAttribute");
  }
  return f;
}

}  // namespace tenon::cuda
