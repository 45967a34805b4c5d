// Class names and box lists in the formats that people have: COCO's 80 names, YOLO label files (class cx cy w
// h, a part of the picture's sides), COCO instance JSON, and our own JSON lines. Files are untrusted; errors
// name file and line.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "vision/detect.hpp"

namespace tenon::vision {

/// The 80 names in the order of the models (ids 0..79).
const std::array<std::string_view, 80>& coco_names();
/// COCO's own category id (1..90) of model class 0..79, and back (-1: that id is not in use).
int coco_category(int class_id);
int coco_class(int category);

/// A labelled box. Doubles, and x, y, width, height, as COCO's files have them.
struct TruthBox {
  int64_t image = 0;
  int class_id = 0;
  double x = 0, y = 0, width = 0, height = 0;
  double area = 0;  // of the outline where the file tells, else width * height
  bool crowd = false;
};

/// A YOLO label file of a picture of the given size. Lines with more than five numbers are outlines
/// (segments); their bounding box is taken. An empty file is a picture without objects.
std::vector<TruthBox> read_yolo_labels(const std::string& path, int64_t image, int image_width, int image_height);
std::vector<TruthBox> parse_yolo_labels(std::string_view text, const std::string& what, int64_t image, int image_width,
                                        int image_height);

struct CocoImage {
  int64_t id = 0;
  std::string file_name;
  int width = 0;
  int height = 0;
};
struct CocoData {
  std::vector<CocoImage> images;
  std::vector<TruthBox> boxes;        // class_id: position of the category in `names`
  std::vector<std::string> names;     // categories by ascending id
  std::vector<int64_t> category_ids;  // the file's ids, same order
};
/// Instances JSON. With the usual 80 categories the class ids are those of the models.
CocoData read_coco(const std::string& path);
CocoData parse_coco(std::string_view text, const std::string& what);

/// "5 0.51 0.49 0.98 0.46 0.87\n" a box (the score is left out on request).
std::string to_yolo_text(const std::vector<Detection>& found, int image_width, int image_height, bool scores = true);
/// One JSON object a picture, on one line, without the newline.
std::string to_json_line(const std::string& file, int image_width, int image_height,
                         const std::vector<Detection>& found, const Detector& detector);
/// COCO results entries ([{"image_id":..,"category_id":..,"bbox":[x,y,w,h],"score":..}]) of one picture,
/// without the brackets, to be joined with commas.
std::string to_coco_results(int64_t image, const std::vector<Detection>& found,
                            const std::vector<int64_t>& category_ids);

}  // namespace tenon::vision
