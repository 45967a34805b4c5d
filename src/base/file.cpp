#include "base/file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/error.hpp"

namespace tenon {
namespace {

[[noreturn]] void fail_errno(const std::string& what, int error) {
  Code code = error == ENOENT || error == ENOTDIR ? Code::kNotFound
              : error == ENOSPC || error == EDQUOT || error == EFBIG || error == EMFILE || error == ENFILE ||
                      error == EIO || error == ENOMEM
                  ? Code::kUnavailable
                  : Code::kInvalidArgument;
  fail(code, "{}: {}", what, std::strerror(error));
}

// What a user can do about a failed write.
[[noreturn]] void fail_write(const std::string& what, int error) {
  bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  bool barred = error == EACCES || error == EPERM || error == EROFS;
  bool lost = error == ENOENT || error == ENOTDIR;
  const char* out = full     ? "; free some space, or write elsewhere"
                    : barred ? "; name a place that you may write to"
                    : lost   ? "; make the folder first, or name another"
                             : "";
  try {
    fail_errno(what, error);
  } catch (const Error& e) {
    fail(e.code(), "{}{}", e.message(), out);
  }
}

// Temporaries at work. Fixed storage, because a signal handler reads it.
struct Slot {
  std::atomic<int> state{0};  // 0 free, 1 being filled, 2 in use
  char path[4096];
};
Slot temporaries[16];

int remember(const std::string& path) {
  for (int i = 0; path.size() < sizeof(Slot::path) && i < 16; ++i) {
    int free = 0;
    if (!temporaries[i].state.compare_exchange_strong(free, 1)) continue;
    std::memcpy(temporaries[i].path, path.c_str(), path.size() + 1);
    temporaries[i].state = 2;
    return i;
  }
  return -1;
}

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path, size_t max_bytes) {
  // O_NONBLOCK: opening a FIFO must not hang; the type is checked on the opened descriptor.
  Descriptor d{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (d.fd < 0) fail_errno("cannot open '" + path + "'", errno);
  auto file = from_descriptor(d.fd, path);
  expect(max_bytes == 0 || file->size_ <= max_bytes, "'{}' has {} bytes; at most {} are taken here", path, file->size_,
         max_bytes);
  return file;
}

std::shared_ptr<const MappedFile> MappedFile::from_descriptor(int fd, const std::string& label) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) fail_errno("cannot stat '" + label + "'", errno);
  expect(S_ISREG(st.st_mode), "'{}' is not a regular file", label);
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->path_ = label;
  file->size_ = static_cast<size_t>(st.st_size);
  if (file->size_ > 0) {
    void* p = ::mmap(nullptr, file->size_, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) fail_errno("cannot map '" + label + "'", errno);
    file->data_ = static_cast<const std::byte*>(p);
  }
  return file;
}

void MappedFile::forget() const noexcept {
  // Private and never written: the pages are the file's.
  if (data_ != nullptr) ::madvise(const_cast<std::byte*>(data_), size_, MADV_DONTNEED);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void remove_temporary_files() noexcept {
  for (Slot& slot : temporaries) {
    if (slot.state == 2) ::unlink(slot.path);
  }
}

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  static std::atomic<int> counter{0};
  struct stat st {};
  if (::stat(path_.c_str(), &st) == 0) {
    expect(!S_ISDIR(st.st_mode), "cannot write '{}': it is a directory", path_);
    if (!S_ISREG(st.st_mode)) {  // a device or pipe is written to, never replaced
      fd_ = ::open(path_.c_str(), O_WRONLY | O_CLOEXEC);
      if (fd_ < 0) fail_write("cannot write '" + path_ + "'", errno);
      return;
    }
    std::unique_ptr<char, decltype(&std::free)> real(::realpath(path_.c_str(), nullptr), &std::free);
    if (real != nullptr) path_ = real.get();
  }
  temporary_ = path_ + ".tmp." + std::to_string(::getpid()) + "." + std::to_string(counter.fetch_add(1));
  slot_ = remember(temporary_);
  fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd_ >= 0) return;
  int error = errno;
  if (slot_ >= 0) temporaries[slot_].state = 0;
  fail_write("cannot write '" + path_ + "'", error);
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) {
    ::close(fd_);
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
  }
  if (slot_ >= 0) temporaries[slot_].state = 0;
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_write("writing '" + path_ + "' failed, the old file (if any) is untouched", errno);
    size_ += n;
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

void AtomicFile::write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }

void AtomicFile::commit() {
  if (::fsync(fd_) != 0 && errno != EINVAL)
    fail_write("flushing '" + path_ + "' failed, the old file is untouched", errno);
  if (!temporary_.empty() && ::rename(temporary_.c_str(), path_.c_str()) != 0) {
    fail_write("cannot replace '" + path_ + "'", errno);
  }
  ::close(fd_);
  fd_ = -1;
}

std::string read_text_file(const std::string& path, size_t max_bytes) {
  auto file = MappedFile::open(path, max_bytes);
  auto bytes = file->bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace tenon
