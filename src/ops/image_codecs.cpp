#include "ops/image_codecs.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <memory>
#include <optional>
#include <string_view>

#include "base/error.hpp"

namespace tenon {
namespace {

using Bytes = std::span<const uint8_t>;
constexpr int64_t kMaxPixels = int64_t{1} << 28;

// `needed`: bytes a pixel that the file must have, where it is not compressed; so that no memory is asked for in vain.
Picture blank(int64_t width, int64_t height, Bytes file = {}, int64_t needed = 0) {
  expect(width >= 1 && height >= 1 && width <= kMaxPixels && height <= kMaxPixels / width,
         "a picture of {}x{} pixels cannot be decoded", width, height);
  expect(width * height * needed <= static_cast<int64_t>(file.size()), "the picture's file ends too early");
  return {width, height, std::vector<uint8_t>(static_cast<size_t>(width * height * 3))};
}

// Little- or big-endian numbers at checked places.
class Reader {
 public:
  Reader(Bytes bytes, bool big) : bytes_(bytes), big_(big) {}
  uint32_t number(size_t at, size_t width) const {
    Bytes b = part(at, width);
    uint32_t out = 0;
    for (size_t i = 0; i < width; ++i) out |= static_cast<uint32_t>(b[big_ ? width - 1 - i : i]) << (8 * i);
    return out;
  }
  uint32_t u16(size_t at) const { return number(at, 2); }
  uint32_t u32(size_t at) const { return number(at, 4); }
  Bytes part(size_t at, size_t size) const {
    expect(at <= bytes_.size() && size <= bytes_.size() - at, "the picture's file ends too early");
    return bytes_.subspan(at, size);
  }

 private:
  Bytes bytes_;
  bool big_;
};

// --- BMP -----------------------------------------------------------------------------------------------------------

Picture decode_bmp(Bytes bytes) {
  Reader in(bytes, false);
  size_t header = in.u32(14), data = in.u32(10);
  auto width = static_cast<int32_t>(in.u32(18)), height = static_cast<int32_t>(in.u32(22));
  uint32_t depth = in.u16(28), compression = in.u32(30);
  expect(header >= 40, "a BMP file of this old kind cannot be read");
  bool masks = compression == 3 && depth == 32;  // in practice always blue, green, red, unused
  if ((compression != 0 && !masks) || (depth != 8 && depth != 24 && depth != 32))
    fail(Code::kUnsupported, "a BMP file with {} bits a pixel and compression {} cannot be read", depth, compression);
  bool upward = height > 0;
  Picture out = blank(width, std::abs(static_cast<int64_t>(height)), bytes, depth / 8);
  size_t row = (static_cast<size_t>(out.width) * depth / 8 + 3) & ~size_t{3};
  for (int64_t y = 0; y < out.height; ++y) {
    auto from = static_cast<size_t>(upward ? out.height - 1 - y : y);
    Bytes line = in.part(data + from * row, static_cast<size_t>(out.width) * depth / 8);
    uint8_t* to = out.rgb.data() + y * out.width * 3;
    for (size_t x = 0; x < static_cast<size_t>(out.width); ++x, to += 3) {
      Bytes pixel = depth == 8 ? in.part(14 + header + size_t{4} * line[x], 3) : line.subspan(x * depth / 8, 3);
      to[0] = pixel[2], to[1] = pixel[1], to[2] = pixel[0];
    }
  }
  return out;
}

// --- PNM -----------------------------------------------------------------------------------------------------------

// Numbers parted by white space and comments.
int64_t pnm_number(Bytes bytes, size_t& at) {
  auto more = [&] { return at < bytes.size(); };
  auto space = [&] { return bytes[at] == ' ' || (bytes[at] >= '\t' && bytes[at] <= '\r'); };
  while (more() && (space() || bytes[at] == '#')) {
    if (bytes[at] == '#') {
      while (more() && bytes[at] != '\n') ++at;
    } else {
      ++at;
    }
  }
  int64_t out = 0;
  size_t from = at;
  while (more() && bytes[at] >= '0' && bytes[at] <= '9' && out < kMaxPixels) out = out * 10 + (bytes[at++] - '0');
  expect(at > from, "a number is missing in the picture's PNM file");
  return out;
}

Picture decode_pnm(Bytes bytes) {
  bool text = bytes[1] <= '3', grey = bytes[1] == '2' || bytes[1] == '5';
  size_t at = 2;
  int64_t width = pnm_number(bytes, at), height = pnm_number(bytes, at), top = pnm_number(bytes, at);
  expect(top >= 1 && top <= 65535, "a PNM file with values up to {} cannot be read", top);
  Picture out = blank(width, height, bytes, 1);
  size_t samples = out.rgb.size() / (grey ? 3 : 1), size = top > 255 ? 2 : 1;
  if (!text) ++at;  // one white space
  Bytes data = text ? bytes : Reader(bytes, true).part(at, samples * size);
  for (size_t i = 0; i < samples; ++i) {
    int64_t v = text ? pnm_number(bytes, at) : size == 2 ? data[2 * i] * 256 + data[2 * i + 1] : data[i];
    auto byte = static_cast<uint8_t>(top == 255 ? std::min<int64_t>(v, 255) : std::min(v, top) * 255 / top);
    if (grey) {
      std::fill_n(out.rgb.data() + 3 * i, 3, byte);
    } else {
      out.rgb[i] = byte;
    }
  }
  return out;
}

// --- TIFF ----------------------------------------------------------------------------------------------------------

struct TiffField {
  size_t type = 0, count = 0, at = 0;  // at: of the values
};

class Tiff {
 public:
  explicit Tiff(Bytes bytes) : in_(bytes, bytes[0] == 'M') {
    size_t at = in_.u32(4), entries = in_.u16(at);
    for (size_t i = 0; i < entries; ++i) {
      size_t entry = at + 2 + 12 * i, type = in_.u16(entry + 2), count = in_.u32(entry + 4);
      size_t width = type == 3 ? 2 : type == 4 ? 4 : 1;
      size_t tag = in_.u16(entry), offset = count * width <= 4 ? entry + 8 : in_.u32(entry + 8);
      if (tag < std::size(fields_)) fields_[tag] = {type, count, offset};
    }
  }
  uint32_t value(size_t tag, size_t i, uint32_t otherwise) const {
    const TiffField& f = fields_[tag];
    if (f.count == 0) return otherwise;
    expect(i < f.count && (f.type == 3 || f.type == 4), "a field of the picture's TIFF file is damaged");
    return f.type == 3 ? in_.u16(f.at + 2 * i) : in_.u32(f.at + 4 * i);
  }
  size_t count(size_t tag) const { return fields_[tag].count; }
  Bytes part(size_t at, size_t size) const { return in_.part(at, size); }

