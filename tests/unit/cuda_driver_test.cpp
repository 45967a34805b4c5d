// The driver's objects over a table of functions that counts what lives and fails the call that a test wants: no call
// that fails, whichever it is, may leak, crash or be passed over; sticky errors end everything of the device at once.
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <set>

#include "base/error.hpp"
#include "cuda/kernels.hpp"
#include "cuda/library.hpp"

namespace tenon::cuda {
namespace {

// What the fake driver knows. Tests run one after another on one thread.
struct Fake {
  int calls = 0;     // that can fail
  int fail_at = -1;  // the call that fails
  Result failure = 999;
  std::set<uintptr_t> live;
  uintptr_t next = 0x1000;
  int contexts = 0;
  bool capturing = false;
  int launches = 0, released_twice = 0, clusters = 0, programmatic = 0;
};
Fake fake;

Result step() { return ++fake.calls == fake.fail_at ? fake.failure : kSuccess; }

template <class H>
Result create(H* out) {
  if (Result r = step(); r != kSuccess) return r;
  fake.live.insert(fake.next);
  *out = (H)fake.next;  // a pointer or a number
  fake.next += 0x100;
  return kSuccess;
}
template <class H>
Result destroy(H handle) {
  if (fake.live.erase((uintptr_t)handle) == 0) ++fake.released_twice;
  return kSuccess;
}

DriverApi table() {
  DriverApi api;
  api.cuInit = [](unsigned) { return step(); };
  api.cuDriverGetVersion = [](int* v) {
    *v = 13000;
    return kSuccess;
  };
  api.cuGetErrorName = [](Result, const char** text) {
    *text = "FAKE";
    return kSuccess;
  };
  api.cuGetErrorString = [](Result, const char** text) {
    *text = "a fake error";
    return kSuccess;
  };
  api.cuDeviceGetCount = [](int* n) {
    *n = 2;
    return step();
  };
  api.cuDeviceGet = [](int* d, int i) {
    *d = i;
    return step();
  };
  api.cuDeviceGetName = [](char* name, int, int) {
    std::strcpy(name, "Fake GPU");
    return step();
  };
  api.cuDeviceGetAttribute = [](int* v, int what, int) {
    *v = what == static_cast<int>(Attribute::kMajor) ? 9 : what == static_cast<int>(Attribute::kMinor) ? 0 : 100;
    return step();
  };
  api.cuDeviceTotalMem_v2 = [](size_t* n, int) {
    *n = size_t{80} << 30;
    return step();
  };
  api.cuDevicePrimaryCtxRetain = [](ContextHandle** c, int) {
    Result r = step();
    if (r == kSuccess) ++fake.contexts, *c = reinterpret_cast<ContextHandle*>(8);
    return r;
  };
  api.cuDevicePrimaryCtxRelease_v2 = [](int) {
    --fake.contexts;
    return kSuccess;
  };
  api.cuCtxSetCurrent = [](ContextHandle*) { return step(); };
  api.cuCtxSynchronize = [] { return step(); };
  api.cuMemGetInfo_v2 = [](size_t* f, size_t* t) {
    *f = 1 << 20, *t = 80 << 20;
    return step();
  };
  api.cuMemAlloc_v2 = [](DevicePtr* p, size_t) { return create(p); };
  api.cuMemFree_v2 = [](DevicePtr p) { return destroy(p); };
  api.cuMemAllocHost_v2 = [](void** p, size_t) { return create(p); };
  api.cuMemFreeHost = [](void* p) { return destroy(p); };
  api.cuMemcpyHtoDAsync_v2 = [](DevicePtr, const void*, size_t, StreamHandle*) { return step(); };
  api.cuMemcpyDtoHAsync_v2 = [](void*, DevicePtr, size_t, StreamHandle*) { return step(); };
  api.cuMemcpyDtoDAsync_v2 = [](DevicePtr, DevicePtr, size_t, StreamHandle*) { return step(); };
  api.cuMemsetD8Async = [](DevicePtr, unsigned char, size_t, StreamHandle*) { return step(); };
  api.cuStreamCreate = [](StreamHandle** s, unsigned) { return create(s); };
  api.cuStreamDestroy_v2 = [](StreamHandle* s) { return destroy(s); };
  api.cuStreamSynchronize = [](StreamHandle*) { return step(); };
  api.cuStreamWaitEvent = [](StreamHandle*, EventHandle*, unsigned) { return step(); };
  api.cuStreamBeginCapture_v2 = [](StreamHandle*, int) {
    Result r = step();
    if (r == kSuccess) fake.capturing = true;
    return r;
  };
  api.cuStreamEndCapture = [](StreamHandle*, GraphHandle** g) {
    fake.capturing = false;
    return create(g);
  };
  api.cuEventCreate = [](EventHandle** e, unsigned) { return create(e); };
  api.cuEventDestroy_v2 = [](EventHandle* e) { return destroy(e); };
  api.cuEventRecord = [](EventHandle*, StreamHandle*) { return step(); };
  api.cuEventSynchronize = [](EventHandle*) { return step(); };
  api.cuEventElapsedTime = [](float* ms, EventHandle*, EventHandle*) {
    *ms = 1.5f;
    return step();
  };
  api.cuModuleLoadData = [](ModuleHandle** m, const void*) { return create(m); };
  api.cuModuleUnload = [](ModuleHandle* m) { return destroy(m); };
  api.cuModuleGetFunction = [](FunctionHandle** f, ModuleHandle*, const char*) {
    *f = reinterpret_cast<FunctionHandle*>(16);
    return step();
  };
  api.cuFuncGetAttribute = [](int* v, int, FunctionHandle*) {
    *v = 32;
    return step();
  };
  api.cuFuncSetAttribute = [](FunctionHandle*, int, int) { return step(); };
  api.cuLaunchKernel = [](FunctionHandle*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                          StreamHandle*, void**, void**) {
    ++fake.launches;
    return step();
  };
  api.cuLaunchKernelEx = [](const LaunchConfig* c, FunctionHandle*, void**, void**) {
    ++fake.launches;
    for (unsigned i = 0; i < c->attribute_count; ++i) {
      if (c->attributes[i].id == LaunchAttribute::kClusterDimension)
        fake.clusters = static_cast<int>(c->attributes[i].value.cluster[0]);
      if (c->attributes[i].id == LaunchAttribute::kProgrammaticSerialization)
        fake.programmatic = c->attributes[i].value.allowed;
    }
    return step();
  };
  api.cuGraphInstantiateWithFlags = [](GraphExecHandle** e, GraphHandle*, unsigned long long) { return create(e); };
  api.cuGraphLaunch = [](GraphExecHandle*, StreamHandle*) { return step(); };
  api.cuGraphDestroy = [](GraphHandle* g) { return destroy(g); };
  api.cuGraphExecDestroy = [](GraphExecHandle* g) { return destroy(g); };
  return api;
}

std::shared_ptr<Device> open_fake() { return Device::open(std::make_shared<Driver>(table()), 0); }

// What a session does: everything once.
void exercise() {
  DeviceRef device = open_fake();
  Stream stream(device), second(device);
  Buffer buffer(device, 4096);
  PinnedBuffer pinned(device, 4096);
  Event begin(device), end(device);
  std::byte image[4] = {};
  Module module(device, image);
  Function function = module.function("kernel", 100 << 10, 16);
  stream.upload(buffer.get(), pinned.data(), 4096);
  stream.fill(buffer.get(), 0, 4096);
  stream.begin_capture();
  Graph graph;
  try {
    int x = 1;
    Params params;
    params.add(buffer.get()).add(x);
    function.launch(stream, {}, params);
    LaunchShape shape;
    shape.cluster = 4, shape.programmatic = true;
    function.launch(stream, shape, params);
    graph = stream.end_capture();
  } catch (...) {
    stream.cancel_capture();
    throw;
  }
  stream.record(begin);
  stream.launch(graph);
  stream.record(end);
  second.wait(end);
  stream.download(pinned.data(), buffer.get(), 4096);
  stream.synchronize();
  end.synchronize();
  EXPECT_EQ(end.since(begin), 1.5f);
  EXPECT_EQ(function.registers(), 32);
  device->synchronize();
}

TEST(CudaDriver, EveryCallMayFail) {
  fake = Fake();
  exercise();
  const int calls = fake.calls;
  EXPECT_TRUE(fake.live.empty());
  EXPECT_EQ(fake.contexts, 0);
  EXPECT_EQ(fake.launches, 2);
  EXPECT_EQ(fake.clusters, 4);
  EXPECT_EQ(fake.programmatic, 1);
  EXPECT_GT(calls, 50);
  for (Result failure : {1, kOutOfMemory, 700}) {
    bool sticky = severity(failure) == Severity::kSticky;
    for (int i = 1; i <= calls; ++i) {
      fake = Fake();
      fake.fail_at = i;
      fake.failure = failure;
      try {
        exercise();
        // Only a call inside a destructor may fail unseen.
        EXPECT_GT(i, calls - 40) << "call " << i << " failed with " << failure << " and nobody noticed";
      } catch (const Error& e) {
        std::string words = e.what();
        EXPECT_TRUE(words.find("a fake error") != words.npos || words.find("out of memory") != words.npos) << words;
      } catch (...) {
        ADD_FAILURE() << "not an Error";
      }
      EXPECT_EQ(fake.released_twice, 0) << i;
      EXPECT_EQ(fake.contexts, 0) << i;
      EXPECT_FALSE(fake.capturing && !sticky) << i;
      if (!sticky) {
        // One handle may stay behind where making its context current failed; else none.
        EXPECT_LE(fake.live.size(), 1u) << i;
      }
    }
  }
}

TEST(CudaDriver, OutOfMemoryHasNumbersAndTheDeviceLivesOn) {
  fake = Fake();
  DeviceRef device = open_fake();
  fake.fail_at = fake.calls + 2;
  fake.failure = kOutOfMemory;
  try {
    Buffer buffer(device, size_t{5} << 20);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kUnavailable);
    EXPECT_STREQ(e.what(), "cuda:0 is out of memory: 5 MiB were asked for, 1 of 80 MiB are free.");
  }
  EXPECT_FALSE(device->lost());
  EXPECT_NE(Buffer(device, 16).get(), 0u);
}

TEST(CudaDriver, AStickyErrorEndsTheDevice) {
  fake = Fake();
  DeviceRef device = open_fake();
  Stream one(device), two(device);
  Buffer buffer(device, 16);
  fake.fail_at = fake.calls + 2;
  fake.failure = 700;
  EXPECT_THROW(one.synchronize(), Error);
  EXPECT_TRUE(device->lost());
  const int calls = fake.calls;
  try {
    two.synchronize();
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kUnavailable);
    EXPECT_NE(std::string(e.what()).find("cuStreamSynchronize"), std::string::npos) << e.what();
  }
  EXPECT_EQ(fake.calls, calls) << "a lost device is not asked again";
}

