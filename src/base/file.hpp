// Files: read-only mappings and whole-file writes that leave the old file intact when they fail.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace tenon {

/// A read-only mapping of a regular file. Immutable, shared; unmapped with the last reference. The size is
/// that of the opened file; a file that somebody truncates later raises SIGBUS in the reader, so inputs are
/// not to be edited in place.
class MappedFile {
 public:
  /// Opens and maps `path`. `max_bytes` bounds the size (0: no bound). Only regular files are taken.
  static std::shared_ptr<const MappedFile> open(const std::string& path, size_t max_bytes = 0);
  /// Maps an already opened descriptor (kept by the caller). `label` is used in messages.
  static std::shared_ptr<const MappedFile> from_descriptor(int fd, const std::string& label);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  const std::string& path() const noexcept { return path_; }
  /// Gives the memory of all pages back; what is read again comes from the system's cache. For a file that was read in
  /// full to be checked, and of which less is used.
  void forget() const noexcept;

 private:
  MappedFile() = default;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  std::string path_;
};

/// Writes a file by way of a temporary beside it, flushed to disk and renamed over `path` at commit().
/// Destroyed without commit (an error), it removes the temporary and the old file stays as it was. Through a link, the
/// file it points to is replaced, not the link. What is no regular file (a device, a pipe) is written to directly.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  void commit();
  int64_t size() const noexcept { return size_; }

 private:
  std::string path_, temporary_;
  int fd_ = -1, slot_ = -1;
  int64_t size_ = 0;
};

/// Removes the temporaries of all files that are being written: for the end of a process by a signal, and only there.
/// Calls only what signal handlers may.
void remove_temporary_files() noexcept;

/// The whole file as a string. Errors as MappedFile::open.
std::string read_text_file(const std::string& path, size_t max_bytes = size_t{256} << 20);

}  // namespace tenon
