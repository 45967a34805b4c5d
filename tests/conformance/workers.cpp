#include "workers.hpp"

#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <optional>

#include "base/error.hpp"

namespace tenon::conformance {
namespace {

// Shared by all processes: the number of the next test.
class Counter {
 public:
  Counter()
      : page_(mmap(nullptr, sizeof(std::atomic<size_t>), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {
    expect(page_ != MAP_FAILED, "no memory to share between processes");
    next_ = new (page_) std::atomic<size_t>(0);
  }
  ~Counter() { munmap(page_, sizeof(std::atomic<size_t>)); }
  Counter(const Counter&) = delete;
  Counter& operator=(const Counter&) = delete;
  size_t take() { return next_->fetch_add(1); }
  size_t taken() const { return next_->load(); }

 private:
  void* page_;
  std::atomic<size_t>* next_ = nullptr;
};

struct Worker {
  pid_t process = -1;
  int pipe = -1;
  std::string pending;            // bytes of an unfinished line
  std::optional<size_t> running;  // the test it is at
};

void say(int pipe, const std::string& line) {
  for (size_t done = 0; done < line.size();) {
    ssize_t n = write(pipe, line.data() + done, line.size() - done);
    if (n <= 0) _exit(3);
    done += static_cast<size_t>(n);
  }
}

[[noreturn]] void serve(int pipe, Counter& counter, size_t count, int limit,
                        const std::function<Outcome(size_t)>& work) {
  for (size_t i = counter.take(); i < count; i = counter.take()) {
    say(pipe, fmt::format("start {}\n", i));
    alarm(static_cast<unsigned>(limit));
    auto begin = std::chrono::steady_clock::now();
    Outcome out = work(i);
    double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    std::replace(out.message.begin(), out.message.end(), '\n', ' ');
    say(pipe, fmt::format("done {} {:.6f} {}\n", out.passed ? 1 : 0, seconds, out.message));
  }
  _exit(0);
}

void start(Worker& w, Counter& counter, size_t count, int limit, const std::function<Outcome(size_t)>& work) {
  int ends[2];
  expect(pipe(ends) == 0, "no pipe can be made: {}", std::strerror(errno));
  std::fflush(nullptr);
  w.process = fork();
  expect(w.process >= 0, "no process can be made: {}", std::strerror(errno));
  if (w.process == 0) {
    close(ends[0]);
    serve(ends[1], counter, count, limit, work);
  }
  close(ends[1]);
  w.pipe = ends[0];
  w.pending.clear();
  w.running.reset();
}

void take_line(Worker& w, const std::string& line, std::vector<Outcome>& outcomes) {
  if (line.starts_with("start ")) {
    w.running = std::stoul(line.substr(6));
    return;
  }
  size_t at = line.find(' ', 7);
  if (!w.running || at == std::string::npos) return;
  outcomes[*w.running] = {line[5] == '1', line.substr(at + 1), std::stod(line.substr(7))};
  w.running.reset();
}

// The worker's process has ended: what it was at has failed.
void bury(Worker& w, int limit, std::vector<Outcome>& outcomes) {
  int status = 0;
  waitpid(w.process, &status, 0);
  close(w.pipe);
  w.pipe = -1;
  if (!w.running) return;
  int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  outcomes[*w.running].message = signal == SIGALRM ? fmt::format("took longer than {} s", limit)
                                 : signal != 0
                                     ? fmt::format("crashed: {}", strsignal(signal))
                                     : fmt::format("ended its process with exit code {}", WEXITSTATUS(status));
}

// Reads what has come; false at the end.
bool listen(Worker& w, std::vector<Outcome>& outcomes) {
  char buffer[4096];
  ssize_t n = read(w.pipe, buffer, sizeof buffer);
  if (n <= 0) return false;
  w.pending.append(buffer, static_cast<size_t>(n));
  for (size_t end; (end = w.pending.find('\n')) != std::string::npos; w.pending.erase(0, end + 1))
    take_line(w, w.pending.substr(0, end), outcomes);
  return true;
}

}  // namespace

std::vector<Outcome> run_isolated(size_t count, int jobs, int limit, const std::function<Outcome(size_t)>& work) {
  std::vector<Outcome> outcomes(count);
  Counter counter;
  std::vector<Worker> workers(static_cast<size_t>(std::max(1, jobs)));
  for (Worker& w : workers) start(w, counter, count, limit, work);
  for (;;) {
    std::vector<pollfd> fds;
    for (const Worker& w : workers) fds.push_back({w.pipe, POLLIN, 0});  // closed ones (-1) are ignored
    if (std::all_of(workers.begin(), workers.end(), [](const Worker& w) { return w.pipe < 0; })) return outcomes;
    if (poll(fds.data(), fds.size(), -1) < 0) continue;
    for (size_t i = 0; i < workers.size(); ++i) {
      if (fds[i].revents == 0 || workers[i].pipe < 0 || listen(workers[i], outcomes)) continue;
      bury(workers[i], limit, outcomes);
      if (counter.taken() < count) start(workers[i], counter, count, limit, work);
    }
  }
}

}  // namespace tenon::conformance
