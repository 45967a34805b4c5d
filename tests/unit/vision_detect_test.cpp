#include "vision/detect.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <limits>

#include "base/error.hpp"
#include "vision/literal.hpp"

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

using Ports = std::vector<PortInfo>;
using Meta = std::map<std::string, std::string>;

Ports picture(int64_t height, int64_t width) { return {{"images", DType::kFloat32, {1, 3, height, width}}}; }
PortInfo port(std::string name, std::vector<int64_t> shape) {
  return {std::move(name), DType::kFloat32, std::move(shape)};
}

/// Outputs with memory of their own.
struct Outputs {
  std::deque<std::vector<float>> data;  // references stay valid
  Ports ports;
  std::vector<float>& add(std::string name, std::vector<int64_t> shape, float value = 0) {
    size_t size = 1;
    for (int64_t d : shape) size *= static_cast<size_t>(d);
    data.emplace_back(size, value);
    ports.push_back(port(std::move(name), std::move(shape)));
    return data.back();
  }
  std::vector<OutputView> views() const {
    std::vector<OutputView> out;
    for (size_t i = 0; i < data.size(); ++i) out.push_back({ports[i].name, ports[i].shape, data[i]});
    return out;
  }
};

Placement identity(int width, int height) { return {1, 1, 0, 0, width, height}; }

std::vector<float> box(const Detection& d) { return {d.x0, d.y0, d.x1, d.y1}; }

// ---- metadata ----

TEST(Literal, ReadsWhatPythonWrites) {
  EXPECT_THAT(parse_names("{0: 'person', 1: 'it\\'s', 2: \"driver's\"}"), ElementsAre("person", "it's", "driver's"));
  EXPECT_THAT(parse_names("['a', 'b',]"), ElementsAre("a", "b"));
  EXPECT_THAT(parse_names("{2: 'c'}"), ElementsAre("", "", "c"));
  EXPECT_THAT(parse_names("{0: 'caf\\xe9 \\u2603'}"), ElementsAre("caf\xc3\xa9 \xe2\x98\x83"));
  const Literal nested = parse_literal("{'a': [1, 2.5, None, True], 'b': (-3,)}");
  ASSERT_EQ(nested.entries.size(), 2u);
  EXPECT_EQ(nested.entries[0].second.items[1].number, 2.5);
  EXPECT_EQ(nested.entries[0].second.items[3].kind, Literal::Kind::kBool);
  EXPECT_EQ(nested.entries[1].second.items[0].number, -3);
}