 private:
  Reader in_;
  TiffField fields_[512];
};

Picture decode_tiff(Bytes bytes) {
  enum {
    kWidth = 256,
    kHeight,
    kBits,
    kCompression,
    kPhotometric = 262,
    kOffsets = 273,
    kSamples = 277,
    kRows,
    kPlanar = 284
  };
  Tiff in(bytes);
  size_t samples = in.value(kSamples, 0, 1), photometric = in.value(kPhotometric, 0, 1);
  bool plain = in.value(kCompression, 0, 1) == 1 && in.value(kBits, 0, 1) == 8 && in.value(kPlanar, 0, 1) == 1 &&
               in.count(kOffsets) > 0;
  bool colours = photometric == 2 && samples >= 3 && samples <= 4,
       greys = photometric <= 1 && samples >= 1 && samples <= 2;
  if (!plain || (!colours && !greys))
    fail(Code::kUnsupported, "only TIFF files without compression, of 8 bits grey or RGB, in strips, can be read");
  Picture out = blank(in.value(kWidth, 0, 0), in.value(kHeight, 0, 0), bytes, 1);
  auto rows = static_cast<int64_t>(std::max<uint32_t>(1, in.value(kRows, 0, 0xFFFFFFFF)));
  size_t line = static_cast<size_t>(out.width) * samples;
  for (int64_t y = 0; y < out.height; ++y) {
    size_t strip = in.value(kOffsets, static_cast<size_t>(y / rows), 0);
    Bytes from = in.part(strip + static_cast<size_t>(y % rows) * line, line);
    uint8_t* to = out.rgb.data() + y * out.width * 3;
    for (size_t x = 0; x < static_cast<size_t>(out.width) * 3; ++x) {
      uint8_t v = from[x / 3 * samples + (colours ? x % 3 : 0)];
      to[x] = photometric == 0 ? static_cast<uint8_t>(255 - v) : v;
    }
  }
  return out;
}

// --- libraries -----------------------------------------------------------------------------------------------------

// A shared library that stays loaded, or none.
class Library {
 public:
  Library(const char* file, const char* format, const char* package) : file_(file), format_(format), package_(package) {
    handle_ = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  }
  template <class F>
  F* function(const char* name) const {
    void* found = handle_ != nullptr ? dlsym(handle_, name) : nullptr;
    if (found == nullptr)
      fail(Code::kUnavailable, "{} pictures need {}, which is not installed (Debian: apt install {})", format_, file_,
           package_);
    return reinterpret_cast<F*>(found);
  }

