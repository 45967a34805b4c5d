// Running kernel instances on a real device, for tests and benchmarks: compiled in parallel, launched one by one or as
// a graph. Not thread-safe but for compile().
#pragma once

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <random>
#include <thread>

#include "instances.hpp"

namespace tenon::cuda::testing {

inline float round_through(float x, DType dtype) {
  if (dtype == DType::kFloat32) return x;
  FilterLayout one{1, 1, 1, 1, 1};
  auto packed = pack_filters(one, dtype == DType::kFloat16 ? Math::kHalf : Math::kBFloat16, &x, 1, 1, 1);
  uint16_t bits;
  std::memcpy(&bits, packed.data(), 2);
  if (dtype == DType::kBFloat16) {
    uint32_t wide = uint32_t{bits} << 16;
    std::memcpy(&x, &wide, 4);
    return x;
  }
  int exponent = (bits >> 10) & 31, mantissa = bits & 1023;
  float value = exponent == 0    ? std::ldexp(static_cast<float>(mantissa), -24)
                : exponent == 31 ? (mantissa ? NAN : INFINITY)
                                 : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
  return bits & 0x8000 ? -value : value;
}

inline std::vector<float> random_values(size_t n, unsigned seed, DType dtype, float scale = 1.0f) {
  std::mt19937 generator(seed);
  std::vector<float> x(n);
  for (float& v : x) v = round_through(scale * (static_cast<float>(generator() >> 8) / 8388608.0f - 1.0f), dtype);
  return x;
}

inline int size_of(DType dtype) { return dtype == DType::kFloat32 ? 4 : dtype == DType::kBool ? 1 : 2; }

inline std::vector<std::byte> to_bytes(const std::vector<float>& x, DType dtype) {
  FilterLayout all{1, static_cast<int64_t>(x.size()), 1, static_cast<int64_t>(x.size()),
                   static_cast<int64_t>(x.size())};
  return pack_filters(all,
                      dtype == DType::kFloat16    ? Math::kHalf
                      : dtype == DType::kBFloat16 ? Math::kBFloat16
                                                  : Math::kFloat32,
                      x.data(), 0, 1, 0);
}

inline std::vector<float> from_bytes(const std::vector<std::byte>& bytes, DType dtype) {
  std::vector<float> x(bytes.size() / size_of(dtype));
  for (size_t i = 0; i < x.size(); ++i) {
    if (dtype == DType::kFloat32) {
      std::memcpy(&x[i], bytes.data() + i * 4, 4);
      continue;
    }
    uint16_t bits;
    std::memcpy(&bits, bytes.data() + i * 2, 2);
    if (dtype == DType::kBFloat16) {
      uint32_t wide = uint32_t{bits} << 16;
      std::memcpy(&x[i], &wide, 4);
    } else {
      int exponent = (bits >> 10) & 31, mantissa = bits & 1023;
      float value = exponent == 0    ? std::ldexp(static_cast<float>(mantissa), -24)
                    : exponent == 31 ? (mantissa ? NAN : INFINITY)
                                     : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
      x[i] = bits & 0x8000 ? -value : value;
    }
  }
  return x;
}

class Runner {
 public:
  struct Loaded {
    Module module;
    Function function;
    int registers = 0;
  };

  Runner() : device(Device::open(Driver::system(), 0)), compiler(Compiler::system()), stream(device) {}

  /// Compiles instances on all cores; run() then finds them.
  void compile(const std::vector<const KernelPlan*>& plans) {
    std::atomic<size_t> next{0};
    std::mutex mutex;
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < std::max(1u, std::thread::hardware_concurrency()); ++t) {
      threads.emplace_back([&] {
        for (size_t i; (i = next++) < plans.size();) {
          uint64_t key = plans[i]->source.hash();
          {
            std::lock_guard lock(mutex);
            if (!started_.insert({key, true}).second) continue;
          }
          try {
            Cubin cubin = compiler->compile(plans[i]->source, device->info().arch());
            std::lock_guard lock(mutex);
            cubins_[key] = std::move(cubin);
          } catch (const Error& e) {
            std::lock_guard lock(mutex);
            std::printf("%s: %.1500s\n", plans[i]->detail.c_str(), e.what());
          }
        }
      });
    }
    for (std::thread& t : threads) t.join();
  }

  const Loaded& load(const KernelPlan& plan) {
    uint64_t key = plan.source.hash();
    auto found = loaded_.find(key);
    if (found != loaded_.end()) return found->second;
    if (!cubins_.count(key)) compile({&plan});
    Loaded l;
    const Cubin& cubin = cubins_.at(key);
    l.module = Module(device, cubin.bytes);
    l.function = l.module.function("kernel", plan.shape.shared_bytes, plan.shape.cluster);
    l.registers = cubin.registers;
    return loaded_.emplace(key, std::move(l)).first->second;
  }

  void run(const KernelPlan& plan, const Params& params) { load(plan).function.launch(stream, plan.shape, params); }

  Buffer upload(const std::vector<std::byte>& bytes) {
    Buffer b(device, bytes.size());
    stream.upload(b.get(), bytes.data(), bytes.size());
    stream.synchronize();
    return b;
  }
  Buffer upload(const std::vector<float>& x, DType dtype) { return upload(to_bytes(x, dtype)); }
  Buffer poisoned(size_t bytes) {
    Buffer b(device, bytes);
    stream.fill(b.get(), 0xff, bytes);  // NaN in every float type
    return b;
  }
  std::vector<float> download(const Buffer& b, DType dtype) {
    std::vector<std::byte> bytes(b.bytes());
    stream.download(bytes.data(), b.get(), bytes.size());
    stream.synchronize();
    return from_bytes(bytes, dtype);
  }

  std::shared_ptr<Device> device;
  std::shared_ptr<const Compiler> compiler;
  Stream stream;

 private:
  std::map<uint64_t, bool> started_;
  std::map<uint64_t, Cubin> cubins_;
  std::map<uint64_t, Loaded> loaded_;
};

/// Scratch memory that a plan asks for, counters zeroed.
struct Scratch {
  Buffer workspace, counters;
  Scratch(Runner& runner, const KernelPlan& plan)
      : workspace(runner.device, static_cast<size_t>(plan.workspace)),
        counters(runner.device, static_cast<size_t>(plan.counters) * 4) {
    if (plan.counters) runner.stream.fill(counters.get(), 0, counters.bytes());
  }
};

/// |a - b| / |b|; NaN where either has one that the other has not.
inline double distance(const std::vector<float>& a, const std::vector<double>& b) {
  double d = 0, n = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    d += (a[i] - b[i]) * (a[i] - b[i]);
    n += b[i] * b[i];
  }
  return std::sqrt(d / std::max(n, 1e-30));
}

}  // namespace tenon::cuda::testing