TEST(Literal, RefusesTheRest) {
  for (const char* text : {"", "{", "{0: 'a'", "{0 'a'}", "['a' 'b']", "'open", "'\\", "'\\u12'", "[1] 2", "foo",
                           "{1e9: 'x'}", "{-1: 'x'}", "{'a': 'x'}", "{0.5: 'x'}", "3"})
    EXPECT_THROW(parse_names(text), Error) << text;
  EXPECT_THROW(parse_literal(std::string(100'000, '[')), Error) << "depth is limited";
}

// ---- recognition ----

Family family_of(const Ports& in, const Ports& out, const Meta& meta = {}) { return recognise(in, out, meta).family; }

TEST(Recognise, KnownShapes) {
  EXPECT_EQ(family_of(picture(640, 640), {port("output0", {1, 84, 8400})}), Family::kYoloV8);
  EXPECT_EQ(family_of(picture(640, 640), {port("output0", {1, 8400, 84})}), Family::kYoloV8);
  EXPECT_EQ(family_of(picture(640, 640), {port("output", {1, 25200, 85})}), Family::kYoloV5);
  EXPECT_EQ(family_of(picture(640, 640), {port("output", {1, 8400, 85})}), Family::kYoloX);
  EXPECT_EQ(family_of(picture(416, 416), {port("output", {1, 3549, 85})}), Family::kYoloX);
  EXPECT_EQ(family_of(picture(640, 640), {port("output0", {1, 300, 6})}), Family::kYoloEnd2End);
  EXPECT_EQ(family_of(picture(320, 320), {port("output0", {1, 116, 2100}), port("output1", {1, 32, 80, 80})}),
            Family::kYoloV8Seg);
  EXPECT_EQ(family_of(picture(240, 320), {port("scores", {1, 4420, 2}), port("boxes", {1, 4420, 4})}),
            Family::kUltraFace);
  EXPECT_EQ(family_of(picture(300, 300), {port("boxes", {1, 3000, 4}), port("scores", {1, 3000, 21})}), Family::kSsd);
  EXPECT_EQ(family_of(picture(640, 640), {port("logits", {1, 300, 80}), port("pred_boxes", {1, 300, 4})}),
            Family::kDetr);
  EXPECT_EQ(family_of(picture(384, 384), {port("dets", {1, 300, 4}), port("labels", {1, 300, 91})}), Family::kDetr);
  EXPECT_EQ(family_of({{"input.1", DType::kFloat32, {10, 3, 32, 32}}},
                      {port("537", {10, 1, 8, 8}), port("538", {10, 2, 8, 8}), port("539", {10, 2, 8, 8}),
                       port("540", {10, 10, 8, 8})}),
            Family::kCenterFace);
  EXPECT_EQ(family_of({{"image", DType::kUInt8, {1, -1, -1, 3}}},
                      {port("detection_boxes", {1, 100, 4}), port("detection_classes", {1, 100}),
                       port("detection_scores", {1, 100}), port("num_detections", {1})}),
            Family::kSsdFinal);
}

TEST(Recognise, LevelsInAnyOrder) {
  const Ports nano = {port("b32", {1, 100, 32}), port("c8", {1, 1600, 80}), port("c32", {1, 100, 80}),
                      port("b8", {1, 1600, 32}), port("b16", {1, 400, 32}), port("c16", {1, 400, 80})};
  const Detector d = recognise(picture(320, 320), nano, {});
  EXPECT_EQ(d.family, Family::kNanoDet);
  EXPECT_THAT(d.roles, ElementsAre(1, 5, 2, 3, 4, 0));
  EXPECT_EQ(d.num_classes, 80);
  EXPECT_EQ(d.names.at(16), "dog");
}

TEST(Recognise, MetadataDecides) {
  const Meta two = {{"names", "{0: 'cat', 1: 'dog'}"}, {"stride", "32"}, {"imgsz", "[320, 480]"}, {"task", "detect"}};
  const Detector d =
      recognise(Ports{{"images", DType::kFloat16, {-1, 3, -1, -1}}}, Ports{port("output0", {-1, 6, -1})}, two);
  EXPECT_EQ(d.family, Family::kYoloV8);
  EXPECT_EQ(d.num_classes, 2);
  EXPECT_EQ(d.input.height, 320);
  EXPECT_EQ(d.input.width, 480);
  EXPECT_EQ(d.input.dtype, DType::kFloat16);
  EXPECT_EQ(d.class_name(1), "dog");
  EXPECT_EQ(d.class_name(7), "class 7");

  const Meta v5 = {{"names", "['cat', 'dog']"}, {"stride", "32"}};
  EXPECT_EQ(family_of(picture(64, 64), {port("output", {1, 252, 7})}, v5), Family::kYoloV5);

  Meta pose = {{"names", "{0: 'person'}"}, {"stride", "32"}, {"task", "pose"}, {"kpt_shape", "[17, 3]"}};
  const Detector p = recognise(picture(640, 640), Ports{port("output0", {1, 56, 8400})}, pose);
  EXPECT_EQ(p.family, Family::kYoloV8);
  EXPECT_EQ(p.keypoints, 17);

  const Meta turned = {{"names", "{0: 'ship'}"}, {"stride", "32"}, {"task", "obb"}};
  EXPECT_THAT(error_of([&] {
                recognise(picture(640, 640), Ports{port("output0", {1, 6, 8400})}, turned);
              }),
              HasSubstr("task 'obb'"));
}

TEST(Recognise, ErrorsSayWhatWasSeen) {
  const std::string unknown = error_of([] {
    recognise(picture(640, 640), Ports{port("prob", {1, 1000}), port("aux", {-1, 7})}, {});
  });
  EXPECT_THAT(unknown, HasSubstr("prob [1,1000], aux [?,7]"));
  EXPECT_THAT(unknown, HasSubstr("yolov5, yolov8"));
  EXPECT_THAT(error_of([] { recognise(Ports{port("ids", {1, 77})}, Ports{}, {}); }), HasSubstr("ids [1,77]"));
  RecogniseOptions forced;
  forced.family = Family::kNanoDet;
  EXPECT_THAT(error_of([&] {
                recognise(picture(64, 64), Ports{port("o", {1, 84, 84})}, {}, forced);
              }),
              HasSubstr("does not have the outputs of nanodet"));
  EXPECT_THROW(parse_family("yolo99"), Error);
  EXPECT_EQ(parse_family("centerface"), Family::kCenterFace);
}

TEST(Recognise, TheUserHasTheLastWord) {
  RecogniseOptions options;
  options.family = Family::kYoloV5;
  options.width = 320;
  options.height = 192;
  const Detector d = recognise(picture(-1, -1), Ports{port("out", {1, -1, 85})}, {}, options);
  EXPECT_EQ(d.family, Family::kYoloV5);
  EXPECT_EQ(d.input.width, 320);
  EXPECT_EQ(d.input.height, 192);
}

// ---- suppression ----

TEST(Suppress, ByClassAndAgnostic) {
  const std::vector<Candidate> boxes = {
      {0, 0, 10, 10, 0.9f, 0, 0}, {1, 0, 11, 10, 0.8f, 0, 1}, {1, 0, 11, 10, 0.7f, 1, 2}, {50, 50, 60, 60, 0.6f, 0, 3}};
  DecodeOptions options;
  options.iou_threshold = 0.5f;
  const auto sources = [&] {
    std::vector<int> out;
    for (const Candidate& c : suppress(boxes, options)) out.push_back(c.source);
    return out;
  };
  EXPECT_THAT(sources(), ElementsAre(0, 2, 3));
  options.class_agnostic = true;
  EXPECT_THAT(sources(), ElementsAre(0, 3));
  options.max_detections = 1;
  EXPECT_THAT(sources(), ElementsAre(0));
  options.max_detections = 300;
  options.max_candidates = 3;
  EXPECT_THAT(sources(), ElementsAre(0)) << "the fourth never entered";
}

TEST(Suppress, OverlapAtTheThresholdStays) {
  DecodeOptions options;
  options.iou_threshold = 0.5f;
  EXPECT_EQ(suppress({{0, 0, 2, 1, 0.9f, 0, 0}, {0, 0, 1, 1, 0.8f, 0, 1}}, options).size(), 2u);
  EXPECT_FLOAT_EQ(intersection_over_union({0, 0, 2, 1, 0, 0, 0}, {0, 0, 1, 1, 0, 0, 0}), 0.5f);
  EXPECT_EQ(intersection_over_union({0, 0, 0, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 0, 0}), 0);
}

TEST(Suppress, TiesGoByPositionAndBadNumbersGo) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  const auto kept = suppress({{0, 0, 1, 1, 0.5f, 0, 4},
                              {nan, 0, 1, 1, 0.9f, 0, 1},
                              {0, 0, inf, 1, 0.9f, 0, 2},
                              {0, 0, 1, 1, nan, 0, 3},
                              {5, 5, 6, 6, 0.5f, 0, 0}},
                             {});
  ASSERT_EQ(kept.size(), 2u);
  EXPECT_EQ(kept[0].source, 0);
  EXPECT_EQ(kept[1].source, 4);
}

// ---- decoders ----

TEST(Decode, YoloV8BothOrientationsAndPlacement) {
  Outputs run, turned;
  auto& a = run.add("output0", {1, 7, 10});
  auto& b = turned.add("output0", {1, 10, 7});
  const auto set = [&](int channel, int anchor, float value) {
    a[static_cast<size_t>(channel * 10 + anchor)] = value;
    b[static_cast<size_t>(anchor * 7 + channel)] = value;
  };
  const float values[] = {100, 80, 40, 20, 0.1f, 0.8f, 0.3f};  // cx cy w h, three classes
  for (int c = 0; c < 7; ++c) set(c, 3, values[c]);
  const Meta meta = {{"names", "{0: 'a', 1: 'b', 2: 'c'}"}, {"stride", "32"}};
  const Placement half = {0.5, 0.5, 10, 20, 300, 200};
  for (const Outputs& r : {run, turned}) {
    const Detector d = recognise(picture(160, 160), r.ports, meta);
    const auto found = decode(d, r.views(), half, d.defaults);
    ASSERT_EQ(found.size(), 1u);
    EXPECT_THAT(box(found[0]), ElementsAre(140, 100, 220, 140));
    EXPECT_FLOAT_EQ(found[0].score, 0.8f);
    EXPECT_EQ(found[0].class_id, 1);
    DecodeOptions all = d.defaults;
    all.multi_label = true;
    all.score_threshold = 0.05f;
    EXPECT_EQ(decode(d, r.views(), half, all).size(), 3u);
  }
}

TEST(Decode, BoxesAreClippedAndPaddingOnlyBoxesGo) {
  Outputs run;
  auto& rows = run.add("output0", {1, 3, 6});
  rows = {-5, -5, 500, 50, 0.9f, 1, /**/ 0, 0, 0, 0, 0, 0, /**/ 20, -30, 40, -10, 0.9f, 0};
  const Detector d = recognise(picture(640, 640), run.ports, {});
  const auto found = decode(d, run.views(), identity(100, 100), d.defaults);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_THAT(box(found[0]), ElementsAre(0, 0, 100, 50));
}

TEST(Decode, EndToEndKeepsOverlappingBoxes) {
  Outputs run;
  run.add("output0", {1, 3, 6}) = {1, 1, 9, 9, 0.9f, 0, 1, 1, 9, 9, 0.8f, 0, 1, 1, 9, 9, 0.2f, 0};
  const Detector d = recognise(picture(64, 64), run.ports, {});
  EXPECT_EQ(decode(d, run.views(), identity(64, 64), d.defaults).size(), 2u);
}

TEST(Decode, YoloV5MultipliesObjectness) {
  Outputs run;
  auto& rows = run.add("output", {1, 252, 7});
  const float row[] = {30, 30, 20, 10, 0.8f, 0.25f, 0.5f};
  std::copy(std::begin(row), std::end(row), rows.begin() + 5 * 7);
  const Detector d = recognise(picture(64, 64), run.ports, {});
  EXPECT_EQ(d.family, Family::kYoloV5);
  const auto found = decode(d, run.views(), identity(64, 64), d.defaults);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_FLOAT_EQ(found[0].score, 0.4f);
  EXPECT_EQ(found[0].class_id, 1);
  EXPECT_THAT(box(found[0]), ElementsAre(20, 25, 40, 35));
}

TEST(Decode, YoloXGridAndDecodedExport) {
  Outputs run;
  auto& rows = run.add("output", {1, 84, 6});  // 64 + 16 + 4 cells
  // Second cell of the second row at stride 16 (cells of 4): index 64 + 5.
  const float row[] = {0.5f, 0.25f, std::log(2.f), 0, 0.9f, 1};
  std::copy(std::begin(row), std::end(row), rows.begin() + 69 * 6);
  RecogniseOptions options;
  options.family = Family::kYoloX;
  const Detector d = recognise(picture(64, 64), run.ports, {}, options);
  auto found = decode(d, run.views(), identity(64, 64), d.defaults);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_THAT(box(found[0]), ElementsAre(8, 12, 40, 28));
  const float decoded[] = {200, 100, 80, 40, 0.9f, 1};
  std::copy(std::begin(decoded), std::end(decoded), rows.begin() + 69 * 6);
  found = decode(d, run.views(), identity(300, 300), d.defaults);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_THAT(box(found[0]), ElementsAre(160, 80, 240, 120));
}

TEST(Decode, DistributionsAreExpectedDistances) {
  Outputs run;
  auto& c8 = run.add("c8", {1, 64, 3});
  auto& c16 = run.add("c16", {1, 16, 3});
  run.add("c32", {1, 4, 3});
  run.add("b8", {1, 64, 32});
  auto& b16 = run.add("b16", {1, 16, 32});
  run.add("b32", {1, 4, 32});
  c16[5 * 3 + 2] = 0.9f;
  for (size_t side = 0; side < 4; ++side) b16[5 * 32 + side * 8 + side] = 200;  // 0, 1, 2, 3 strides exactly
  c8[0] = 0.45f;                                                                // flat: 3.5 strides each way
  const Detector d = recognise(picture(64, 64), run.ports, {});
  EXPECT_EQ(d.family, Family::kNanoDet);
  const auto found = decode(d, run.views(), identity(64, 64), d.defaults);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].class_id, 2);
  EXPECT_THAT(box(found[0]), ElementsAre(24, 8, 56, 64));
  EXPECT_THAT(box(found[1]), ElementsAre(0, 0, 32, 32));
}

TEST(Decode, UltraFaceScalesToTheInput) {
  Outputs run;
  run.add("scores", {1, 2, 2}) = {0.1f, 0.9f, 0.9f, 0.1f};
  run.add("boxes", {1, 2, 4}) = {0.25f, 0.5f, 0.5f, 1, 0, 0, 1, 1};
  const Detector d = recognise(picture(240, 320), run.ports, {});
  const auto found = decode(d, run.views(), identity(320, 240), d.defaults);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_THAT(box(found[0]), ElementsAre(80, 120, 160, 240));
  EXPECT_EQ(d.class_name(found[0].class_id), "face");
}

TEST(Decode, CenterFaceWithLandmarks) {
  Outputs run;
  auto& heat = run.add("537", {1, 1, 8, 8});
  auto& size = run.add("538", {1, 2, 8, 8});
  auto& offset = run.add("539", {1, 2, 8, 8});
  auto& marks = run.add("540", {1, 10, 8, 8});
  const size_t at = 3 * 8 + 4;
  heat[at] = 0.9f;
  size[at] = std::log(2.f);       // 8 pixels high
  size[64 + at] = std::log(4.f);  // 16 pixels wide
  offset[at] = 0.5f;
  offset[64 + at] = 0.5f;
  marks[at] = 0.5f;        // y of the first point
  marks[64 + at] = 0.25f;  // and its x
  const Detector d = recognise(picture(32, 32), run.ports, {});
  const auto found = decode(d, run.views(), identity(32, 32), d.defaults);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_THAT(box(found[0]), ElementsAre(12, 12, 28, 20));
  ASSERT_EQ(found[0].landmarks.size(), 5u);
  EXPECT_FLOAT_EQ(found[0].landmarks[0].x, 16);
  EXPECT_FLOAT_EQ(found[0].landmarks[0].y, 16);
}

TEST(Decode, SsdFinalBothConventions) {
  Outputs zoo, tensorflow;
  zoo.add("bboxes", {1, 1, 4}) = {0.125f, 0.25f, 0.5f, 0.75f};
  zoo.add("labels", {1, 1}) = {17};
  zoo.add("scores", {1, 1}) = {0.8f};
  tensorflow.add("detection_boxes", {1, 1, 4}) = {0.25f, 0.125f, 0.75f, 0.5f};
  tensorflow.add("detection_classes", {1, 1}) = {18};  // COCO's id of dog
  tensorflow.add("detection_scores", {1, 1}) = {0.8f};
  for (const Outputs& r : {zoo, tensorflow}) {
    const Detector d = recognise(picture(100, 100), r.ports, {});
    const auto found = decode(d, r.views(), identity(100, 100), d.defaults);
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].class_id, 16);
    EXPECT_THAT(box(found[0]), ElementsAre(12.5f, 25, 50, 75));
  }
}

