// Every kernel compiles for every architecture, without spills and within shared memory. Needs NVRTC (the toolkit, or
// tools/setup.sh --for cuda), no GPU.
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "../device/instances.hpp"
#include "base/error.hpp"

namespace tenon::cuda {
namespace {

struct Job {
  DeviceInfo device;
  testing::Instance instance;
};

std::string judge(const Compiler& compiler, const Job& job) {
  std::string where = job.instance.name + " for " + job.device.arch() + ": ";
  try {
    Cubin cubin = compiler.compile(job.instance.plan.source, job.device.arch());
    if (cubin.bytes.empty()) return where + "no code";
    if (cubin.registers == 0) return where + "the compiler's report was not understood: " + cubin.log;
    if (cubin.spill_bytes != 0)
      return fmt::format("{}{} bytes of spills with {} registers", where, cubin.spill_bytes, cubin.registers);
    if (cubin.log.find("C7508") != std::string::npos) return where + "setmaxnreg is ignored: " + cubin.log;
    int shared = cubin.static_shared + static_cast<int>(job.instance.plan.shape.shared_bytes);
    if (shared > job.device.shared_per_block) return fmt::format("{}{} bytes of shared memory", where, shared);
    auto threads = static_cast<int>(job.instance.plan.shape.block[0]);
    if ((cubin.registers + 7) / 8 * 8 * threads > 65536)
      return fmt::format("{}{} registers for {} threads", where, cubin.registers, threads);
    return {};
  } catch (const Error& e) {
    return where + e.what();
  }
}

TEST(CudaCompile, EveryKernelForEveryArchitecture) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "NVRTC's memory is not ours to check: the release build compiles the kernels";
#endif
  std::shared_ptr<const Compiler> compiler;
  try {
    compiler = Compiler::system();
  } catch (const Error& e) {
    GTEST_SKIP() << "*** THE CUDA KERNELS ARE NOT COMPILED *** " << e.what();
  }
  std::vector<Job> jobs;
  for (int capability : {75, 80, 86, 89, 90, 100, 120}) {
    DeviceInfo device = typical_device(capability);
    for (testing::Instance& i : testing::instances(device)) jobs.push_back({device, std::move(i)});
  }
  std::atomic<size_t> next{0};
  std::mutex mutex;
  std::vector<std::string> problems;
  auto work = [&] {
    for (size_t i; (i = next++) < jobs.size();) {
      std::string problem = judge(*compiler, jobs[i]);
      std::lock_guard lock(mutex);
      if (!problem.empty()) problems.push_back(std::move(problem));
    }
  };
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < std::max(1u, std::thread::hardware_concurrency()); ++t) threads.emplace_back(work);
  for (std::thread& t : threads) t.join();
  for (const std::string& problem : problems) ADD_FAILURE() << problem;
  EXPECT_GT(jobs.size(), 100u);
}

TEST(CudaCompile, TheCompilersWordsReachTheUser) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "NVRTC's memory is not ours to check";
#endif
  std::shared_ptr<const Compiler> compiler;
  try {
    compiler = Compiler::system();
  } catch (const Error& e) {
    GTEST_SKIP() << e.what();
  }
  KernelSource source{"pointwise.cu", "#define COUNT 1\n#define THREADS 1\n#define OUT_VEC 1\n",
                      "TENON_INLINE void region(x) {}\n", false};
  try {
    compiler->compile(source, "sm_80");
    FAIL() << "it compiled";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("generated.cuh"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("\"x\""), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace tenon::cuda
