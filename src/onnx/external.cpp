// External data: containment of the file name, and mapping of the opened file.
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "onnx/weights.hpp"

namespace tenon::onnx {
namespace {

struct Descriptor {
  int fd = -1;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
  int release() { return std::exchange(fd, -1); }
};

// The components of a relative path. Anything that could leave the directory, on any system, is refused.
std::vector<std::string> components(std::string_view location, const Where& where) {
  auto refuse = [&](std::string_view why) {
    where.reject(fmt::format("external data location '{}' {}; it must be a plain path beneath the model's directory",
                             clean_utf8(location.substr(0, 200)), why));
  };
  if (location.empty()) refuse("is empty");
  if (location.size() > 4096) refuse("is longer than 4096 bytes");
  if (location.find('\0') != std::string_view::npos) refuse("contains a NUL byte");
  if (location.front() == '/') refuse("is absolute");
  if (location.find('\\') != std::string_view::npos) refuse("contains a backslash");
  if (location.size() > 1 && location[1] == ':') refuse("names a drive");
  if (location.find("://") != std::string_view::npos || location.starts_with("file:")) refuse("is a URL");
  if (!valid_utf8(location)) refuse("is not valid UTF-8");
  std::vector<std::string> out;
  for (size_t from = 0; from <= location.size();) {
    size_t to = std::min(location.find('/', from), location.size());
    std::string_view part = location.substr(from, to - from);
    if (part == "..") refuse("contains '..'");
    if (!part.empty() && part != ".") out.emplace_back(part);
    from = to + 1;
  }
  if (out.empty() || location.back() == '/') refuse("names no file");
  return out;
}

// One component at a time, no link followed: what openat2 does in one call on newer kernels.
int walk(int root, const std::vector<std::string>& parts) {
  Descriptor at{::dup(root)};
  for (size_t i = 0; at.fd >= 0 && i < parts.size(); ++i) {
    bool last = i + 1 == parts.size();
    int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | (last ? O_NONBLOCK : O_DIRECTORY);
    Descriptor next{::openat(at.fd, parts[i].c_str(), flags)};
    std::swap(at.fd, next.fd);
  }
  return at.release();
}

int open_parts(int root, const std::vector<std::string>& parts) {
  std::string path;
  for (const std::string& p : parts) path += (path.empty() ? "" : "/") + p;
  open_how how{};
  how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  auto fd = static_cast<int>(::syscall(SYS_openat2, root, path.c_str(), &how, sizeof(how)));
  if (fd < 0 && (errno == ENOSYS || errno == EPERM || errno == EINVAL)) fd = walk(root, parts);
  return fd;
}

int64_t parse_count(std::string_view text, std::string_view key, const Where& where) {
  int64_t out = -1;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc() || end != text.data() + text.size() || out < 0)
    where.reject(fmt::format("external data {} '{}' is not a count of bytes", key, clean_utf8(text.substr(0, 40))));
  return out;
}

}  // namespace

int open_beneath(const std::string& directory, std::string_view location, const Where& where) {
  std::vector<std::string> parts = components(location, where);
  Descriptor root{::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
  if (root.fd < 0)
    where.reject(fmt::format("cannot open the model's directory '{}': {}", directory, std::strerror(errno)));
  Descriptor file{open_parts(root.fd, parts)};
  if (file.fd < 0) {
    if (errno == ELOOP || errno == EXDEV)
      where.reject(
          fmt::format("external data '{}' is, or lies behind, a symbolic link; put the file itself beside the "
                      "model",
                      location));
    fail(errno == ENOENT || errno == ENOTDIR ? Code::kNotFound : Code::kInvalidArgument,
         "{}: cannot open external data '{}' beneath '{}': {}", where.text(), location, directory,
         std::strerror(errno));
  }
  struct stat st {};
  if (::fstat(file.fd, &st) != 0 || !S_ISREG(st.st_mode))
    where.reject(fmt::format("external data '{}' is not a regular file", location));
  if (st.st_nlink != 1)
    where.reject(fmt::format("external data '{}' has {} hard links; copy the file so that it has one", location,
                             static_cast<uint64_t>(st.st_nlink)));
  return file.release();
}

std::shared_ptr<const MappedFile> Weights::open_external(std::string_view location, const Where& where) {
  if (auto at = files_.find(location); at != files_.end()) return at->second;
  if (!directory_)
    where.reject(
        "this tensor's data are in another file, which a model given as bytes cannot refer to; import the "
        "model from its file");
  Descriptor file{open_beneath(*directory_, location, where)};
  auto mapped = MappedFile::from_descriptor(file.fd, *directory_ + "/" + std::string(location));
  files_.emplace(location, mapped);
  return mapped;
}

Tensor Weights::external(const TensorProto& t, DType dtype, const Where& where) {
  std::string_view location;
  std::optional<int64_t> offset, length;
  std::vector<std::string_view> seen;
  for (const auto& [key, value] : t.external_data) {
    if (std::find(seen.begin(), seen.end(), key) != seen.end())
      where.reject(fmt::format("external data key '{}' is given twice", key));
    seen.push_back(key);
    if (key == "location") {
      location = value;
    } else if (key == "offset") {
      offset = parse_count(value, key, where);
    } else if (key == "length") {
      length = parse_count(value, key, where);
    } else if (key != "checksum") {
      where.reject(fmt::format("external data key '{}' is not one of location, offset, length and checksum",
                               clean_utf8(key.substr(0, 40))));
    }
  }
  if (dtype == DType::kString) where.reject("strings cannot be external data");
  int64_t needed = byte_size(dtype, element_count(t.dims));
  if (length && *length != needed)
    where.reject(fmt::format("external data have {} bytes where shape {} of {} needs {}", *length, dims_text(t.dims),
                             tenon::name(dtype), needed));
  auto file = open_external(location, where);
  auto size = static_cast<int64_t>(file->bytes().size());
  int64_t from = offset.value_or(0);
  if (from > size || needed > size - from)
    where.reject(
        fmt::format("external data at {} + {} lie outside '{}', which has {} bytes", from, needed, file->path(), size));
  return from_bytes(t, dtype, file->bytes().subspan(static_cast<size_t>(from), static_cast<size_t>(needed)), file,
                    where);
}

}  // namespace tenon::onnx