TEST(Decode, DetrSigmoidAndCentres) {
  Outputs run;
  run.add("logits", {1, 2, 3}) = {-9, 2, -9, -9, -9, -9};
  run.add("pred_boxes", {1, 2, 4}) = {0.5f, 0.5f, 0.5f, 0.25f, 0.1f, 0.1f, 0.1f, 0.1f};
  const Detector d = recognise(picture(100, 100), run.ports, {});
  const auto found = decode(d, run.views(), identity(100, 100), d.defaults);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].class_id, 1);
  EXPECT_NEAR(found[0].score, 0.880797, 1e-5);
  EXPECT_THAT(box(found[0]), ElementsAre(25, 37.5f, 75, 62.5f));
}

TEST(Decode, MaskFollowsThePrototypes) {
  Outputs run;
  auto& rows = run.add("output0", {1, 7, 10});  // one class, two coefficients
  auto& protos = run.add("output1", {1, 2, 16, 16});
  const float values[] = {32, 32, 40, 40, 0.9f, 1, 2};
  for (size_t c = 0; c < 7; ++c) rows[c * 10 + 4] = values[c];
  for (size_t y = 0; y < 16; ++y)
    for (size_t x = 0; x < 16; ++x) {
      protos[y * 16 + x] = x < 8 ? 1.f : -3.f;         // + or -
      protos[256 + y * 16 + x] = y < 8 ? 0.5f : -2.f;  // twice
    }
  const Meta meta = {{"names", "{0: 'a'}"}, {"stride", "32"}, {"task", "segment"}};
  const Detector d = recognise(picture(64, 64), run.ports, meta);
  ASSERT_EQ(d.family, Family::kYoloV8Seg);
  // The picture is twice the input.
  const auto found = decode(d, run.views(), {0.5, 0.5, 0, 0, 128, 128}, d.defaults);
  ASSERT_EQ(found.size(), 1u);
  ASSERT_NE(found[0].mask, nullptr);
  EXPECT_TRUE(found[0].mask->covers(40, 40));
  EXPECT_FALSE(found[0].mask->covers(80, 40));
  EXPECT_FALSE(found[0].mask->covers(40, 80));
  EXPECT_FALSE(found[0].mask->covers(80, 80));
}

