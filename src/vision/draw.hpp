// Draws what was found onto a picture: masks, boxes, landmarks, and a plate with the name and the score.
// Everything is antialiased and scales with the picture. The lettering is our own stroke font (font.hpp).
// Functions change only the picture they are given; any thread may call them on different pictures.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "vision/detect.hpp"
#include "vision/image.hpp"

namespace tenon::vision {

using Colour = std::array<uint8_t, 3>;

/// A colour for each class id, neighbours far apart.
Colour class_colour(int class_id);

struct DrawOptions {
  double line_width = 0;   // pixels; 0: chosen from the picture's size
  double text_height = 0;  // pixels of a capital letter; 0: chosen from the picture's size
  bool labels = true;
  bool scores = true;
  double mask_opacity = 0.45;
};

void draw_detections(Image& image, const std::vector<Detection>& found, const Detector& detector,
                     const DrawOptions& options = {});

/// Outline of a box with slightly rounded corners; the line is centred on the box.
void draw_box(Image& image, double x0, double y0, double x1, double y1, double line_width, const Colour& colour);
void fill_box(Image& image, double x0, double y0, double x1, double y1, double radius, const Colour& colour);
void draw_dot(Image& image, double x, double y, double radius, const Colour& colour);
void draw_line(Image& image, Point from, Point to, double line_width, const Colour& colour);
void draw_mask(Image& image, const Detection& object, const Colour& colour, double opacity);

/// Text whose capitals are `height` pixels tall; (x, y) is the top left of the first capital. ASCII 32..126;
/// other bytes show as '?'.
void draw_text(Image& image, double x, double y, double height, std::string_view text, const Colour& colour);
double text_width(double height, std::string_view text);

}  // namespace tenon::vision
