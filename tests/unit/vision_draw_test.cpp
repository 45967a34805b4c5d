#include "vision/draw.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "vision/font.hpp"

namespace tenon::vision {
namespace {

int changed(const Image& image, uint8_t from) {
  int count = 0;
  for (size_t i = 0; i < image.pixels.size(); i += 3) count += image.pixels[i] != from;
  return count;
}

TEST(Font, EveryCharacterIsThereAndDiffers) {
  std::set<std::string> seen;
  for (char c = 33; c < 127; ++c) {
    Image image(60, 60, 255);
    draw_text(image, 10, 10, 24, std::string(1, c), {0, 0, 0});
    EXPECT_GT(changed(image, 255), 8) << c;
    EXPECT_TRUE(seen.emplace(image.pixels.begin(), image.pixels.end()).second) << c << " looks like another character";
    for (int x = 0; x < 60; ++x) EXPECT_EQ(image.row(0)[x * 3], 255) << c << " leaves its line";
    for (const Stroke& stroke : glyph(c).strokes) {
      EXPECT_EQ(stroke.x.size(), stroke.y.size());
      for (double y : stroke.y) EXPECT_TRUE(y >= 0 && y <= kCapitalHeight + kDescent) << c;
      for (double x : stroke.x) EXPECT_TRUE(x >= 0 && x < glyph(c).advance) << c;
    }
  }
  Image blank(60, 60, 255);
  draw_text(blank, 10, 10, 24, " ", {0, 0, 0});
  EXPECT_EQ(changed(blank, 255), 0);
}

TEST(Font, OtherBytesAreQuestionMarks) {
  EXPECT_EQ(&glyph('\n'), &glyph('?'));
  EXPECT_EQ(&glyph(static_cast<char>(0xe9)), &glyph('?'));
  EXPECT_GT(text_width(16, "WW"), text_width(16, "ii"));
  EXPECT_EQ(text_width(16, ""), 0);
}

TEST(Draw, BoxIsAnOutline) {
  Image image(100, 80);
  draw_box(image, 20, 20, 80, 60, 4, {255, 255, 255});
  EXPECT_EQ(image.row(20)[50 * 3], 255);  // top
  EXPECT_EQ(image.row(59)[50 * 3], 255);  // bottom
  EXPECT_EQ(image.row(40)[20 * 3], 255);  // left
  EXPECT_EQ(image.row(40)[79 * 3], 255);  // right
  EXPECT_EQ(image.row(40)[50 * 3], 0);    // inside
  EXPECT_EQ(image.row(10)[50 * 3], 0);    // outside
}

TEST(Draw, StripsOfABoxDoNotOverlap) {
  // Half covered pixels would be darker where strips met.
  Image image(60, 60, 0), tiny(60, 60, 0);
  draw_box(image, 10.5, 10.5, 50.5, 50.5, 2, {200, 200, 200});
  for (int y = 20; y < 40; ++y) EXPECT_EQ(image.row(y)[9 * 3], image.row(20)[9 * 3]);
  for (int x = 20; x < 40; ++x) EXPECT_EQ(image.row(10)[x * 3], image.row(10)[20 * 3]);
  draw_box(tiny, 30, 30, 30.5, 30.5, 3, {200, 200, 200});
  EXPECT_GT(changed(tiny, 0), 0);
}

TEST(Draw, NothingLeavesThePicture) {
  Image image(30, 20, 50);
  const Colour red = {255, 0, 0};
  draw_box(image, -1000, -1000, 1000, 1000, 3, red);
  EXPECT_EQ(changed(image, 50), 0);
  draw_dot(image, std::nan(""), 5, 5, red);
  draw_box(image, 1, std::nan(""), 15, 10, 3, red);
  EXPECT_EQ(changed(image, 50), 0);
  draw_box(image, -5, -5, 15, 10, 3, red);
  fill_box(image, 25, 15, 1e6, 1e6, 3, red);
  draw_dot(image, -3, -3, 5, red);
  draw_line(image, {-1e5f, 5.5f}, {1e5f, 5.5f}, 1, red);
  draw_text(image, -20, -5, 14, "outside on all sides", red);
  EXPECT_EQ(image.row(5)[3 * 20], 255);
}

TEST(Draw, MaskColoursOnlyTheObject) {
  auto mask = std::make_shared<Mask>();
  mask->width = 2;
  mask->height = 1;
  mask->logits = {1, -1};
  mask->scale_x = 2.0 / 40;
  mask->scale_y = 1.0 / 20;
  Detection d;
  d.x1 = 40;
  d.y1 = 20;
  d.mask = mask;
  Image image(40, 20, 100);
  draw_mask(image, d, {255, 255, 255}, 0.5);
  EXPECT_EQ(image.row(10)[5 * 3], 178);
  EXPECT_EQ(image.row(10)[35 * 3], 100);
}

TEST(Draw, DetectionsOfAnyShapeAndPlace) {
  Detector detector;
  detector.names = {"a", "", "long name that does not fit the picture at all"};
  std::vector<Detection> found(4);
  found[0] = {0, 0, 5, 5, 0.9f, 0, {{2, 2}}, nullptr};
  found[1] = {90, 50, 100, 60, 0.5f, 1, {}, nullptr};
  found[2] = {40, 58, 100, 60, 0.5f, 2, {}, nullptr};
  found[3] = {50, 20, 50, 20, 0.5f, 2'000'000'000, {}, nullptr};
  Image image(100, 60, 10);
  draw_detections(image, found, detector);
  EXPECT_GT(changed(image, 10), 200);
  Image plain(100, 60, 10);
  DrawOptions options;
  options.labels = false;
  draw_detections(plain, found, detector, options);
  EXPECT_LT(changed(plain, 10), changed(image, 10));
}

TEST(Draw, NeighbouringClassesDiffer) {
  for (int id = 0; id < 79; ++id) {
    const Colour a = class_colour(id), b = class_colour(id + 1);
    EXPECT_GT(std::abs(a[0] - b[0]) + std::abs(a[1] - b[1]) + std::abs(a[2] - b[2]), 60) << id;
  }
}

}  // namespace
}  // namespace tenon::vision