TEST(Decode, PoseKeyPoints) {
  Outputs run;
  auto& rows = run.add("output0", {1, 11, 20});
  const float values[] = {32, 32, 40, 40, 0.9f, 10, 20, 0.9f, 30, 40, 0.8f};
  for (size_t c = 0; c < 11; ++c) rows[c * 20 + 4] = values[c];
  const Meta meta = {{"names", "{0: 'a'}"}, {"stride", "32"}, {"task", "pose"}, {"kpt_shape", "[2, 3]"}};
  const Detector d = recognise(picture(64, 64), run.ports, meta);
  const auto found = decode(d, run.views(), {0.5, 0.5, 0, 4, 128, 128}, d.defaults);
  ASSERT_EQ(found.size(), 1u);
  ASSERT_EQ(found[0].landmarks.size(), 2u);
  EXPECT_FLOAT_EQ(found[0].landmarks[1].x, 60);
  EXPECT_FLOAT_EQ(found[0].landmarks[1].y, 72);
}

TEST(Decode, BatchesAreReadApart) {
  Outputs run;
  run.add("output0", {2, 1, 6}) = {0, 0, 5, 5, 0.9f, 0, 0, 0, 7, 7, 0.9f, 3};
  const Detector d = recognise(picture(64, 64), run.ports, {});
  EXPECT_EQ(decode(d, run.views(), identity(64, 64), d.defaults, 1).at(0).class_id, 3);
  EXPECT_THROW(decode(d, run.views(), identity(64, 64), d.defaults, 2), Error);
}

