// run() allocates nothing once a shape has been run: operator new is counted, for this whole binary.
// The counting operators below pair malloc with free; GCC sees only one half of the pair where it inlines.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "engine_testing.hpp"

namespace {
std::atomic<long> allocations{0};
}

// GCC looks through these into malloc and free and takes the pairs for mismatched.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

// All forms, in pairs, so that the sanitizers see each kind of memory freed as it was made.
void* operator new(size_t size) {
  ++allocations;
  if (void* p = std::malloc(size > 0 ? size : 1)) return p;
  throw std::bad_alloc();
}
void* operator new(size_t size, std::align_val_t alignment) {
  ++allocations;
  auto align = static_cast<size_t>(alignment);
  if (void* p = std::aligned_alloc(align, (size + align - 1) / align * align)) return p;
  throw std::bad_alloc();
}
void* operator new[](size_t size) { return operator new(size); }
void* operator new[](size_t size, std::align_val_t alignment) { return operator new(size, alignment); }
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(size > 0 ? size : 1);
}
void* operator new[](size_t size, const std::nothrow_t& tag) noexcept { return operator new(size, tag); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete[](void* p, size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { std::free(p); }

namespace tenon {
namespace {

long allocations_of_runs(Session& session, int count) {
  session.run();
  long before = allocations;
  for (int i = 0; i < count; ++i) session.run();
  return allocations - before;
}

TEST(Session, RunAllocatesNothing) {
  for (int threads : {1, 2}) {
    BuildConfig config = engine_test::one_thread();
    config.threads = threads;
    Session s(engine_test::dense(config));
    std::vector<float> x(64 * 3, 1), y(64 * 2);
    s.set_input("x", x.data(), DType::kFloat32, std::vector<int64_t>{64, 3});
    EXPECT_EQ(allocations_of_runs(s, 20), 0) << threads << " threads, the session's output";
    s.set_output("y", y.data(), y.size() * sizeof(float));
    EXPECT_EQ(allocations_of_runs(s, 20), 0) << threads << " threads, the caller's output";
    s.set_profiling(true);
    EXPECT_EQ(allocations_of_runs(s, 20), 0) << threads << " threads, profiling";
    EXPECT_TRUE(s.steady());
    EXPECT_EQ(y[0], 4);
  }
}

TEST(Session, TheCounterCounts) {
  Session s(Engine::build(engine_test::bytes(engine_test::nonzero_model()), engine_test::one_thread()));
  std::vector<float> x{1, 0};
  s.set_input("x", x.data(), DType::kFloat32, std::vector<int64_t>{1, 2});
  EXPECT_GT(allocations_of_runs(s, 1), 0);
  EXPECT_FALSE(s.steady());
}

}  // namespace
}  // namespace tenon
