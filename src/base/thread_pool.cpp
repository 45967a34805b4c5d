#include "base/thread_pool.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <fstream>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace tenon {
namespace {

// Workers spin this many pauses (about 50 us) before they sleep: fork-join at batch 1 costs a wake-up
// otherwise, and a longer spin takes the core from other processes.
constexpr int kSpins = 1500;

thread_local bool inside_pool = false;

void pause() { __builtin_ia32_pause(); }

}  // namespace

// A job is published by storing its number of parts in `left`; a part is claimed by counting `left` down.
// Whoever claims a part may read the job: its fields were written before `left`, and cannot change before the
// part is reported in `done`. A worker that comes late finds `left` at zero, or claims a part of the next
// job, and either is right.
struct ThreadPool::State {
  std::mutex turn;  // one dispatch at a time
  std::mutex sleep_mutex;
  std::condition_variable wake;
  alignas(64) std::atomic<int64_t> left{0};
  alignas(64) std::atomic<int64_t> done{0};
  alignas(64) std::atomic<int> sleepers{0};
  std::atomic<bool> stop{false};
  int64_t parts = 0;
  Call call = nullptr;
  void* context = nullptr;
  std::mutex error_mutex;
  std::exception_ptr error;
  std::vector<std::thread> workers;

  void drain(int worker) {
    inside_pool = true;
    int64_t rest = left.load(std::memory_order_acquire);
    while (rest > 0) {
      if (!left.compare_exchange_weak(rest, rest - 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
      try {
        call(context, parts - rest, worker);
      } catch (...) {
        std::lock_guard lock(error_mutex);
        if (!error) error = std::current_exception();
      }
      done.fetch_add(1, std::memory_order_release);
      rest = left.load(std::memory_order_acquire);
    }
    inside_pool = false;
  }

  void work(int worker) {
    for (;;) {
      for (int i = 0; i < kSpins && left.load(std::memory_order_acquire) == 0 && !stop.load(); ++i) pause();
      if (left.load() == 0 && !stop.load()) {
        std::unique_lock lock(sleep_mutex);
        sleepers.fetch_add(1);
        wake.wait(lock, [&] { return left.load() != 0 || stop.load(); });
        sleepers.fetch_sub(1);
      }
      if (stop.load()) return;
      drain(worker);
    }
  }

  // After `left` or `stop` was stored: a worker either sees that before it sleeps, or is counted in
  // `sleepers` here.
  void rouse(int64_t wanted) {
    int64_t asleep = sleepers.load();
    if (asleep == 0) return;
    { std::lock_guard lock(sleep_mutex); }
    if (wanted >= asleep) {
      wake.notify_all();
    } else {
      for (int64_t i = 0; i < wanted; ++i) wake.notify_one();
    }
  }
};

ThreadPool::ThreadPool(int threads) : threads_(threads > 0 ? threads : default_threads()) {
  if (threads_ == 1) return;
  state_ = std::make_unique<State>();
  for (int i = 1; i < threads_; ++i) state_->workers.emplace_back([s = state_.get(), i] { s->work(i); });
}

ThreadPool::~ThreadPool() {
  if (!state_) return;
  state_->stop.store(true);
  state_->rouse(threads_);
  for (auto& worker : state_->workers) worker.join();
}

void ThreadPool::dispatch(int64_t parts, Call call, void* context) {
  if (inside_pool) {
    for (int64_t i = 0; i < parts; ++i) call(context, i, 0);
    return;
  }
  State& s = *state_;
  std::lock_guard turn(s.turn);
  s.parts = parts;
  s.call = call;
  s.context = context;
  s.done.store(0, std::memory_order_relaxed);
  s.left.store(parts);
  s.rouse(parts - 1);
  s.drain(0);
  for (int i = 0; s.done.load(std::memory_order_acquire) != parts; ++i) {
    if (i < 20000) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
  if (s.error) std::rethrow_exception(std::exchange(s.error, nullptr));
}

int ThreadPool::default_threads() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  std::set<std::pair<int, int>> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &set)) continue;
    std::string dir = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    int package = 0, core = cpu;
    std::ifstream(dir + "physical_package_id") >> package;
    std::ifstream(dir + "core_id") >> core;
    cores.insert({package, core});
  }
  int count = std::max<int>(1, static_cast<int>(cores.size()));
  std::ifstream quota_file("/sys/fs/cgroup/cpu.max");
  double quota = 0, period = 0;
  if (quota_file >> quota >> period && quota > 0 && period > 0) {
    count = std::clamp(static_cast<int>(quota / period + 0.5), 1, count);
  }
  return count;
}

}  // namespace tenon
