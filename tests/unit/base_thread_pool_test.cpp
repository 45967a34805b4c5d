#include "base/thread_pool.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

namespace tenon {
namespace {

TEST(ThreadPool, RunsEveryPartOnce) {
  for (int threads : {1, 2, 3, 5}) {
    ThreadPool pool(threads);
    for (int64_t parts : {0, 1, 2, 3, 7, 64, 1000}) {
      std::vector<std::atomic<int>> hits(parts);
      pool.run(parts, [&](int64_t part) { hits[part].fetch_add(1); });
      for (int64_t i = 0; i < parts; ++i) ASSERT_EQ(hits[i].load(), 1) << threads << " threads, part " << i;
    }
  }
}

TEST(ThreadPool, ResultsAreVisibleAfterRun) {
  ThreadPool pool(4);
  std::vector<int64_t> plain(16);
  for (int64_t round = 1; round <= 3000; ++round) {
    pool.run(16, [&](int64_t part) { plain[part] += part; });
    for (int64_t i = 0; i < 16; ++i) ASSERT_EQ(plain[i], i * round);
  }
}

TEST(ThreadPool, WorkersThatSleepAreWokenOrNotNeeded) {
  ThreadPool pool(3);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // longer than a worker spins
    std::atomic<int> sum{0};
    pool.run(5, [&](int64_t part) { sum.fetch_add(static_cast<int>(part)); });
    EXPECT_EQ(sum.load(), 10);
  }
}

TEST(ThreadPool, WorkerIndexIsExclusive) {
  ThreadPool pool(3);
  std::vector<std::atomic<int>> busy(3);
  std::atomic<int> clashes{0};
  pool.run_indexed(500, [&](int64_t, int worker) {
    if (worker < 0 || worker >= 3 || busy[worker].fetch_add(1) != 0) clashes.fetch_add(1);
    std::this_thread::yield();
    busy[worker].fetch_sub(1);
  });
  EXPECT_EQ(clashes.load(), 0);
}

TEST(ThreadPool, RethrowsAndStaysUsable) {
  ThreadPool pool(3);
  std::atomic<int> ran{0};
  EXPECT_THROW(pool.run(50,
                        [&](int64_t part) {
                          ran.fetch_add(1);
                          if (part == 17) throw std::runtime_error("part 17");
                        }),
               std::runtime_error);
  EXPECT_EQ(ran.load(), 50);
  pool.run(50, [&](int64_t) { ran.fetch_add(1); });
  EXPECT_EQ(ran.load(), 100);
}

TEST(ThreadPool, NestedRunsInLine) {
  ThreadPool pool(3);
  std::atomic<int> sum{0};
  pool.run(4, [&](int64_t) {
    auto me = std::this_thread::get_id();
    pool.run(8, [&](int64_t) {
      EXPECT_EQ(std::this_thread::get_id(), me);
      sum.fetch_add(1);
    });
  });
  EXPECT_EQ(sum.load(), 32);
}

TEST(ThreadPool, SeveralCallersTakeTurns) {
  ThreadPool pool(3);
  std::atomic<int64_t> sum{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int round = 0; round < 200; ++round) pool.run(6, [&](int64_t part) { sum.fetch_add(part); });
    });
  }
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(sum.load(), 4 * 200 * 15);
}

TEST(ThreadPool, RangesCoverWithoutOverlap) {
  ThreadPool pool(3);
  for (int64_t count : {0, 1, 2, 10, 101}) {
    std::vector<std::atomic<int>> hits(count);
    pool.run_ranges(count, 4, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) hits[i].fetch_add(1);
    });
    for (auto& hit : hits) ASSERT_EQ(hit.load(), 1);
  }
}

}  // namespace
}  // namespace tenon
