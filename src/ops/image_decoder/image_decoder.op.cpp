// ImageDecoder: the pixels of a picture's file.
#include "ops/image_codecs.hpp"
#include "ops/support.hpp"

namespace tenon {
namespace {

enum class Pixels { kRgb, kBgr, kGrey };

template <class Context>
Pixels pixels_of(const Context& ctx) {
  std::string format = ctx.attrs().string("pixel_format", "RGB");
  ctx.require(format == "RGB" || format == "BGR" || format == "Grayscale",
              "pixel_format '{}' is not known (RGB, BGR and Grayscale are)", format);
  return format == "RGB" ? Pixels::kRgb : format == "BGR" ? Pixels::kBgr : Pixels::kGrey;
}

void infer(InferContext& ctx) {
  Dim channels(pixels_of(ctx) == Pixels::kGrey ? 1 : 3);
  ctx.output(0, DType::kUInt8, Shape{ctx.unknown(0, 0), ctx.unknown(0, 1), channels});
}

void image_decoder(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  Pixels pixels = pixels_of(ctx);
  ctx.require(x.rank() == 1 && x.dtype() == DType::kUInt8, "a file must be uint8 of one axis, not {} of shape {}",
              name(x.dtype()), dims_text(x.dims()));
  Picture p = decode_picture({x.data<uint8_t>(), static_cast<size_t>(x.size())});
  Tensor& out = make_output(ctx, 0, DType::kUInt8, {p.height, p.width, pixels == Pixels::kGrey ? 1 : 3});
  auto* to = out.mutable_data<uint8_t>();
  for (size_t i = 0; i < p.rgb.size(); i += 3) {
    unsigned r = p.rgb[i], g = p.rgb[i + 1], b = p.rgb[i + 2];
    if (pixels == Pixels::kGrey) {
      // The luma of BT.601 in 16 bits of fraction.
      *to++ = static_cast<uint8_t>((19595 * r + 38470 * g + 7471 * b + 32768) >> 16);
      continue;
    }
    *to++ = static_cast<uint8_t>(pixels == Pixels::kRgb ? r : b);
    *to++ = static_cast<uint8_t>(g);
    *to++ = static_cast<uint8_t>(pixels == Pixels::kRgb ? b : r);
  }
}

}  // namespace

void define_image_decoder_ops(OpTable& table) {
  table.add({.name = "ImageDecoder",
             .doc = "The pixels of a picture's file: JPEG, PNG, WebP, BMP, TIFF or PNM.",
             .infer = infer,
             .reference = image_decoder,
             .data_shapes = true,
             .attrs = {"pixel_format"}});
}

}  // namespace tenon
