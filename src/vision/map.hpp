// Mean average precision by COCO's rules, equal to pycocotools: IoU 0.50 to 0.95, 101 recall points, all areas, the
// best `max_detections` of a picture and class, crowd regions neither help nor hurt. Pure; any thread may call it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "vision/labels.hpp"

namespace tenon::vision {

/// A found box, in COCO's form.
struct ScoredBox {
  int64_t image = 0;
  int class_id = 0;
  double x = 0, y = 0, width = 0, height = 0;
  double score = 0;
};

ScoredBox scored_box(int64_t image, const Detection& found);

struct ClassPrecision {
  int class_id = 0;
  int64_t truths = 0;  // without crowds
  double ap = 0;       // mean over the ten thresholds
  double ap50 = 0;
  double ap75 = 0;
};

struct Precision {
  double map50_95 = -1;  // -1: nothing labelled, as pycocotools says it
  double map50 = -1;
  double map75 = -1;
  double recall = -1;                   // mean over classes and thresholds, at max_detections
  std::vector<ClassPrecision> classes;  // those with labels, by id
};

Precision mean_average_precision(std::span<const TruthBox> truths, std::span<const ScoredBox> found,
                                 int max_detections = 100);

}  // namespace tenon::vision
