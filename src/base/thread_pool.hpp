// One pool of threads for the CPU backend. Work is cut into `parts`; the caller runs parts too, so a pool of
// one thread starts none, and a run never waits for a worker that has not begun a part (a sleeping worker
// costs nothing but its help). `run` allocates nothing. Several threads may call `run` on one pool: calls
// take turns.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

namespace tenon {

class ThreadPool {
 public:
  /// `threads` in all, the caller's included; 0 means one for each physical core that this process may use.
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const noexcept { return threads_; }

  /// Calls `body(part)` once for each part in [0, parts), on any thread, and returns when all are done. The
  /// first exception that a part throws is rethrown here. A nested call from inside a part runs its parts in
  /// line.
  template <class F>
  void run(int64_t parts, F&& body) {
    run_indexed(parts, [&](int64_t part, int) { body(part); });
  }

  /// As run, but calls `body(part, worker)`: worker, in [0, threads()), names the thread, so that a part may
  /// use that thread's share of a workspace. A nested call runs in line and sees worker 0 only.
  template <class F>
  void run_indexed(int64_t parts, F&& body) {
    if (parts <= 0) return;
    if (parts == 1 || threads_ == 1) {
      for (int64_t i = 0; i < parts; ++i) body(i, 0);
      return;
    }
    using Body = std::remove_reference_t<F>;
    dispatch(
        parts, [](void* context, int64_t part, int worker) { (*static_cast<Body*>(context))(part, worker); },
        std::addressof(body));
  }

  /// Cuts [0, count) into at most threads() ranges of at least `grain` items and calls `body(begin, end)` for
  /// each.
  template <class F>
  void run_ranges(int64_t count, int64_t grain, F&& body) {
    if (count <= 0) return;
    if (grain < 1) grain = 1;
    int64_t parts = (count + grain - 1) / grain;
    if (parts > threads_) parts = threads_;
    run(parts, [&](int64_t part) { body(count * part / parts, count * (part + 1) / parts); });
  }

  /// Physical cores that this process may use (its affinity mask and the cgroup's quota respected).
  static int default_threads();

 private:
  using Call = void (*)(void* context, int64_t part, int worker);
  void dispatch(int64_t parts, Call call, void* context);

  struct State;
  int threads_;
  std::unique_ptr<State> state_;
};

}  // namespace tenon
