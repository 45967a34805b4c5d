#include "vision/letterbox.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "base/error.hpp"

namespace tenon::vision {
namespace {

Image pattern(int width, int height) {
  Image image(width, height);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < 3; ++c) image.row(y)[x * 3 + c] = static_cast<uint8_t>(x * 37 + y * 91 + c * 53 + x * y * 7);
  return image;
}

uint64_t fnv(const Image& image) {
  uint64_t hash = 1469598103934665603u;
  for (uint8_t byte : image.pixels) hash = (hash ^ byte) * 1099511628211u;
  return hash;
}

// The hashes are those of OpenCV 5.0's resize (INTER_LINEAR) and Pillow 13's BILINEAR on the same pattern.
TEST(Resize, EqualsOpenCv) {
  EXPECT_EQ(fnv(resize_bilinear(pattern(23, 17), 10, 13)), 0xc2549d927b800a5fu);
  EXPECT_EQ(fnv(resize_bilinear(pattern(64, 48), 32, 24)), 0xeca515e9c58731c3u);
  EXPECT_EQ(fnv(resize_bilinear(pattern(7, 5), 100, 3)), 0x0b14bce6510d7c2bu);
}

TEST(Resize, EqualsPillow) {
  EXPECT_EQ(fnv(resize_antialiased(pattern(23, 17), 10, 13)), 0xf10eff9538495560u);
  EXPECT_EQ(fnv(resize_antialiased(pattern(50, 40), 31, 64)), 0x8acfda1de17dedc2u);
  EXPECT_EQ(fnv(resize_antialiased(pattern(64, 48), 32, 24)), 0x27178c3b5d3d0c96u);
}

TEST(Resize, SameSizeAndOnePixel) {
  EXPECT_EQ(resize_bilinear(pattern(9, 4), 9, 4).pixels, pattern(9, 4).pixels);
  EXPECT_EQ(resize_antialiased(pattern(9, 4), 9, 4).pixels, pattern(9, 4).pixels);
  Image one(1, 1, 77);
  EXPECT_EQ(resize_bilinear(one, 5, 6).pixels, Image(5, 6, 77).pixels);
  EXPECT_EQ(resize_antialiased(one, 5, 6).pixels, Image(5, 6, 77).pixels);
  EXPECT_EQ(resize_antialiased(Image(300, 200, 255), 3, 2).pixels, Image(3, 2, 255).pixels);
  EXPECT_THROW(resize_bilinear(one, 0, 4), Error);
  EXPECT_THROW(resize_bilinear(Image(), 4, 4), Error);
}

Preprocess sized(int width, int height, Fit fit = Fit::kLetterbox) {
  Preprocess how;
  how.width = width;
  how.height = height;
  how.fit = fit;
  return how;
}

TEST(Letterbox, EqualsTheReferencePipeline) {
  const Fitted wide = fit_image(pattern(101, 67), sized(64, 64));
  EXPECT_EQ(fnv(wide.image), 0xc1d0efe6a15a2cfbu);
  EXPECT_DOUBLE_EQ(wide.placement.scale_x, 64.0 / 101);
  EXPECT_EQ(wide.placement.offset_y, 11);
  const Fitted tall = fit_image(pattern(67, 101), sized(96, 64));
  EXPECT_EQ(fnv(tall.image), 0xb1d70a6af4051041u);
  EXPECT_EQ(tall.placement.offset_x, 27);
}

TEST(Letterbox, OddRemainderPutsTheSmallerShareFirst) {
  const Fitted fitted = fit_image(Image(100, 63, 255), sized(100, 100));  // 37 rows to fill
  EXPECT_EQ(fitted.placement.offset_y, 18);
  EXPECT_EQ(fitted.image.row(17)[0], 114);
  EXPECT_EQ(fitted.image.row(18)[0], 255);
  EXPECT_EQ(fitted.image.row(80)[0], 255);
  EXPECT_EQ(fitted.image.row(81)[0], 114);
}

TEST(Letterbox, HalvesRoundToEven) {
  // 125 * 0.5 = 62.5 -> 62, 127 * 0.5 = 63.5 -> 64, as Python's round().
  EXPECT_EQ(fit_image(Image(200, 125), sized(100, 100)).placement.offset_y, 19);
  EXPECT_EQ(fit_image(Image(200, 127), sized(100, 100)).placement.offset_y, 18);
}

TEST(Letterbox, TopLeftTruncates) {
  const Fitted fitted = fit_image(Image(200, 127, 9), sized(100, 100, Fit::kLetterboxTopLeft));
  EXPECT_EQ(fitted.placement.offset_y, 0);
  EXPECT_EQ(fitted.image.row(62)[0], 9);
  EXPECT_EQ(fitted.image.row(63)[0], 114);
}

TEST(Letterbox, EnlargesOnlyWhenAllowed) {
  Preprocess how = sized(100, 100);
  EXPECT_DOUBLE_EQ(fit_image(Image(50, 50), how).placement.scale_x, 2);
  how.scale_up = false;
  const Fitted fitted = fit_image(Image(50, 50), how);
  EXPECT_DOUBLE_EQ(fitted.placement.scale_x, 1);
  EXPECT_EQ(fitted.placement.offset_x, 25);
}

TEST(Letterbox, ThinPicturesKeepAtLeastOneRow) {
  const Fitted fitted = fit_image(Image(10'000, 1, 200), sized(100, 100));
  EXPECT_EQ(fitted.image.width, 100);
  EXPECT_EQ(fitted.image.row(49)[0], 200);
}

TEST(Letterbox, PlacementIsTheInverse) {
  for (Fit fit : {Fit::kLetterbox, Fit::kLetterboxTopLeft, Fit::kStretch}) {
    const Placement p = fit_image(Image(810, 1080), sized(640, 480, fit)).placement;
    EXPECT_NEAR(p.x_to_image(static_cast<float>(123 * p.scale_x + p.offset_x)), 123, 1e-3);
    EXPECT_NEAR(p.y_to_image(static_cast<float>(1000 * p.scale_y + p.offset_y)), 1000, 1e-3);
  }
}

TEST(CropCentre, EqualsTheReferencePipeline) {
  const Fitted fitted = fit_image(pattern(301, 277), imagenet_preprocess());
  EXPECT_EQ(fnv(fitted.image), 0x7606003b147a84a9u);
  EXPECT_EQ(fitted.placement.offset_x, -27);
  EXPECT_EQ(fitted.placement.offset_y, -16);
  Preprocess bad = imagenet_preprocess();
  bad.crop_resize = 200;
  EXPECT_THROW(fit_image(pattern(301, 277), bad), Error);
}

std::vector<std::byte> tensor_of(const Image& image, const Preprocess& how) {
  std::vector<std::byte> out(tensor_bytes(how));
  write_tensor(image, how, out);
  return out;
}

TEST(WriteTensor, OrderLayoutAndNumbers) {
  Image image(2, 1);
  image.pixels = {10, 20, 30, 40, 50, 60};
  Preprocess how = sized(2, 1);
  how.scale = 0.5;
  how.mean = {1, 2, 3};
  how.std = {1, 2, 4};
  const auto floats = [&] {
    const auto bytes = tensor_of(image, how);
    std::vector<float> out(bytes.size() / 4);
    std::memcpy(out.data(), bytes.data(), bytes.size());
    return out;
  };
  EXPECT_EQ(floats(), (std::vector<float>{4, 19, 4, 11.5f, 3, 6.75f}));
  how.layout = Layout::kNhwc;
  EXPECT_EQ(floats(), (std::vector<float>{4, 4, 3, 19, 11.5f, 6.75f}));
  how.order = ChannelOrder::kBgr;
  EXPECT_EQ(floats(), (std::vector<float>{14, 4, 0.5f, 29, 11.5f, 4.25f}));
}

TEST(WriteTensor, OtherTypes) {
  Image image(1, 1);
  image.pixels = {255, 0, 51};
  Preprocess how = sized(1, 1);
  how.dtype = DType::kFloat16;
  const auto half = tensor_of(image, how);
  uint16_t values[3];
  ASSERT_EQ(half.size(), sizeof(values));
  std::memcpy(values, half.data(), sizeof(values));
  EXPECT_EQ(values[0], 0x3c00);
  EXPECT_EQ(values[1], 0);
  EXPECT_EQ(values[2], 0x3266);  // 0.2
  how.dtype = DType::kUInt8;
  EXPECT_THROW(tensor_of(image, how), Error) << "raw pixels take no scale";
  how.scale = 1;
  EXPECT_EQ(std::to_integer<int>(tensor_of(image, how)[0]), 255);
  how.dtype = DType::kInt64;
  EXPECT_THROW(tensor_bytes(how), Error);
}

TEST(WriteTensor, RefusesWrongSizes) {
  Preprocess how = sized(2, 2);
  std::vector<std::byte> out(tensor_bytes(how));
  EXPECT_THROW(write_tensor(Image(3, 2), how, out), Error);
  out.pop_back();
  EXPECT_THROW(write_tensor(Image(2, 2), how, out), Error);
  how.std[1] = 0;
  out.resize(tensor_bytes(how));
  EXPECT_THROW(write_tensor(Image(2, 2), how, out), Error);
}

TEST(ToHalf, RoundsToNearestEven) {
  EXPECT_EQ(to_half(0.f), 0);
  EXPECT_EQ(to_half(-0.f), 0x8000);
  EXPECT_EQ(to_half(1.f), 0x3c00);
  EXPECT_EQ(to_half(-2.f), 0xc000);
  EXPECT_EQ(to_half(65504.f), 0x7bff);
  EXPECT_EQ(to_half(65519.f), 0x7bff);
  EXPECT_EQ(to_half(65520.f), 0x7c00);
  EXPECT_EQ(to_half(std::numeric_limits<float>::infinity()), 0x7c00);
  EXPECT_EQ(to_half(std::numeric_limits<float>::quiet_NaN()) & 0x7fff, 0x7e00);
  EXPECT_EQ(to_half(2049.f), 0x6800);         // between 2048 and 2050: to even
  EXPECT_EQ(to_half(2051.f), 0x6802);         // between 2050 and 2052: to even
  EXPECT_EQ(to_half(5.9604645e-8f), 0x0001);  // the smallest subnormal
  EXPECT_EQ(to_half(2.9802322e-8f), 0x0000);  // half of it: to even
  EXPECT_EQ(to_half(6.1035156e-5f), 0x0400);  // the smallest normal
}

}  // namespace
}  // namespace tenon::vision
