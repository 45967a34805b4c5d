// Pictures of ImageDecoder's own formats, whole, cut short and damaged.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "ops/image_codecs.hpp"

namespace tenon {
namespace {

using File = std::vector<uint8_t>;
using testing::ElementsAre;

void put(File& f, uint32_t v, int bytes) {
  for (int i = 0; i < bytes; ++i) f.push_back(static_cast<uint8_t>(v >> (8 * i)));
}

File text(std::string_view s) { return {s.begin(), s.end()}; }

// 2x2, 24 bits; rows are stored from the bottom and padded to four bytes.
File bmp(int32_t height = 2) {
  File f = text("BM");
  for (uint32_t v : {70u, 0u, 54u, 40u, 2u, static_cast<uint32_t>(height)}) put(f, v, 4);
  put(f, 1, 2), put(f, 24, 2);
  for (uint32_t v : {0u, 16u, 0u, 0u, 0u, 0u}) put(f, v, 4);
  for (uint8_t v : {7, 8, 9, 10, 11, 12, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0}) f.push_back(v);
  return f;
}

// 2x1 RGB in one strip.
File tiff(uint32_t width = 2) {
  File f = text("II*");
  f.push_back(0);
  put(f, 8, 4), put(f, 7, 2);
  struct Field {
    uint32_t tag, type, count, value;
  };
  for (Field x : {Field{256, 4, 1, width},
                  {257, 3, 1, 1},
                  {258, 3, 3, 98},
                  {259, 3, 1, 1},
                  {262, 3, 1, 2},
                  {273, 4, 1, 104},
                  {277, 3, 1, 3}}) {
    put(f, x.tag, 2), put(f, x.type, 2), put(f, x.count, 4), put(f, x.value, 4);
  }
  put(f, 0, 4);
  for (int i = 0; i < 3; ++i) put(f, 8, 2);
  for (uint8_t v : {1, 2, 3, 4, 5, 6}) f.push_back(v);
  return f;
}

TEST(ImageCodecs, ReadsBitmaps) {
  Picture p = decode_picture(bmp());
  EXPECT_EQ(p.width, 2);
  EXPECT_THAT(p.rgb, ElementsAre(3, 2, 1, 6, 5, 4, 9, 8, 7, 12, 11, 10));
  EXPECT_THAT(decode_picture(bmp(-2)).rgb, ElementsAre(9, 8, 7, 12, 11, 10, 3, 2, 1, 6, 5, 4));
}

TEST(ImageCodecs, ReadsPortableMaps) {
  EXPECT_THAT(decode_picture(text("P3 # two\n2 1\n100\n0 50 100 7 8 9")).rgb, ElementsAre(0, 127, 255, 17, 20, 22));
  EXPECT_THAT(decode_picture(text("P5 2 1 255\nAB")).rgb, ElementsAre(65, 65, 65, 66, 66, 66));
}

TEST(ImageCodecs, ReadsTiff) {
  Picture p = decode_picture(tiff());
  EXPECT_EQ(p.height, 1);
  EXPECT_THAT(p.rgb, ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST(ImageCodecs, WhatIsCutShortIsAnError) {
  for (const File& whole : {bmp(), tiff(), text("P6 2 2 255\n123456789012")}) {
    // The last row of a bitmap needs no padding.
    for (size_t n = 0; n + 2 < whole.size(); ++n) EXPECT_THROW(decode_picture({whole.data(), n}), Error) << n;
  }
}

TEST(ImageCodecs, HostileSizesAreRefused) {
  EXPECT_THROW(decode_picture(bmp(INT32_MIN)), Error);
  EXPECT_THROW(decode_picture(bmp(0)), Error);
  EXPECT_THROW(decode_picture(tiff(0x7FFFFFFF)), Error);
  EXPECT_THROW(decode_picture(text("P6 99999999 99999999 255\n")), Error);
  EXPECT_THROW(decode_picture(text("P5 1 1 0\na")), Error);
  EXPECT_THROW(decode_picture(text("GIF89a")), Error);
}

TEST(ImageCodecs, DamageNeverCrashes) {
  for (File f : {bmp(), tiff()}) {
    for (size_t i = 2; i < f.size(); ++i) {
      File damaged = f;
      for (uint8_t v : {0x00, 0x7F, 0x80, 0xFF}) {
        damaged[i] = v;
        try {
          Picture p = decode_picture(damaged);
          EXPECT_EQ(p.rgb.size(), static_cast<size_t>(p.width * p.height * 3));
        } catch (const Error& e) {
          EXPECT_FALSE(e.message().empty());
        }
      }
    }
  }
}

}  // namespace
}  // namespace tenon
