#include "vision/letterbox.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/error.hpp"

namespace tenon::vision {
namespace {

/// Half to even, as Python's round().
int round_even(double value) { return static_cast<int>(std::nearbyint(value)); }

void paste(const Image& part, Image& into, int left, int top) {
  for (int y = 0; y < part.height; ++y)
    std::copy_n(part.row(y), static_cast<size_t>(part.width) * 3, into.row(top + y) + static_cast<size_t>(left) * 3);
}

Fitted letterboxed(const Image& image, const Preprocess& how) {
  double ratio = std::min(static_cast<double>(how.height) / image.height, static_cast<double>(how.width) / image.width);
  if (!how.scale_up) ratio = std::min(ratio, 1.0);
  const bool centred = how.fit == Fit::kLetterbox;
  const auto side = [&](int from, int limit) {
    const double exact = from * ratio;
    return std::clamp(centred ? round_even(exact) : static_cast<int>(exact), 1, limit);
  };
  const int width = side(image.width, how.width);
  const int height = side(image.height, how.height);
  // The 0.1 settles halves: an odd remainder puts the smaller share on the left and on top.
  const int left = centred ? round_even((how.width - width) / 2.0 - 0.1) : 0;
  const int top = centred ? round_even((how.height - height) / 2.0 - 0.1) : 0;
  Fitted out{Image(how.width, how.height, how.fill),
             {ratio, ratio, static_cast<double>(left), static_cast<double>(top), image.width, image.height}};
  paste(resize_bilinear(image, width, height), out.image, left, top);
  return out;
}

Fitted stretched(const Image& image, const Preprocess& how) {
  return {resize_bilinear(image, how.width, how.height),
          {static_cast<double>(how.width) / image.width, static_cast<double>(how.height) / image.height, 0, 0,
           image.width, image.height}};
}

Fitted cropped(const Image& image, const Preprocess& how) {
  expect(how.crop_resize >= std::max(how.width, how.height),
         "the centre {} x {} cannot be cut from a picture whose short side is resized to {}", how.width, how.height,
         how.crop_resize);
  const int short_side = std::min(image.width, image.height);
  const auto resized = [&](int side) {  // int64: long pictures
    return side == short_side ? how.crop_resize : static_cast<int>(int64_t{how.crop_resize} * side / short_side);
  };
  const int width = resized(image.width);
  const int height = resized(image.height);
  const Image scaled = resize_antialiased(image, width, height);
  const int left = round_even((width - how.width) / 2.0);
  const int top = round_even((height - how.height) / 2.0);
  Fitted out{Image(how.width, how.height),
             {static_cast<double>(width) / image.width, static_cast<double>(height) / image.height,
              static_cast<double>(-left), static_cast<double>(-top), image.width, image.height}};
  for (int y = 0; y < how.height; ++y)
    std::copy_n(scaled.row(top + y) + static_cast<size_t>(left) * 3, static_cast<size_t>(how.width) * 3,
                out.image.row(y));
  return out;
}

/// One table a channel: 256 pixels become 256 numbers.
template <class T, class Convert>
std::array<std::array<T, 256>, 3> tables(const Preprocess& how, Convert convert) {
  std::array<std::array<T, 256>, 3> out;
  for (int c = 0; c < 3; ++c)
    for (int p = 0; p < 256; ++p) out[c][p] = convert((p * how.scale - how.mean[c]) / how.std[c]);
  return out;
}

template <class T>
void translate(const Image& image, const Preprocess& how, const std::array<std::array<T, 256>, 3>& table,
               std::byte* out) {
  const size_t count = static_cast<size_t>(image.width) * image.height;
  T* to = reinterpret_cast<T*>(out);
  for (int c = 0; c < 3; ++c) {
    const uint8_t* from = image.pixels.data() + (how.order == ChannelOrder::kRgb ? c : 2 - c);
    const auto& numbers = table[c];
    if (how.layout == Layout::kNchw) {
      T* plane = to + count * c;
      for (size_t i = 0; i < count; ++i) plane[i] = numbers[from[i * 3]];
    } else {
      for (size_t i = 0; i < count; ++i) to[i * 3 + c] = numbers[from[i * 3]];
    }
  }
}

size_t element_bytes(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return 4;
    case DType::kFloat16: return 2;
    case DType::kUInt8: return 1;
    default: break;
  }
  fail(Code::kUnsupported, "pictures can be given as float32, float16 or uint8, not as element type {}",
       static_cast<int>(dtype));
}

}  // namespace

Preprocess imagenet_preprocess(int size) {
  Preprocess how;
  how.width = how.height = size;
  how.fit = Fit::kCropCentre;
  how.crop_resize = static_cast<int>(int64_t{size} * 256 / 224);
  how.mean = {0.485, 0.456, 0.406};
  how.std = {0.229, 0.224, 0.225};
  return how;
}

Fitted fit_image(const Image& image, const Preprocess& how) {
  expect(!image.empty(), "an empty picture cannot be given to a network");
  expect(how.width > 0 && how.height > 0, "a network input of {} x {} pixels makes no sense", how.width, how.height);
  switch (how.fit) {
    case Fit::kLetterbox:
    case Fit::kLetterboxTopLeft: return letterboxed(image, how);
    case Fit::kStretch: return stretched(image, how);
    case Fit::kCropCentre: break;
  }
  return cropped(image, how);
}

size_t tensor_bytes(const Preprocess& how) {
  return element_bytes(how.dtype) * 3 * static_cast<size_t>(how.width) * static_cast<size_t>(how.height);
}

void write_tensor(const Image& fitted, const Preprocess& how, std::span<std::byte> out) {
  expect(fitted.width == how.width && fitted.height == how.height,
         "the picture is {} x {} pixels but the network takes {} x {}; fit it first", fitted.width, fitted.height,
         how.width, how.height);
  expect(out.size() == tensor_bytes(how), "the network's input takes {} bytes, the buffer has {}", tensor_bytes(how),
         out.size());
  for (double s : how.std) expect(s != 0, "a standard deviation of 0 would divide by zero");
  const auto identity = [](double value) { return static_cast<float>(value); };
  switch (how.dtype) {
    case DType::kFloat32: return translate(fitted, how, tables<float>(how, identity), out.data());
    case DType::kFloat16:
      return translate(fitted, how, tables<uint16_t>(how, [](double v) { return to_half(static_cast<float>(v)); }),
                       out.data());
    default: break;
  }
  const bool raw = how.scale == 1 && how.mean == std::array<double, 3>{} && how.std == std::array<double, 3>{1, 1, 1};
  expect(raw, "a uint8 input takes raw pixels: scale, mean and std do not apply");
  translate(fitted, how, tables<uint8_t>(how, [](double v) { return static_cast<uint8_t>(v); }), out.data());
}

Placement preprocess(const Image& image, const Preprocess& how, std::span<std::byte> out) {
  const Fitted fitted = fit_image(image, how);
  write_tensor(fitted.image, how, out);
  return fitted.placement;
}

uint16_t to_half(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;   // NaN
  if (magnitude >= 0x477ff000) return sign | 0x7c00;  // rounds to infinity
  if (magnitude >= 0x38800000) {                      // normal: move the exponent, round 13 bits away
    const uint32_t rounded = magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1);
    return static_cast<uint16_t>(sign | rounded >> 13);
  }
  // Subnormal: adding 0.5 aligns the mantissa to units of 2^-24 and lets the FPU round to even.
  const float aligned = std::bit_cast<float>(magnitude) + 0.5f;
  return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(aligned) - std::bit_cast<uint32_t>(0.5f)));
}

}  // namespace tenon::vision
