// tenon detect: its options, and what finding and validating share.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "cli/detector.hpp"

namespace tenon::cli {

struct DetectVerb {
  ModelOptions model;
  std::vector<std::string> pictures, classes;
  std::string output = "detected", family = "auto", size, val;
  double conf = -1, iou = -1;  ///< below 0: the family's
  int max_det = 0;
  bool agnostic = false, txt = false, json = false, no_draw = false;
};

DetectRunner open_detector(const DetectVerb& o);
/// The options given on the command line over `defaults`.
vision::DecodeOptions decode_options(const DetectVerb& o, vision::DecodeOptions defaults);
/// Ids of --classes, given by number or name.
std::set<int> parse_classes(const std::vector<std::string>& wanted, const vision::Detector& detector);
void print_stages(const StageTimes& times, const vision::Preprocess& how);

/// detect --val: mean average precision against labels.
void validate_detector(const DetectVerb& o);

}  // namespace tenon::cli
