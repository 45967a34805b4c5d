// Object detection around a network: recognising what kind of detector a model is, and turning its outputs
// into boxes on the picture. Works on plain float arrays, so any runtime can stand in between:
//
//   Detector d = recognise(inputs, outputs, metadata);              once a model
//   Placement p = preprocess(image, d.input, bytes);                per picture
//   ... run the network ...
//   std::vector<Detection> found = decode(d, views, p, d.defaults);
//
// Outputs are untrusted numbers: wrong shapes are Errors, NaN and infinity are dropped. Results are
// deterministic: by score, then by position in the output. Pure functions; any thread may call them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/types.hpp"
#include "vision/letterbox.hpp"

namespace tenon::vision {

struct Point {
  float x = 0;
  float y = 0;
};

/// Which pixels of the picture belong to an object: a small map of logits that is sampled bilinearly, so that
/// its edge is smooth on a picture of any size. Map position = picture position * scale + offset (pixel
/// centres at .5).
struct Mask {
  int width = 0;
  int height = 0;
  std::vector<float> logits;  // height x width, > 0 = object
  double scale_x = 1, scale_y = 1, offset_x = 0, offset_y = 0;

  bool covers(double image_x, double image_y) const;
};

struct Detection {
  float x0 = 0, y0 = 0, x1 = 0, y1 = 0;  // pixels of the picture, clipped to it
  float score = 0;
  int class_id = 0;
  std::vector<Point> landmarks;      // key points (faces: 5, COCO pose: 17), else empty
  std::shared_ptr<const Mask> mask;  // instance segmentation, else null
};

enum class Family {
  kAuto,
  kYoloV5,       // N,anchors,5+nc: xywh pixels, objectness; also v7
  kYoloV8,       // N,4+nc,anchors (or transposed): xywh pixels, no objectness; also v9, 11, 12; pose
  kYoloV8Seg,    // the same with 32 mask coefficients, and N,32,h,w prototypes
  kYoloEnd2End,  // N,rows,6: xyxy pixels, score, class; v10, 26, exports with NMS inside
  kYoloX,        // N,anchors,5+nc on the grid (or decoded)
  kNanoDet,      // three levels of scores and box distributions
  kPicoDet,      // four levels of scores and box distributions
  kSsd,          // scores N,anchors,1+nc and boxes N,anchors,4, both decoded
  kSsdFinal,     // boxes, classes, scores after NMS
  kUltraFace,    // kSsd with the one class "face"
  kCenterFace,   // heat map, sizes, offsets, landmarks
  kDetr,         // logits and boxes of queries: RT-DETR, D-FINE, RF-DETR
};

/// "yolov8", "centerface", ... as used on the command line; parse_family throws with the list of names.
std::string_view family_name(Family family);
Family parse_family(std::string_view name);
/// All names, for help texts: "auto, yolov5, ...".
std::string family_names();

/// One input or output as a model declares it; -1 is a size not known yet.
struct PortInfo {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<int64_t> shape;
};

struct DecodeOptions {
  float score_threshold = 0.25f;  // kept: score > threshold
  float iou_threshold = 0.7f;     // suppressed: IoU > threshold
  bool class_agnostic = false;
  bool multi_label = false;  // validation: every class above the threshold, not the best one only
  int max_detections = 300;
  int max_candidates = 30'000;  // best ones that enter NMS
};

/// What is known about one detector model.
struct Detector {
  Family family = Family::kAuto;
  Preprocess input;
  DecodeOptions defaults;
  int num_classes = 0;
  std::vector<std::string> names;  // by class id; from metadata, or COCO, or empty
  std::vector<int> roles;          // output index by role, in the order that the family's decoder expects
  int keypoints = 0;               // pose: points a box,
  int keypoint_dims = 0;           // and numbers a point (2 or 3)
  int mask_coefficients = 0;
  bool first_class_is_background = false;
  std::string reason;  // how it was recognised, one line

  /// The class's name, or "class 7" when the model does not tell.
  std::string class_name(int class_id) const;
};

struct RecogniseOptions {
  Family family = Family::kAuto;  // set: trust the user
  int width = 0;                  // set: input size for models that leave it open (or declare a wrong one)
  int height = 0;
};

/// Tells the family from metadata_props, names and shapes. When nothing fits the error lists what was seen.
Detector recognise(std::span<const PortInfo> inputs, std::span<const PortInfo> outputs,
                   const std::map<std::string, std::string>& metadata, const RecogniseOptions& options = {});

/// One output of a run, converted to float32.
struct OutputView {
  std::string name;
  std::vector<int64_t> shape;
  std::span<const float> data;
};

/// Boxes of picture `batch_index`. `outputs` come in the model's order.
std::vector<Detection> decode(const Detector& detector, std::span<const OutputView> outputs, const Placement& placement,
                              const DecodeOptions& options, int batch_index = 0);

/// A box that may be suppressed, in any coordinates.
struct Candidate {
  float x0 = 0, y0 = 0, x1 = 0, y1 = 0;
  float score = 0;
  int class_id = 0;
  int source = 0;  // row of the output it came from
};

float intersection_over_union(const Candidate& a, const Candidate& b);

/// Greedy non-maximum suppression, by class unless class_agnostic. Order: score, then source, then class.
std::vector<Candidate> suppress(std::vector<Candidate> candidates, const DecodeOptions& options);

}  // namespace tenon::vision
