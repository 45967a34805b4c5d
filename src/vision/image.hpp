// Pictures in and out of memory: JPEG and PNG, recognised by their first bytes and never by the file's name.
// A picture is 8-bit RGB, interleaved, rows without padding. Files are untrusted: sizes are limited before
// anything is allocated, a damaged or truncated file is an Error. All functions are pure or touch only the
// named file; any thread may call them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace tenon::vision {

struct Image {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> pixels;  // height x width x 3

  Image() = default;
  /// A picture of one colour. Throws when a side is negative or the picture exceeds kMaxPixels.
  Image(int width, int height, uint8_t value = 0);

  bool empty() const { return width == 0 || height == 0; }
  uint8_t* row(int y) { return pixels.data() + static_cast<size_t>(y) * width * 3; }
  const uint8_t* row(int y) const { return pixels.data() + static_cast<size_t>(y) * width * 3; }
};

inline constexpr int64_t kMaxPixels = 100'000'000;
inline constexpr size_t kMaxImageFileBytes = size_t{256} << 20;

enum class ImageFormat { kUnknown, kJpeg, kPng };

/// Looks at the signature only.
ImageFormat image_format(std::span<const uint8_t> bytes);

/// Decodes JPEG (grey, colour, CMYK; the EXIF orientation is applied) or PNG (any depth; transparency is
/// dropped). `what` names the picture in error messages.
Image decode_image(std::span<const uint8_t> bytes, const std::string& what = "image");
Image load_image(const std::string& path);

std::vector<uint8_t> encode_jpeg(const Image& image, int quality = 92);
std::vector<uint8_t> encode_png(const Image& image);

/// Writes .jpg, .jpeg or .png (by extension) beside the target first and renames, so a reader never sees half
/// a file.
void save_image(const Image& image, const std::string& path, int jpeg_quality = 92);

/// The EXIF orientation (1..8) of a JPEG file, 1 when it has none or it is damaged.
int exif_orientation(std::span<const uint8_t> jpeg);
/// Undoes an EXIF orientation: mirrors and turns so that the picture stands upright.
Image apply_orientation(Image image, int orientation);

/// Reads a whole regular file of at most `limit` bytes.
std::vector<uint8_t> read_file_bytes(const std::string& path, size_t limit);
/// Writes a file under a temporary name in the same folder, then renames it.
void write_file_atomically(const std::string& path, std::span<const uint8_t> bytes);

}  // namespace tenon::vision
