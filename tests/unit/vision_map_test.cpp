#include "vision/map.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.hpp"

namespace tenon::vision {
namespace {

/// The same generator made the data that pycocotools measured.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  double unit() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<double>(state_ >> 33) / 2147483648.0;
  }
  int below(int n) { return static_cast<int>(unit() * n); }

 private:
  uint64_t state_;
};

struct Case {
  uint64_t seed;
  int images, classes, per_image;
  bool crowds;
  int noise;
  double map50_95, map50, map75, recall;  // pycocotools 2.0.11
};

struct Data {
  std::vector<TruthBox> truths;
  std::vector<ScoredBox> found;
};

void add_object(Random& r, int image, const Case& c, Data& data) {
  const int id = r.below(c.classes);
  const double x = r.unit() * 400, y = r.unit() * 300, w = 5 + r.unit() * 120, h = 5 + r.unit() * 120;
  const bool crowd = c.crowds && r.unit() < 0.1;
  data.truths.push_back({image, id, x, y, w, h, w * h, crowd});
  for (int k = r.below(3); k > 0; --k) {
    ScoredBox box;
    box.image = image;
    box.class_id = r.unit() < 0.9 ? id : r.below(c.classes);
    box.score = r.below(20) / 20.0;
    const double d = 0.02 + 0.25 * r.unit();
    box.x = x + w * d * (r.unit() - .5) * 2;
    box.y = y + h * d * (r.unit() - .5) * 2;
    box.width = w * (1 + d * (r.unit() - .5));
    box.height = h * (1 + d * (r.unit() - .5));
    data.found.push_back(box);
  }
}

Data generate(const Case& c) {
  Random r(c.seed);
  Data data;
  for (int image = 0; image < c.images; ++image) {
    for (int n = r.below(c.per_image + 1); n > 0; --n) add_object(r, image, c, data);
    for (int n = r.below(c.noise + 1); n > 0; --n) {
      ScoredBox box;
      box.image = image;
      box.class_id = r.below(c.classes);
      box.x = r.unit() * 400;
      box.y = r.unit() * 300;
      box.width = 5 + r.unit() * 120;
      box.height = 5 + r.unit() * 120;
      box.score = r.below(20) / 20.0;
      data.found.push_back(box);
    }
  }
  return data;
}

TEST(MeanAveragePrecision, EqualsPycocotools) {
  // Ties in the scores, crowds, classes without labels, pictures with more than 100 boxes.
  const Case cases[] = {
      {1, 20, 3, 8, false, 4, 0.21221517138689755, 0.37878892703384326, 0.21779199005391603, 0.46422305764411026},
      {2, 40, 10, 6, true, 10, 0.15823925126601654, 0.27179881468796663, 0.14329063062656663, 0.4347271062271062},
      {3, 5, 1, 30, true, 300, 0.043339216327840095, 0.09902682700948641, 0.03830386052311492, 0.3140625},
      {4, 30, 20, 3, true, 0, 0.3446775244751366, 0.6378095792772553, 0.31053609562636936, 0.431624649859944},
      {5, 60, 5, 12, true, 40, 0.07012362520135938, 0.13943693568410656, 0.05631434667713611, 0.3716551315041881},
  };
  for (const Case& c : cases) {
    const Data data = generate(c);
    const Precision p = mean_average_precision(data.truths, data.found);
    EXPECT_NEAR(p.map50_95, c.map50_95, 1e-12) << c.seed;
    EXPECT_NEAR(p.map50, c.map50, 1e-12) << c.seed;
    EXPECT_NEAR(p.map75, c.map75, 1e-12) << c.seed;
    EXPECT_NEAR(p.recall, c.recall, 1e-12) << c.seed;
  }
}

TEST(MeanAveragePrecision, PerfectAndEmpty) {
  const std::vector<TruthBox> truths = {{1, 0, 10, 10, 20, 20, 400, false}, {2, 3, 0, 0, 5, 5, 25, false}};
  const std::vector<ScoredBox> found = {{1, 0, 10, 10, 20, 20, 0.9}, {2, 3, 0, 0, 5, 5, 0.1}};
  const Precision all = mean_average_precision(truths, found);
  EXPECT_NEAR(all.map50_95, 1, 1e-9);
  ASSERT_EQ(all.classes.size(), 2u);
  EXPECT_EQ(all.classes[1].class_id, 3);
  EXPECT_EQ(mean_average_precision(truths, {}).map50, 0);
  EXPECT_EQ(mean_average_precision({}, found).map50, -1);
  EXPECT_THROW(mean_average_precision(truths, found, 0), Error);
}

TEST(MeanAveragePrecision, BoxOfADetection) {
  Detection d;
  d.x0 = 3, d.y0 = 4, d.x1 = 13, d.y1 = 24, d.score = 0.5f, d.class_id = 2;
  const ScoredBox box = scored_box(7, d);
  EXPECT_EQ(box.image, 7);
  EXPECT_EQ(box.width, 10);
  EXPECT_EQ(box.height, 20);
}

}  // namespace
}  // namespace tenon::vision
