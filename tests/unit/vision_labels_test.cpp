#include "vision/labels.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "vision/image.hpp"

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

TEST(Coco, NamesAndCategories) {
  EXPECT_EQ(coco_names()[0], "person");
  EXPECT_EQ(coco_names()[5], "bus");
  EXPECT_EQ(coco_names()[79], "toothbrush");
  EXPECT_EQ(coco_category(0), 1);
  EXPECT_EQ(coco_category(11), 13);  // stop sign: 12 is not in use
  EXPECT_EQ(coco_category(79), 90);
  EXPECT_EQ(coco_class(12), -1);
  EXPECT_EQ(coco_class(0), -1);
  EXPECT_EQ(coco_class(91), -1);
  for (int i = 0; i < 80; ++i) EXPECT_EQ(coco_class(coco_category(i)), i);
  EXPECT_THROW(coco_category(80), Error);
}

TEST(YoloLabels, BoxesOutlinesAndBlanks) {
  const auto boxes = parse_yolo_labels("45 0.5 0.25 0.5 0.5\n\n  3 0.1 0.2 0.3 0.2 0.3 0.8 0.1 0.8\r\n7 .5 .5 1 1 0.9",
                                       "x", 9, 200, 100);
  ASSERT_EQ(boxes.size(), 3u);
  EXPECT_EQ(boxes[0].image, 9);
  EXPECT_EQ(boxes[0].class_id, 45);
  EXPECT_DOUBLE_EQ(boxes[0].x, 50);
  EXPECT_DOUBLE_EQ(boxes[0].y, 0);
  EXPECT_DOUBLE_EQ(boxes[0].width, 100);
  EXPECT_DOUBLE_EQ(boxes[0].height, 50);
  EXPECT_NEAR(boxes[1].x, 20, 1e-9);
  EXPECT_NEAR(boxes[1].width, 40, 1e-9);
  EXPECT_NEAR(boxes[1].height, 60, 1e-9);
  EXPECT_DOUBLE_EQ(boxes[2].width, 200);
  EXPECT_TRUE(parse_yolo_labels("", "x", 0, 10, 10).empty());
}

TEST(YoloLabels, ErrorsNameTheLine) {
  const auto message = [](const char* text) {
    return error_of([&] { parse_yolo_labels(text, "'a.txt'", 0, 10, 10); });
  };
  EXPECT_THAT(message("1 .5 .5 .1 .1\n1 .5 .5"), HasSubstr("'a.txt', line 2: 3 numbers"));
  EXPECT_THAT(message("1 .5 .5 .1 x"), HasSubstr("'x' is not a number"));
  EXPECT_THAT(message("1.5 .5 .5 .1 .1"), HasSubstr("1.5 is not a class id"));
  EXPECT_THAT(message("-1 .5 .5 .1 .1"), HasSubstr("not a class id"));
  EXPECT_THAT(message("0 nan .5 .1 .1"), HasSubstr("is not a number"));
}

TEST(CocoJson, ReadsInstances) {
  const CocoData data = parse_coco(R"({"images":[{"id":7,"file_name":"a.jpg","width":640,"height":480}],
    "categories":[{"id":3,"name":"car"},{"id":1,"name":"person"}],
    "annotations":[{"image_id":7,"category_id":3,"bbox":[1,2,3,4],"area":9.5,"iscrowd":1},
                   {"image_id":7,"category_id":1,"bbox":[0,0,10,10]}]})",
                                   "x");
  EXPECT_THAT(data.names, ElementsAre("person", "car"));
  EXPECT_THAT(data.category_ids, ElementsAre(1, 3));
  ASSERT_EQ(data.boxes.size(), 2u);
  EXPECT_EQ(data.boxes[0].class_id, 1);
  EXPECT_EQ(data.boxes[0].area, 9.5);
  EXPECT_TRUE(data.boxes[0].crowd);
  EXPECT_EQ(data.boxes[1].area, 100);
  EXPECT_EQ(data.images.at(0).file_name, "a.jpg");
}