 private:
  const char *file_, *format_, *package_;
  void* handle_ = nullptr;
};

Picture decode_jpeg(Bytes bytes) {
  static const Library library("libturbojpeg.so.0", "JPEG", "libturbojpeg0");
  auto* init = library.function<void*()>("tjInitDecompress");
  auto* destroy = library.function<int(void*)>("tjDestroy");
  auto* header =
      library.function<int(void*, const uint8_t*, unsigned long, int*, int*, int*, int*)>("tjDecompressHeader3");
  auto* decompress =
      library.function<int(void*, const uint8_t*, unsigned long, uint8_t*, int, int, int, int, int)>("tjDecompress2");
  std::unique_ptr<void, int (*)(void*)> handle(init(), destroy);
  expect(handle != nullptr, "the JPEG decoder cannot be started");
  int width = 0, height = 0, sampling = 0, colours = 0;
  expect(header(handle.get(), bytes.data(), bytes.size(), &width, &height, &sampling, &colours) == 0,
         "the picture is a damaged JPEG file");
  if (colours >= 3) fail(Code::kUnsupported, "JPEG pictures in CMYK cannot be decoded");
  Picture out = blank(width, height);
  constexpr int kRgb = 0;
  expect(decompress(handle.get(), bytes.data(), bytes.size(), out.rgb.data(), width, 0, height, kRgb, 0) == 0,
         "the picture is a damaged JPEG file");
  return out;
}

// libpng's png_image: its simple interface, the same since 1.6.0.
struct PngImage {
  void* opaque = nullptr;
  uint32_t version = 1, width = 0, height = 0, format = 0, flags = 0, colours = 0, problem = 0;
  char message[64] = {};
};

Picture decode_png(Bytes bytes) {
  static const Library library("libpng16.so.16", "PNG", "libpng16-16");
  auto* begin = library.function<int(PngImage*, const void*, size_t)>("png_image_begin_read_from_memory");
  auto* finish = library.function<int(PngImage*, const void*, void*, int32_t, void*)>("png_image_finish_read");
  auto* release = library.function<void(PngImage*)>("png_image_free");
  PngImage image;
  std::unique_ptr<PngImage, void (*)(PngImage*)> owner(&image, release);
  expect(begin(&image, bytes.data(), bytes.size()) != 0, "the picture is a damaged PNG file: {}", image.message);
  Picture out = blank(image.width, image.height);
  constexpr uint32_t kRgba = 3;
  image.format = kRgba;
  std::vector<uint8_t> rgba(out.rgb.size() / 3 * 4);
  expect(finish(&image, nullptr, rgba.data(), 0, nullptr) != 0, "the picture is a damaged PNG file: {}", image.message);
  for (size_t i = 0; i < rgba.size() / 4; ++i) std::copy_n(rgba.data() + 4 * i, 3, out.rgb.data() + 3 * i);
  return out;
}

Picture decode_webp(Bytes bytes) {
  static const Library library("libwebp.so.7", "WebP", "libwebp7");
  auto* info = library.function<int(const uint8_t*, size_t, int*, int*)>("WebPGetInfo");
  auto* decode = library.function<uint8_t*(const uint8_t*, size_t, uint8_t*, size_t, int)>("WebPDecodeRGBInto");
  int width = 0, height = 0;
  expect(info(bytes.data(), bytes.size(), &width, &height) != 0, "the picture is a damaged WebP file");
  Picture out = blank(width, height);
  expect(decode(bytes.data(), bytes.size(), out.rgb.data(), out.rgb.size(), width * 3) != nullptr,
         "the picture is a damaged WebP file");
  return out;
}

}  // namespace

Picture decode_picture(Bytes bytes) {
  auto begins = [&](std::string_view magic, size_t at = 0) {
    return bytes.size() >= at + magic.size() && std::memcmp(bytes.data() + at, magic.data(), magic.size()) == 0;
  };
  if (begins("\xFF\xD8\xFF")) return decode_jpeg(bytes);
  if (begins("\x89PNG")) return decode_png(bytes);
  if (begins("RIFF") && begins("WEBP", 8)) return decode_webp(bytes);
  if (begins("BM")) return decode_bmp(bytes);
  if (begins("II*") || begins("MM")) return decode_tiff(bytes);
  if (begins("P2") || begins("P3") || begins("P5") || begins("P6")) return decode_pnm(bytes);
  if (begins("\xFFO\xFFQ") || begins("jP  ", 4)) fail(Code::kUnsupported, "JPEG 2000 pictures cannot be decoded");
  fail(Code::kInvalidArgument, "the bytes are no picture that is known (JPEG, PNG, WebP, BMP, TIFF and PNM are)");
}

}  // namespace tenon
