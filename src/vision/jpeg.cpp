#include <turbojpeg.h>

#include <cstring>
#include <memory>
#include <optional>

#include "base/error.hpp"
#include "vision/codec.hpp"

namespace tenon::vision {
namespace {

struct CloseJpeg {
  void operator()(void* handle) const { tjDestroy(handle); }
};
using JpegHandle = std::unique_ptr<void, CloseJpeg>;

/// Bounds-checked reads of the little TIFF file inside an EXIF segment.
class Tiff {
 public:
  explicit Tiff(std::span<const uint8_t> bytes) : bytes_(bytes) {
    little_ = bytes.size() >= 2 && bytes[0] == 'I' && bytes[1] == 'I';
    valid_ = bytes.size() >= 8 && (little_ || (bytes[0] == 'M' && bytes[1] == 'M')) && number(2, 2) == 42u;
  }
  bool valid() const { return valid_; }
  std::optional<uint32_t> number(size_t at, int width) const {
    if (at > bytes_.size() || bytes_.size() - at < static_cast<size_t>(width)) return std::nullopt;
    uint32_t value = 0;
    for (int i = 0; i < width; ++i) value = value << 8 | bytes_[at + (little_ ? width - 1 - i : i)];
    return value;
  }

 private:
  std::span<const uint8_t> bytes_;
  bool little_ = false;
  bool valid_ = false;
};

int orientation_of_tiff(const Tiff& tiff) {
  if (!tiff.valid()) return 1;
  const size_t directory = tiff.number(4, 4).value_or(0);
  const uint32_t entries = tiff.number(directory, 2).value_or(0);
  for (uint32_t i = 0; i < entries; ++i) {
    const size_t entry = directory + 2 + size_t{12} * i;
    const auto tag = tiff.number(entry, 2);
    if (!tag) return 1;
    if (*tag != 0x0112) continue;
    const uint32_t value = tiff.number(entry + 8, 2).value_or(1);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

/// Damage that leaves pixels undefined is an error. The one warning that real cameras cause, stray bytes
/// between segments, is not.
void decompress(tjhandle handle, std::span<const uint8_t> bytes, uint8_t* to, int width, int height, int format,
                const std::string& what) {
  const int rc = tjDecompress2(handle, bytes.data(), bytes.size(), to, width, 0, height, format,
                               TJFLAG_LIMITSCANS | TJFLAG_ACCURATEDCT);
  if (rc == 0) return;
  const char* reason = tjGetErrorStr2(handle);
  if (tjGetErrorCode(handle) == TJERR_WARNING && std::strstr(reason, "extraneous bytes") != nullptr) return;
  fail(Code::kInvalidArgument, "{} is a damaged or truncated JPEG file: {}", what, reason);
}

Image decode_cmyk(tjhandle handle, std::span<const uint8_t> bytes, Image image, const std::string& what) {
  std::vector<uint8_t> inks(static_cast<size_t>(image.width) * image.height * 4);
  decompress(handle, bytes, inks.data(), image.width, image.height, TJPF_CMYK, what);
  // Adobe stores inks inverted (255 = no ink), and nobody else writes CMYK JPEG files.
  for (size_t i = 0, n = inks.size() / 4; i < n; ++i)
    for (int c = 0; c < 3; ++c)
      image.pixels[i * 3 + c] = static_cast<uint8_t>((inks[i * 4 + c] * inks[i * 4 + 3] + 127) / 255);
  return image;
}

}  // namespace

int exif_orientation(std::span<const uint8_t> jpeg) {
  if (image_format(jpeg) != ImageFormat::kJpeg) return 1;
  size_t at = 2;
  while (at + 4 <= jpeg.size() && jpeg[at] == 0xff) {
    const uint8_t marker = jpeg[at + 1];
    if (marker == 0xff) {  // fill byte
      ++at;
      continue;
    }
    if (marker == 0xda || marker == 0xd9) return 1;  // the picture begins: no EXIF before it
    const size_t length = static_cast<size_t>(jpeg[at + 2]) << 8 | jpeg[at + 3];
    if (length < 2 || length > jpeg.size() - at - 2) return 1;
    const auto body = jpeg.subspan(at + 4, length - 2);
    if (marker == 0xe1 && body.size() > 6 && std::memcmp(body.data(), "Exif\0\0", 6) == 0)
      return orientation_of_tiff(Tiff(body.subspan(6)));
    at += 2 + length;
  }
  return 1;
}

Image decode_jpeg(std::span<const uint8_t> bytes, const std::string& what) {
  const JpegHandle handle(tjInitDecompress());
  if (!handle) fail(Code::kUnavailable, "the JPEG decoder cannot be started: {}", tjGetErrorStr2(nullptr));
  int width = 0, height = 0, subsampling = 0, colours = 0;
  if (tjDecompressHeader3(handle.get(), bytes.data(), bytes.size(), &width, &height, &subsampling, &colours) != 0)
    fail(Code::kInvalidArgument, "{} is a damaged or truncated JPEG file: {}", what, tjGetErrorStr2(handle.get()));
  check_image_size(width, height, what);
  Image image(width, height);
  if (colours == TJCS_CMYK || colours == TJCS_YCCK)
    image = decode_cmyk(handle.get(), bytes, std::move(image), what);
  else
    decompress(handle.get(), bytes, image.pixels.data(), width, height, TJPF_RGB, what);
  return apply_orientation(std::move(image), exif_orientation(bytes));
}

std::vector<uint8_t> encode_jpeg(const Image& image, int quality) {
  expect(!image.empty(), "an empty picture cannot be written");
  expect(quality >= 1 && quality <= 100, "JPEG quality {} is outside 1..100", quality);
  expect(image.width <= 65500 && image.height <= 65500,
         "a picture of {} x {} pixels does not fit a JPEG file (65500 a side); write PNG", image.width, image.height);
  const JpegHandle handle(tjInitCompress());
  if (!handle) fail(Code::kUnavailable, "the JPEG encoder cannot be started: {}", tjGetErrorStr2(nullptr));
  unsigned char* data = nullptr;
  unsigned long size = 0;
  const int rc = tjCompress2(handle.get(), image.pixels.data(), image.width, 0, image.height, TJPF_RGB, &data, &size,
                             quality >= 90 ? TJSAMP_444 : TJSAMP_420, quality, TJFLAG_ACCURATEDCT);
  const std::unique_ptr<unsigned char, decltype(&tjFree)> owner(data, tjFree);
  if (rc != 0) fail(Code::kUnavailable, "writing JPEG failed: {}", tjGetErrorStr2(handle.get()));
  return {data, data + size};
}

}  // namespace tenon::vision