TEST(CocoJson, ErrorsNameTheFile) {
  const auto message = [](const char* text) { return error_of([&] { parse_coco(text, "'a.json'"); }); };
  EXPECT_THAT(message("{"), HasSubstr("'a.json' is not a COCO instances file"));
  EXPECT_THAT(message("[]"), HasSubstr("'a.json'"));
  EXPECT_THAT(
      message(R"({"images":[],"categories":[],"annotations":[{"image_id":1,"category_id":5,"bbox":[1,2,3,4]}]})"),
      HasSubstr("category 5"));
  EXPECT_THAT(message(R"({"images":[],"categories":[{"id":5}],
                          "annotations":[{"image_id":1,"category_id":5,"bbox":[1,2,3]}]})"),
              HasSubstr("3 numbers instead of 4"));
}

std::vector<Detection> two() {
  Detection a, b;
  a.x0 = 20, a.y0 = 10, a.x1 = 60, a.y1 = 30, a.score = 0.875f, a.class_id = 1;
  b.x1 = 200, b.y1 = 100, b.score = 0.5f;
  b.landmarks = {{1.5f, 2.25f}};
  return {a, b};
}

TEST(Writing, YoloTextRoundTrips) {
  const std::string text = to_yolo_text(two(), 200, 100);
  EXPECT_EQ(text, "1 0.200000 0.200000 0.200000 0.200000 0.875000\n0 0.500000 0.500000 1.000000 1.000000 0.500000\n");
  const auto boxes = parse_yolo_labels(to_yolo_text(two(), 200, 100, false), "x", 0, 200, 100);
  EXPECT_NEAR(boxes.at(0).x, 20, 1e-4);
  EXPECT_THROW(to_yolo_text(two(), 0, 100), Error);
}

TEST(Writing, JsonLine) {
  Detector detector;
  detector.names = {"cat", "\"dog\""};
  const std::string line = to_json_line("a\xff.jpg", 200, 100, two(), detector);
  EXPECT_EQ(line.find('\n'), line.npos);
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["detections"][0]["name"], "\"dog\"");
  EXPECT_EQ(json["detections"][0]["score"], 0.875);
  EXPECT_EQ(json["detections"][0]["box"], (nlohmann::json{20, 10, 60, 30}));
  EXPECT_EQ(json["detections"][1]["landmarks"][0][1], 2.25);
}

TEST(Writing, CocoResults) {
  const auto json = nlohmann::json::parse("[" + to_coco_results(42, two(), {1, 18}) + "]");
  EXPECT_EQ(json[0]["category_id"], 18);
  EXPECT_EQ(json[0]["bbox"], (nlohmann::json{20, 10, 40, 20}));
  EXPECT_EQ(json[1]["image_id"], 42);
  EXPECT_EQ(to_coco_results(42, {}, {}), "");
  EXPECT_THROW(to_coco_results(42, two(), {1}), Error);
}

TEST(Shared, Coco8LabelsLieInTheirPictures) {
  const char* set = std::getenv("TENON_SHARED");
  const std::filesystem::path root =
      std::filesystem::path(set != nullptr ? set : TENON_SOURCE_DIR "/../shared") / "data" / "coco8";
  if (!std::filesystem::exists(root)) GTEST_SKIP() << "no shared data at " << root;
  int boxes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(root / "labels" / "val")) {
    const Image image = load_image((root / "images" / "val" / entry.path().stem()).string() + ".jpg");
    for (const TruthBox& box : read_yolo_labels(entry.path().string(), 0, image.width, image.height)) {
      ++boxes;
      EXPECT_GE(box.x, -1);
      EXPECT_LE(box.y + box.height, image.height + 1);
      EXPECT_LT(box.class_id, 80);
    }
  }
  EXPECT_EQ(boxes, 17);
}

}  // namespace
}  // namespace tenon::vision