TEST(CudaDriver, DevicesAreNamed) {
  fake = Fake();
  auto driver = std::make_shared<Driver>(table());
  EXPECT_EQ(Device::list(*driver).size(), 2u);
  try {
    Device::open(driver, 7);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kNotFound);
    EXPECT_NE(std::string(e.what()).find("cuda:1 is Fake GPU"), std::string::npos) << e.what();
  }
  EXPECT_EQ(Device::list(*driver)[0].arch(), "sm_90a");
}

TEST(CudaDriver, AbsentLibrariesSayWhereTheyWereLookedFor) {
  Library library = find_library({"libtenon-no-such-thing.so.1"}, nullptr);
  EXPECT_EQ(library.handle, nullptr);
  EXPECT_NE(library.looked_for().find("libtenon-no-such-thing.so.1"), std::string::npos);
}

TEST(CudaDriver, ParametersMoveWithTheirAddresses) {
  Params a;
  a.add(int{7}).add(double{2.5});
  Params b = a;
  a = Params();
  EXPECT_EQ(*static_cast<int*>(b.addresses()[0]), 7);
  EXPECT_EQ(*static_cast<double*>(b.addresses()[1]), 2.5);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(b.addresses()[1]) % alignof(double), 0u);
}

}  // namespace
}  // namespace tenon::cuda
