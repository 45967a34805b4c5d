// Finding lines of text: the input size and recipe of DB text detectors (PaddleOCR), their probability map turned into
// rotated rectangles, and a line cut out upright and made ready for a recogniser (ctc.hpp reads its output). Pure
// functions; any thread may call them.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "vision/detect.hpp"
#include "vision/letterbox.hpp"

namespace tenon::vision {

/// Stretched so that the short side has at least `short_side` pixels, both sides multiples of 32, none above
/// `long_side`; BGR, -1..1.
Preprocess text_detector_preprocess(int image_width, int image_height, int short_side = 736, int long_side = 2048);

struct TextOptions {
  float pixel_threshold = 0.3f;  // text or not
  float box_threshold = 0.5f;    // mean probability within the box
  float unclip_ratio = 1.6f;     // the map shows shrunken lines; this grows them back
  bool dilate = true;            // closes one-pixel gaps
  int min_side = 3;              // of the shrunken box, in pixels of the map
  int max_lines = 1000;
};

struct TextLine {
  std::array<Point, 4> corners;  // on the picture: top left, top right, bottom right, bottom left as read
  float score = 0;
};

/// `map` is N x 1 x H x W. Lines come in reading order: rows from the top, within a row from the left.
std::vector<TextLine> find_text(const OutputView& map, const Placement& placement, const TextOptions& options = {},
                                int batch_index = 0);

/// The line, upright. A tall narrow box is turned by a quarter, counter-clockwise.
Image cut_line(const Image& image, const TextLine& line);

/// The recogniser's input: height 48, width as the line needs but at least `min_width`, a multiple of 8.
Preprocess text_recogniser_preprocess(const Image& line, int height = 48, int min_width = 320, int max_width = 4096);
/// Scales the line to the input's height, writes it left-aligned, the rest zero. `out` has tensor_bytes(how) bytes.
void write_line_tensor(const Image& line, const Preprocess& how, std::span<std::byte> out);

}  // namespace tenon::vision
