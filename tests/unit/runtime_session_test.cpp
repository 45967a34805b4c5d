// Sessions: a run allocates nothing; sessions of one engine run side by side.
// The counting operators below pair malloc with free; GCC sees only one half of the pair where it inlines.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <thread>

#include "graph/interpret.hpp"
#include "graph/text.hpp"
#include "graph_testing.hpp"
#include "runtime/engine.hpp"

namespace {

thread_local bool counting = false;
std::atomic<int> allocations{0};

void* counted(std::size_t bytes) {
  if (counting) allocations.fetch_add(1);
  if (void* p = std::malloc(bytes == 0 ? 1 : bytes)) return p;
  throw std::bad_alloc();
}

void* counted_aligned(std::size_t bytes, std::align_val_t align) {
  if (counting) allocations.fetch_add(1);
  auto a = static_cast<std::size_t>(align);
  if (void* p = std::aligned_alloc(a, (bytes + a - 1) / a * a)) return p;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t bytes) { return counted(bytes); }
void* operator new[](std::size_t bytes) { return counted(bytes); }
void* operator new(std::size_t bytes, std::align_val_t align) { return counted_aligned(bytes, align); }
void* operator new[](std::size_t bytes, std::align_val_t align) { return counted_aligned(bytes, align); }
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return std::malloc(bytes == 0 ? 1 : bytes); }
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept { return std::malloc(bytes == 0 ? 1 : bytes); }
void operator delete(void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

namespace tenon {
namespace {

const char* kNet = R"(graph main (float32[N,3,16,16] x) => (y, s) {
  w1 = float32[16,3,3,3] random(1)  b1 = float32[16] random(2)  w2 = float32[16,1,3,3] random(3)
  w3 = float32[24,16,1,1] random(4)  v = float32[24,10] random(5)
  a = Conv<pads=[1, 1, 1, 1], strides=[2, 2]>(x, w1, b1)  b = HardSwish(a)
  c = Conv<group=16, pads=[1, 1, 1, 1]>(b, w2)  d = Relu(c)  e = Add(d, b)
  p, q = Split<axis=1, num_outputs=2>(e)  f = Concat<axis=1>(q, p)
  g = Conv(f, w3)  h = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(g)
  scales = float32[4] {1.0, 1.0, 2.0, 2.0}  s = Resize<mode="nearest">(h, _, scales)
  i = GlobalAveragePool(h)  j = Flatten(i)  k = MatMul(j, v)  y = Softmax<axis=-1>(k)
})";

const char* kLoops = R"(graph main (float32[2,8] h, float32[5,2,3] x, int64[] n) => (t, y, z) {
  w = float32[3,8] random(1)  v = float32[8,8] random(2)
  t, y = Scan<body=graph b (float32[2,8] s, float32[2,3] e, float32[3,8] p, float32[8,8] q) => (r, m) {
    a = MatMul(e, p)  d = MatMul(s, q)  f = Add(a, d)  r = Tanh(f)  m = Exp(r)
  }, captures=2, num_scan_inputs=1, scan_output_axes=[1]>(h, x, w, v)
  z = Loop<body=graph c (int64[] i, bool[] k, float32[2,8] u, float32[8,8] q) => (go, o) {
    g = MatMul(u, q)  o = Sigmoid(g)  m = ReduceMax<keepdims=0>(o)  limit = float32[] {2.0}  go = Less(m, limit)
  }, captures=1>(n, _, t, v)
})";

std::shared_ptr<EngineCore> engine_of(const char* text, const std::map<std::string, Dims>& shapes, int threads) {
  EngineOptions options;
  options.threads = threads;
  options.level = 1;
  return EngineCore::build(parse_graph(text), shapes, {}, options);
}

TEST(Session, RunAllocatesNothing) {
  for (int threads : {1, 2}) {
    auto engine = engine_of(kNet, {{"x", {2, 3, 16, 16}}}, threads);
    std::vector<Datum> inputs = testing::random_inputs(engine->graph(), 7, 2);
    auto program = engine->program_for(inputs);
    ASSERT_TRUE(program->allocation_free());
    ProgramSession session(program, engine->pool(), engine->ops());
    std::vector<Datum> outputs(2);
    session.run(inputs, outputs);  // makes the outputs
    allocations = 0;
    counting = true;
    session.run(inputs, outputs);
    counting = false;
    EXPECT_EQ(allocations, 0) << threads << " threads";
    // The counter counts.
    counting = true;
    auto probe = std::make_unique<int>(1);
    counting = false;
    EXPECT_EQ(allocations, 1) << *probe;
  }
}

TEST(Session, ControlFlowAllocatesNothing) {
  for (int threads : {1, 2}) {
    auto engine = engine_of(kLoops, {}, threads);
    std::vector<Datum> inputs = testing::random_inputs(engine->graph(), 7, 2);
    inputs[2] = Datum(Tensor::scalar<int64_t>(6));
    auto program = engine->program_for(inputs);
    ASSERT_TRUE(program->allocation_free());
    ProgramSession session(program, engine->pool(), engine->ops());
    std::vector<Datum> outputs(3);
    session.run(inputs, outputs);
    allocations = 0;
    counting = true;
    session.run(inputs, outputs);
    counting = false;
    EXPECT_EQ(allocations, 0) << threads << " threads";
  }
}

TEST(Session, SessionsOfOneEngineRunSideBySide) {
  auto engine = engine_of(kNet, {{"x", {1, 3, 16, 16}}}, 2);
  GraphPtr reference = parse_graph(kNet);
  infer_types(*reference, engine->ops());
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (uint64_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      // The shapes differ from thread to thread, so that programs are made side by side too.
      std::vector<Datum> inputs = testing::random_inputs(*reference, t, 1 + static_cast<int64_t>(t));
      std::vector<Datum> want = interpret(*reference, engine->ops(), inputs);
      ProgramSession session(engine->program_for(inputs), engine->pool(), engine->ops());
      for (int run = 0; run < 5; ++run) {
        std::vector<Datum> got(2);
        session.run(inputs, got);
        for (size_t i = 0; i < got.size(); ++i) {
          if (testing::distance(want[i].tensor, got[i].tensor) > 1e-4) ++wrong;
        }
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Session, RefusesOtherShapesAndCounts) {
  auto engine = engine_of("graph main (float32[2,3] x) => (y) { y = Relu(x) }", {}, 1);
  std::vector<Datum> inputs = testing::random_inputs(engine->graph(), 1);
  ProgramSession session(engine->program_for(inputs), engine->pool(), engine->ops());
  std::vector<Datum> one(1), two(2), other{Datum(Tensor::allocate(DType::kFloat32, {3, 2}))};
  EXPECT_THROW(session.run(other, one), Error);
  EXPECT_THROW(session.run(inputs, two), Error);
  EXPECT_THROW(session.run({}, one), Error);
  session.run(inputs, one);
  EXPECT_TRUE(one[0].tensor.defined());
}

}  // namespace
}  // namespace tenon
