// The decoders behind detect.hpp. Internal. A decoder reads one picture's outputs and returns every box above
// the score threshold in the pixels of the network's input; suppression, mapping to the picture, landmarks
// and masks follow in decode.cpp for the boxes that survive.
#pragma once

#include <vector>

#include "vision/detect.hpp"

namespace tenon::vision {

/// One picture's share of an output: the batch dimension is gone, the data holds exactly `shape`.
struct Block {
  const std::string* name;
  std::vector<int64_t> shape;
  std::span<const float> data;

  int dim(size_t i) const { return static_cast<int>(shape[i]); }
};

struct Job {
  const Detector& detector;
  const DecodeOptions& options;
  std::vector<Block> blocks;  // by role
};

/// Checks the rank and returns the block; the sentence names the family and the output.
const Block& block(const Job& job, size_t role, size_t rank);

std::vector<Candidate> decode_yolo_v5(const Job& job);
std::vector<Candidate> decode_yolo_v8(const Job& job);
std::vector<Candidate> decode_end_to_end(const Job& job);
std::vector<Candidate> decode_yolox(const Job& job);
std::vector<Candidate> decode_distributions(const Job& job);  // NanoDet, PicoDet
std::vector<Candidate> decode_ssd(const Job& job);            // SSD, UltraFace
std::vector<Candidate> decode_ssd_final(const Job& job);
std::vector<Candidate> decode_centerface(const Job& job);
std::vector<Candidate> decode_detr(const Job& job);

/// Columns past box and scores (mask coefficients, key points) of one row, for the families that have them.
std::vector<float> extra_columns(const Job& job, int source);
/// Five points in input pixels.
std::vector<Point> centerface_landmarks(const Job& job, const Candidate& face);
Mask make_mask(const Block& prototypes, std::span<const float> coefficients, const Candidate& box,
               const Preprocess& input, const Placement& placement);

}  // namespace tenon::vision
