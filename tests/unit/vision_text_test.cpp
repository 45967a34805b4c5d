#include "vision/text.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.hpp"
#include "vision/ctc.hpp"

namespace tenon::vision {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <class Action>
std::string error_of(Action action) {
  try {
    action();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

// ---- CTC ----

/// One line of steps; each step's class gets 0.8, the others share the rest.
std::vector<float> steps_of(const std::vector<int>& best, int classes) {
  std::vector<float> out;
  for (int b : best)
    for (int c = 0; c < classes; ++c) out.push_back(c == b ? 0.8f : 0.2f / static_cast<float>(classes - 1));
  return out;
}

TEST(Ctc, RepeatsCollapseAndBlanksSeparate) {
  const auto alphabet = make_alphabet({"a", "b", "\xc3\xa9"}, 5);
  EXPECT_THAT(alphabet, ElementsAre("", "a", "b", "\xc3\xa9", " "));
  const auto data = steps_of({0, 1, 1, 0, 1, 2, 4, 3, 0, 0}, 5);
  const Reading r = read_ctc({"o", {1, 10, 5}, data}, alphabet);
  EXPECT_EQ(r.text, "aab \xc3\xa9");
  EXPECT_FLOAT_EQ(r.score, 0.8f);
  const auto nothing = steps_of({0, 0}, 5);
  EXPECT_EQ(read_ctc({"o", {1, 2, 5}, nothing}, alphabet).text, "");
  EXPECT_EQ(read_ctc({"o", {1, 0, 5}, {}}, alphabet).score, 0);
}

TEST(Ctc, BatchesAndShapes) {
  const auto alphabet = make_alphabet({"a", "b"}, 3);
  const auto data = steps_of({1, 0, 2, 2}, 3);
  EXPECT_EQ(read_ctc({"o", {2, 2, 3}, data}, alphabet, 1).text, "b");
  EXPECT_THROW(read_ctc({"o", {2, 2, 3}, data}, alphabet, 2), Error);
  EXPECT_THROW(read_ctc({"o", {2, 3, 3}, data}, alphabet), Error);
  EXPECT_THROW(read_ctc({"o", {4, 3}, data}, alphabet), Error);
  EXPECT_THAT(error_of([] { make_alphabet({"a", "b"}, 7); }), HasSubstr("2 characters, but the network tells 7"));
}

TEST(Ctc, CharacterLists) {
  EXPECT_THAT(parse_characters("a\nb\r\n\xe2\x80\xa8\n"), ElementsAre("a", "b", "\xe2\x80\xa8"));
  EXPECT_THAT(parse_characters("a\n\nb"), ElementsAre("a", "", "b"));
  EXPECT_TRUE(parse_characters("").empty());
}

// ---- finding lines ----

struct Map {
  int width, height;
  std::vector<float> data;
  Map(int w, int h) : width(w), height(h), data(static_cast<size_t>(w) * h, 0.01f) {}
  OutputView view() const { return {"map", {1, 1, height, width}, data}; }
  /// A bar of probability p around (cx, cy), turned by `angle`.
  void bar(double cx, double cy, double length, double thickness, double angle, float p) {
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x) {
        const double u = (x - cx) * std::cos(angle) + (y - cy) * std::sin(angle);
        const double v = -(x - cx) * std::sin(angle) + (y - cy) * std::cos(angle);
        if (std::abs(u) <= length / 2 && std::abs(v) <= thickness / 2) data[static_cast<size_t>(y * width + x)] = p;
      }
  }
};

Placement identity(int width, int height) { return {1, 1, 0, 0, width, height}; }

TEST(FindText, UprightBarsInReadingOrder) {
  Map map(200, 100);
  map.bar(150, 22, 60, 8, 0, 0.9f);
  map.bar(50, 20, 60, 8, 0, 0.8f);
  map.bar(100, 70, 120, 8, 0, 0.95f);
  TextOptions options;
  options.dilate = false;
  const auto lines = find_text(map.view(), identity(200, 100), options);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_LT(lines[0].corners[0].x, 50);
  EXPECT_GT(lines[1].corners[0].x, 100);
  EXPECT_NEAR(lines[2].corners[0].y, 70 - 4 - 120 * 8 * 1.6 / 256, 0.1) << "grown by area * ratio / perimeter";
  EXPECT_NEAR(lines[2].score, 0.95, 0.02);
}

TEST(FindText, TurnedBars) {
  for (double angle : {0.0, 0.3, -0.4, 0.7, 1.2, 1.5707963}) {
    Map map(200, 200);
    map.bar(100, 100, 100, 12, angle, 0.9f);
    TextOptions options;
    options.dilate = false;
    options.box_threshold = 0.4f;  // stairs on the border
    const auto lines = find_text(map.view(), identity(200, 200), options);
    ASSERT_EQ(lines.size(), 1u) << angle;
    const auto& c = lines[0].corners;
    const double along = std::hypot(c[1].x - c[0].x, c[1].y - c[0].y),
                 across = std::hypot(c[3].x - c[0].x, c[3].y - c[0].y);
    const double grown = 2 * 100 * 12 * 1.6 / (2 * 112);
    EXPECT_NEAR(std::max(along, across), 100 + grown, 3) << angle;
    EXPECT_NEAR(std::min(along, across), 12 + grown, 3) << angle;
    EXPECT_GE(c[1].x, c[0].x - 1e-3) << "reading goes to the right";
    EXPECT_GE(c[3].y, c[0].y - 1e-3);
  }
}

TEST(FindText, WeakAndTinySpotsAreDropped) {
  Map map(200, 100);
  map.bar(50, 20, 60, 8, 0, 0.35f);  // above the pixel threshold, below the box's
  map.bar(150, 20, 1, 1, 0, 0.9f);
  map.bar(150, 60, 30, 1, 0, 0.9f);
  TextOptions options;
  options.dilate = false;
  EXPECT_TRUE(find_text(map.view(), identity(200, 100), options).empty());
}

TEST(FindText, DilationJoinsAcrossAGap) {
  Map map(100, 40);
  map.bar(30, 20, 40, 8, 0, 0.95f);
  map.bar(72, 20, 40, 8, 0, 0.95f);  // one column between
  TextOptions options;
  options.dilate = false;
  const size_t apart = find_text(map.view(), identity(100, 40), options).size();
  options.dilate = true;
  EXPECT_EQ(apart, 2u);
  EXPECT_EQ(find_text(map.view(), identity(100, 40), options).size(), 1u);
}

TEST(FindText, OddMapsAreHarmless) {
  Map full(32, 32), nan(32, 32);
  std::fill(full.data.begin(), full.data.end(), 1.f);
  std::fill(nan.data.begin(), nan.data.end(), std::numeric_limits<float>::quiet_NaN());
  const auto lines = find_text(full.view(), identity(64, 32));
  ASSERT_EQ(lines.size(), 1u);
  for (const Point& p : lines[0].corners) EXPECT_TRUE(p.x >= 0 && p.x <= 64 && p.y >= 0 && p.y <= 32);
  EXPECT_TRUE(find_text(nan.view(), identity(32, 32)).empty());
  auto view = full.view();
  view.shape = {1, 2, 16, 32};
  EXPECT_THROW(find_text(view, identity(32, 32)), Error);
  view.shape = {1, 1, 16, 32};
  EXPECT_THROW(find_text(view, identity(32, 32)), Error);
}

// ---- recipes and cutting ----

TEST(TextInput, SidesAreMultiplesOf32) {
  const Preprocess page = text_detector_preprocess(384, 191);
  EXPECT_EQ(page.width, 1472);
  EXPECT_EQ(page.height, 736);
  const Preprocess big = text_detector_preprocess(10'000, 50);
  EXPECT_EQ(big.width, 2048);
  EXPECT_EQ(big.height, 32);
  EXPECT_THROW(text_detector_preprocess(0, 5), Error);
  EXPECT_EQ(text_recogniser_preprocess(Image(100, 48)).width, 320);
  EXPECT_EQ(text_recogniser_preprocess(Image(1000, 100)).width, 480);
  EXPECT_EQ(text_recogniser_preprocess(Image(1'000'000, 1)).width, 4096);
}

TEST(TextInput, LineIsLeftAlignedThenZero) {
  const Image line(96, 48, 255);
  const Preprocess how = text_recogniser_preprocess(line);
  std::vector<std::byte> bytes(tensor_bytes(how));
  write_line_tensor(line, how, bytes);
  std::vector<float> values(bytes.size() / 4);
  std::memcpy(values.data(), bytes.data(), bytes.size());
  const auto at = [&](int channel, int y, int x) {
    return values[static_cast<size_t>((channel * 48 + y) * how.width + x)];
  };
  EXPECT_EQ(at(0, 0, 0), 1);
  EXPECT_EQ(at(2, 47, 95), 1);
  EXPECT_EQ(at(2, 47, 96), 0);
  EXPECT_EQ(at(1, 20, 319), 0);
  bytes.pop_back();
  EXPECT_THROW(write_line_tensor(line, how, bytes), Error);
}

TEST(CutLine, StraightBoxIsACopy) {
  Image image(40, 30);
  for (int y = 0; y < 30; ++y)
    for (int x = 0; x < 40; ++x) image.row(y)[x * 3] = static_cast<uint8_t>(x * 5 + y);
  const Image cut = cut_line(image, {{{{10, 5}, {30, 5}, {30, 15}, {10, 15}}}, 1});
  ASSERT_EQ(cut.width, 20);
  ASSERT_EQ(cut.height, 10);
  for (int y = 0; y < 10; ++y)
    for (int x = 0; x < 20; ++x) ASSERT_EQ(cut.row(y)[x * 3], (x + 10) * 5 + y + 5);
}

TEST(CutLine, TallBoxIsTurned) {
  Image image(40, 60);
  for (int y = 0; y < 60; ++y)
    for (int x = 0; x < 40; ++x) image.row(y)[x * 3] = static_cast<uint8_t>(x * 4 + y);
  const Image cut = cut_line(image, {{{{10, 5}, {20, 5}, {20, 45}, {10, 45}}}, 1});
  ASSERT_EQ(cut.width, 40);
  ASSERT_EQ(cut.height, 10);
  EXPECT_EQ(cut.row(0)[0], 19 * 4 + 5) << "the upper right corner comes to the upper left";
  EXPECT_EQ(cut.row(9)[39 * 3], 10 * 4 + 44);
}

TEST(CutLine, DegenerateBoxGivesOnePixel) {
  const Image cut = cut_line(Image(5, 5, 9), {{{{2, 2}, {2, 2}, {2, 2}, {2, 2}}}, 1});
  EXPECT_EQ(cut.width * cut.height, 1);
}

}  // namespace
}  // namespace tenon::vision
