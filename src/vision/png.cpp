#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>

#include "base/error.hpp"
#include "vision/codec.hpp"

namespace tenon::vision {
namespace {

// libpng reports errors by longjmp. Everything with a destructor therefore lives in decode_png, above the
// frame that calls setjmp; read_png itself holds only trivial values.
struct Reader {
  const uint8_t* data;
  size_t size;
  size_t at;
  char reason[160];
};

void on_error(png_structp png, png_const_charp text) {
  auto* reader = static_cast<Reader*>(png_get_error_ptr(png));
  std::strncpy(reader->reason, text, sizeof(reader->reason) - 1);
  png_longjmp(png, 1);
}

void on_warning(png_structp, png_const_charp) {}

void on_read(png_structp png, png_bytep to, size_t count) {
  auto* reader = static_cast<Reader*>(png_get_io_ptr(png));
  if (count > reader->size - reader->at) png_error(png, "the file ends too early");
  std::memcpy(to, reader->data + reader->at, count);
  reader->at += count;
}

/// Asks libpng for 8-bit RGB whatever the file holds. Transparency is dropped, as detectors' own loaders do.
void request_rgb8(png_structp png, png_infop info) {
  png_set_expand(png);
  png_set_scale_16(png);
  png_set_gray_to_rgb(png);
  png_set_strip_alpha(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
}

bool read_header(png_structp png, png_infop info, Reader& reader, png_uint_32& width, png_uint_32& height) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  png_set_read_fn(png, &reader, on_read);
  png_set_user_limits(png, 1u << 30, 1u << 30);
  png_set_chunk_cache_max(png, 64);
  png_set_chunk_malloc_max(png, 8u << 20);
  png_read_info(png, info);
  width = png_get_image_width(png, info);
  height = png_get_image_height(png, info);
  request_rgb8(png, info);
  return true;
}

bool read_rows(png_structp png, uint8_t** rows) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  png_read_image(png, rows);
  png_read_end(png, nullptr);
  return true;
}

struct Decoder {
  png_structp png = nullptr;
  png_infop info = nullptr;
  Decoder() = default;
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
  ~Decoder() { png_destroy_read_struct(&png, &info, nullptr); }
};

}  // namespace

Image decode_png(std::span<const uint8_t> bytes, const std::string& what) {
  Reader reader{bytes.data(), bytes.size(), 0, {}};
  Decoder decoder;
  decoder.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_error, on_warning);
  if (decoder.png != nullptr) decoder.info = png_create_info_struct(decoder.png);
  if (decoder.info == nullptr) fail(Code::kUnavailable, "the PNG decoder cannot be started (out of memory)");
  png_uint_32 width = 0, height = 0;
  if (!read_header(decoder.png, decoder.info, reader, width, height))
    fail(Code::kInvalidArgument, "{} is a damaged or truncated PNG file: {}", what, reader.reason);
  check_image_size(width, height, what);
  TENON_CHECK(png_get_rowbytes(decoder.png, decoder.info) == size_t{width} * 3);
  Image image(static_cast<int>(width), static_cast<int>(height));
  std::vector<uint8_t*> rows(height);
  for (png_uint_32 y = 0; y < height; ++y) rows[y] = image.row(static_cast<int>(y));
  if (!read_rows(decoder.png, rows.data()))
    fail(Code::kInvalidArgument, "{} is a damaged or truncated PNG file: {}", what, reader.reason);
  return image;
}

std::vector<uint8_t> encode_png(const Image& image) {
  expect(!image.empty(), "an empty picture cannot be written");
  png_image header{};
  header.version = PNG_IMAGE_VERSION;
  header.width = static_cast<png_uint_32>(image.width);
  header.height = static_cast<png_uint_32>(image.height);
  header.format = PNG_FORMAT_RGB;
  std::vector<uint8_t> out(PNG_IMAGE_PNG_SIZE_MAX(header));
  png_alloc_size_t size = out.size();
  if (png_image_write_to_memory(&header, out.data(), &size, 0, image.pixels.data(), 0, nullptr) == 0)
    fail(Code::kUnavailable, "writing PNG failed: {}", header.message);
  out.resize(size);
  return out;
}

}  // namespace tenon::vision