TEST(Decode, WrongShapesAreErrors) {
  Outputs run;
  run.add("output0", {1, 84, 100});
  const Detector d = recognise(picture(640, 640), run.ports, {});
  auto views = run.views();
  views[0].shape = {1, 84, 101};
  EXPECT_THAT(error_of([&] { decode(d, views, identity(9, 9), d.defaults); }), HasSubstr("holds 8400 numbers"));
  views[0].shape = {1, 83, 100};
  views[0].data = views[0].data.first(8300);
  EXPECT_THAT(error_of([&] { decode(d, views, identity(9, 9), d.defaults); }), HasSubstr("84 channels"));
  views[0].shape = {1, -84, -100};
  EXPECT_THROW(decode(d, views, identity(9, 9), d.defaults), Error);
  EXPECT_THROW(decode(d, {}, identity(9, 9), d.defaults), Error);
  EXPECT_THROW(decode(Detector{}, {}, identity(9, 9), d.defaults), Error);
}

TEST(Decode, NanAndInfinityAreDropped) {
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Outputs run;
    run.add("output0", {1, 84, 100}, bad);
    const Detector d = recognise(picture(64, 64), run.ports, {});
    EXPECT_TRUE(decode(d, run.views(), identity(64, 64), d.defaults).empty());
  }
}

}  // namespace
}  // namespace tenon::vision
