// The NVIDIA driver's interface as Tenon uses it: our own declarations of what the functions take (no header of the
// toolkit is needed to build), and a table of function pointers that is filled by dlopen, or by a test that fails any
// call it likes. Plain data; a filled table is immutable and safe from any thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tenon::cuda {

using Result = int;  // CUresult; 0 is success
using DevicePtr = unsigned long long;
struct ContextHandle;
struct StreamHandle;
struct EventHandle;
struct ModuleHandle;
struct FunctionHandle;
struct GraphHandle;
struct GraphExecHandle;

/// CUresult values that the code tells apart; the whole classification is in driver.cpp.
inline constexpr Result kSuccess = 0, kOutOfMemory = 2;

/// CUdevice_attribute.
enum class Attribute : int {
  kClockKhz = 13,
  kMultiprocessors = 16,
  kMemoryClockKhz = 36,
  kMemoryBusBits = 37,
  kL2Bytes = 38,
  kMajor = 75,
  kMinor = 76,
  kSharedPerMultiprocessor = 81,
  kSharedPerBlock = 97,  ///< the most that a kernel may ask for
};

/// CUfunction_attribute.
enum class FunctionAttribute : int {
  kStaticShared = 1,
  kLocalBytes = 3,
  kRegisters = 4,
  kDynamicShared = 8,
  kNonPortableCluster = 14
};

/// CUlaunchAttribute: an id and 64 bytes of value.
struct LaunchAttribute {
  enum Id : unsigned { kClusterDimension = 4, kProgrammaticSerialization = 6 };
  unsigned id = 0;
  char pad[4] = {};
  union {
    char bytes[64];
    unsigned cluster[3];
    int allowed;
  } value = {};
};

/// CUlaunchConfig.
struct LaunchConfig {
  unsigned grid[3], block[3];
  unsigned shared_bytes = 0;
  StreamHandle* stream = nullptr;
  LaunchAttribute* attributes = nullptr;
  unsigned attribute_count = 0;
};

/// CUtensorMap: 128 opaque bytes that a kernel takes by value.
struct alignas(64) TensorMap {
  uint64_t opaque[16] = {};
};

/// The functions of libcuda.so.1. Optional ones (the second macro) may be null with an older driver.
#define TENON_CUDA_DRIVER(REQUIRED, OPTIONAL) \
  REQUIRED(cuInit, (unsigned flags)) \
  REQUIRED(cuDriverGetVersion, (int* version)) \
  REQUIRED(cuGetErrorName, (Result error, const char** text)) \
  REQUIRED(cuGetErrorString, (Result error, const char** text)) \
  REQUIRED(cuDeviceGetCount, (int* count)) \
  REQUIRED(cuDeviceGet, (int* device, int ordinal)) \
  REQUIRED(cuDeviceGetName, (char* name, int size, int device)) \
  REQUIRED(cuDeviceGetAttribute, (int* value, int attribute, int device)) \
  REQUIRED(cuDeviceTotalMem_v2, (size_t * bytes, int device)) \
  REQUIRED(cuDevicePrimaryCtxRetain, (ContextHandle * *context, int device)) \
  REQUIRED(cuDevicePrimaryCtxRelease_v2, (int device)) \
  REQUIRED(cuCtxSetCurrent, (ContextHandle * context)) \
  REQUIRED(cuCtxSynchronize, ()) \
  REQUIRED(cuMemGetInfo_v2, (size_t * free, size_t * total)) \
  REQUIRED(cuMemAlloc_v2, (DevicePtr * address, size_t bytes)) \
  REQUIRED(cuMemFree_v2, (DevicePtr address)) \
  REQUIRED(cuMemAllocHost_v2, (void** address, size_t bytes)) \
  REQUIRED(cuMemFreeHost, (void* address)) \
  REQUIRED(cuMemcpyHtoDAsync_v2, (DevicePtr to, const void* from, size_t bytes, StreamHandle* stream)) \
  REQUIRED(cuMemcpyDtoHAsync_v2, (void* to, DevicePtr from, size_t bytes, StreamHandle* stream)) \
  REQUIRED(cuMemcpyDtoDAsync_v2, (DevicePtr to, DevicePtr from, size_t bytes, StreamHandle * stream)) \
  REQUIRED(cuMemsetD8Async, (DevicePtr to, unsigned char value, size_t bytes, StreamHandle* stream)) \
  REQUIRED(cuStreamCreate, (StreamHandle * *stream, unsigned flags)) \
  REQUIRED(cuStreamDestroy_v2, (StreamHandle * stream)) \
  REQUIRED(cuStreamSynchronize, (StreamHandle * stream)) \
  REQUIRED(cuStreamWaitEvent, (StreamHandle * stream, EventHandle * event, unsigned flags)) \
  REQUIRED(cuStreamBeginCapture_v2, (StreamHandle * stream, int mode)) \
  REQUIRED(cuStreamEndCapture, (StreamHandle * stream, GraphHandle * *graph)) \
  REQUIRED(cuEventCreate, (EventHandle * *event, unsigned flags)) \
  REQUIRED(cuEventDestroy_v2, (EventHandle * event)) \
  REQUIRED(cuEventRecord, (EventHandle * event, StreamHandle * stream)) \
  REQUIRED(cuEventSynchronize, (EventHandle * event)) \
  REQUIRED(cuEventElapsedTime, (float* milliseconds, EventHandle* from, EventHandle* to)) \
  REQUIRED(cuModuleLoadData, (ModuleHandle * *module, const void* image)) \
  REQUIRED(cuModuleUnload, (ModuleHandle * module)) \
  REQUIRED(cuModuleGetFunction, (FunctionHandle * *function, ModuleHandle * module, const char* name)) \
  REQUIRED(cuFuncGetAttribute, (int* value, int attribute, FunctionHandle* function)) \
  REQUIRED(cuFuncSetAttribute, (FunctionHandle * function, int attribute, int value)) \
  REQUIRED(cuLaunchKernel, \
           (FunctionHandle * function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, \
            unsigned shared, StreamHandle* stream, void** params, void** extra)) \
  REQUIRED(cuGraphInstantiateWithFlags, (GraphExecHandle * *exec, GraphHandle * graph, unsigned long long flags)) \
  REQUIRED(cuGraphLaunch, (GraphExecHandle * exec, StreamHandle * stream)) \
  REQUIRED(cuGraphDestroy, (GraphHandle * graph)) \
  REQUIRED(cuGraphExecDestroy, (GraphExecHandle * exec)) \
  OPTIONAL(cuLaunchKernelEx, (const LaunchConfig* config, FunctionHandle* function, void** params, void** extra)) \
  OPTIONAL(cuTensorMapEncodeTiled, (TensorMap * map, int type, uint32_t rank, void* address, const uint64_t* dims, \
                                    const uint64_t* strides, const uint32_t* box, const uint32_t* element_strides, \
                                    int interleave, int swizzle, int promotion, int fill)) \
  OPTIONAL(cuTensorMapEncodeIm2col, \
           (TensorMap * map, int type, uint32_t rank, void* address, const uint64_t* dims, const uint64_t* strides, \
            const int* lower, const int* upper, uint32_t channels, uint32_t pixels, const uint32_t* element_strides, \
            int interleave, int swizzle, int promotion, int fill))

struct DriverApi {
#define TENON_CUDA_MEMBER(name, parameters) Result(*name) parameters = nullptr;
  TENON_CUDA_DRIVER(TENON_CUDA_MEMBER, TENON_CUDA_MEMBER)
#undef TENON_CUDA_MEMBER
};

}  // namespace tenon::cuda
