#include "vision/image.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/error.hpp"
#include "base/file.hpp"
#include "vision/codec.hpp"

namespace tenon::vision {
namespace {

constexpr std::array<uint8_t, 8> kPngSignature = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

/// Closes on every way out.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

std::string extension_of(const std::string& path) {
  const size_t dot = path.find_last_of("./");
  if (dot == std::string::npos || path[dot] == '/') return {};
  std::string extension = path.substr(dot + 1);
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return extension;
}

}  // namespace

Image::Image(int w, int h, uint8_t value) : width(w), height(h) {
  expect(w >= 0 && h >= 0 && static_cast<int64_t>(w) * h <= kMaxPixels,
         "a picture of {} x {} pixels is outside the limit of {} pixels", w, h, kMaxPixels);
  pixels.assign(static_cast<size_t>(w) * h * 3, value);
}

void check_image_size(int64_t width, int64_t height, const std::string& what) {
  expect(width > 0 && height > 0, "{} is {} x {} pixels: there is nothing to decode", what, width, height);
  expect(width <= kMaxPixels && height <= kMaxPixels && width * height <= kMaxPixels,
         "{} is {} x {} pixels, more than the limit of {} million; scale it down first", what, width, height,
         kMaxPixels / 1'000'000);
}

ImageFormat image_format(std::span<const uint8_t> bytes) {
  if (bytes.size() >= 3 && bytes[0] == 0xff && bytes[1] == 0xd8 && bytes[2] == 0xff) return ImageFormat::kJpeg;
  if (bytes.size() >= 8 && std::equal(kPngSignature.begin(), kPngSignature.end(), bytes.begin()))
    return ImageFormat::kPng;
  return ImageFormat::kUnknown;
}

Image decode_image(std::span<const uint8_t> bytes, const std::string& what) {
  switch (image_format(bytes)) {
    case ImageFormat::kJpeg: return decode_jpeg(bytes, what);
    case ImageFormat::kPng: return decode_png(bytes, what);
    case ImageFormat::kUnknown: break;
  }
  if (bytes.empty()) fail(Code::kInvalidArgument, "{} is empty", what);
  std::string seen;
  for (size_t i = 0; i < std::min<size_t>(bytes.size(), 8); ++i) seen += fmt::format(" {:02x}", bytes[i]);
  fail(Code::kUnsupported, "{} is neither JPEG nor PNG (it begins with{}); convert it to one of them", what, seen);
}

Image load_image(const std::string& path) {
  return decode_image(read_file_bytes(path, kMaxImageFileBytes), "'" + path + "'");
}

void save_image(const Image& image, const std::string& path, int jpeg_quality) {
  const std::string extension = extension_of(path);
  if (extension == "png") return write_file_atomically(path, encode_png(image));
  expect(extension == "jpg" || extension == "jpeg",
         "cannot tell the format to write from '{}': end the name in .jpg, .jpeg or .png", path);
  write_file_atomically(path, encode_jpeg(image, jpeg_quality));
}

std::vector<uint8_t> read_file_bytes(const std::string& path, size_t limit) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) fail(Code::kNotFound, "cannot open '{}': {}", path, std::strerror(errno));
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) fail(Code::kUnavailable, "cannot read '{}': {}", path, std::strerror(errno));
  expect(S_ISREG(info.st_mode), "'{}' is not a regular file", path);
  expect(static_cast<uint64_t>(info.st_size) <= limit, "'{}' has {} bytes, more than the limit of {}", path,
         info.st_size, limit);
  std::vector<uint8_t> bytes(static_cast<size_t>(info.st_size));
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::read(file.get(), bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(Code::kUnavailable, "cannot read '{}': {}", path, std::strerror(errno));
    if (n == 0) break;  // somebody shortened the file meanwhile: the decoder will say that it is truncated
    done += static_cast<size_t>(n);
  }
  bytes.resize(done);
  return bytes;
}

void write_file_atomically(const std::string& path, std::span<const uint8_t> bytes) {
  AtomicFile file(path);
  file.write(std::as_bytes(bytes));
  file.commit();
}

Image apply_orientation(Image image, int orientation) {
  if (orientation <= 1 || orientation > 8 || image.empty()) return image;
  const bool turned = orientation >= 5;  // 5..8 exchange the sides
  Image out(turned ? image.height : image.width, turned ? image.width : image.height);
  for (int y = 0; y < out.height; ++y) {
    uint8_t* to = out.row(y);
    for (int x = 0; x < out.width; ++x) {
      int sx = turned ? y : x;
      int sy = turned ? x : y;
      if (orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8) sx = image.width - 1 - sx;
      if (orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7) sy = image.height - 1 - sy;
      std::memcpy(to + static_cast<size_t>(x) * 3, image.row(sy) + static_cast<size_t>(sx) * 3, 3);
    }
  }
  return out;
}

}  // namespace tenon::vision
