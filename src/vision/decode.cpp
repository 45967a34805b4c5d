#include <algorithm>
#include <cmath>

#include "base/checked.hpp"
#include "vision/decoders.hpp"

namespace tenon::vision {
namespace {

Block slice(const OutputView& view, int batch_index) {
  int64_t size = 1;
  for (int64_t dim : view.shape) {
    expect(dim >= 0 && dim <= INT32_MAX, "output '{}' has a dimension of size {}", view.name, dim);
    size = checked_mul(size, dim);
  }
  expect(!view.shape.empty() && static_cast<int64_t>(view.data.size()) == size,
         "output '{}' holds {} numbers, its shape says {}", view.name, view.data.size(), size);
  expect(batch_index >= 0 && batch_index < view.shape[0], "output '{}' has no picture {}: its batch is {}", view.name,
         batch_index, view.shape[0]);
  const auto each = static_cast<size_t>(size / view.shape[0]);
  return {&view.name,
          {view.shape.begin() + 1, view.shape.end()},
          view.data.subspan(each * static_cast<size_t>(batch_index), each)};
}

std::vector<Candidate> candidates_of(const Job& job) {
  switch (job.detector.family) {
    case Family::kYoloV5: return decode_yolo_v5(job);
    case Family::kYoloV8:
    case Family::kYoloV8Seg: return decode_yolo_v8(job);
    case Family::kYoloEnd2End: return decode_end_to_end(job);
    case Family::kYoloX: return decode_yolox(job);
    case Family::kNanoDet:
    case Family::kPicoDet: return decode_distributions(job);
    case Family::kSsd:
    case Family::kUltraFace: return decode_ssd(job);
    case Family::kSsdFinal: return decode_ssd_final(job);
    case Family::kCenterFace: return decode_centerface(job);
    case Family::kDetr: return decode_detr(job);
    case Family::kAuto: break;
  }
  fail(Code::kInvalidArgument, "the detector has no family yet: call recognise first");
}

/// Families whose output is final keep every box: IoU 1 suppresses nothing.
bool needs_suppression(Family family) {
  return family != Family::kYoloEnd2End && family != Family::kSsdFinal && family != Family::kDetr;
}

std::vector<Point> points_of(const Job& job, const Candidate& box, std::span<const float> extra) {
  if (job.detector.family == Family::kCenterFace) return centerface_landmarks(job, box);
  std::vector<Point> points;
  const auto step = static_cast<size_t>(job.detector.keypoint_dims);
  for (size_t i = 0; i < static_cast<size_t>(job.detector.keypoints); ++i)
    points.push_back({extra[i * step], extra[i * step + 1]});
  return points;
}

/// From the network's pixels to the picture's, clipped to it.
Detection place(const Candidate& box, const Placement& placement) {
  const auto width = static_cast<float>(placement.image_width), height = static_cast<float>(placement.image_height);
  Detection out;
  out.x0 = std::clamp(placement.x_to_image(box.x0), 0.f, width);
  out.x1 = std::clamp(placement.x_to_image(box.x1), 0.f, width);
  out.y0 = std::clamp(placement.y_to_image(box.y0), 0.f, height);
  out.y1 = std::clamp(placement.y_to_image(box.y1), 0.f, height);
  out.score = box.score;
  out.class_id = box.class_id;
  return out;
}

void add_details(const Job& job, const Candidate& box, const Placement& placement, Detection& out) {
  const std::vector<float> extra = extra_columns(job, box.source);
  if (job.detector.mask_coefficients > 0)
    out.mask = std::make_shared<Mask>(make_mask(block(job, 1, 3), extra, box, job.detector.input, placement));
  if (job.detector.keypoints == 0) return;
  for (const Point& p : points_of(job, box, extra))
    out.landmarks.push_back({placement.x_to_image(p.x), placement.y_to_image(p.y)});
}

}  // namespace

const Block& block(const Job& job, size_t role, size_t rank) {
  TENON_CHECK(role < job.blocks.size());
  const Block& out = job.blocks[role];
  expect(out.shape.size() == rank, "output '{}' has rank {}; {} needs {}", *out.name, out.shape.size() + 1,
         family_name(job.detector.family), rank + 1);
  return out;
}

std::vector<Detection> decode(const Detector& detector, std::span<const OutputView> outputs, const Placement& placement,
                              const DecodeOptions& options, int batch_index) {
  Job job{detector, options, {}};
  for (int role : detector.roles) {
    expect(role >= 0 && static_cast<size_t>(role) < outputs.size(), "the run gave {} outputs, {} reads number {}",
           outputs.size(), family_name(detector.family), role + 1);
    job.blocks.push_back(slice(outputs[static_cast<size_t>(role)], batch_index));
  }
  expect(placement.scale_x > 0 && placement.scale_y > 0, "the placement has no scale");
  DecodeOptions rules = options;
  if (!needs_suppression(detector.family)) rules.iou_threshold = 1;
  std::vector<Detection> found;
  for (const Candidate& box : suppress(candidates_of(job), rules)) {
    Detection out = place(box, placement);
    if (!(out.x1 > out.x0) || !(out.y1 > out.y0)) continue;  // wholly in the padding
    add_details(job, box, placement, out);
    found.push_back(std::move(out));
  }
  return found;
}

bool Mask::covers(double image_x, double image_y) const {
  if (width <= 0 || height <= 0) return false;
  const double u = std::clamp(image_x * scale_x + offset_x - 0.5, 0.0, width - 1.0);
  const double v = std::clamp(image_y * scale_y + offset_y - 0.5, 0.0, height - 1.0);
  const int x0 = static_cast<int>(u), y0 = static_cast<int>(v);
  const int x1 = std::min(x0 + 1, width - 1), y1 = std::min(y0 + 1, height - 1);
  const double fx = u - x0, fy = v - y0;
  const auto at = [&](int x, int y) { return double{logits[static_cast<size_t>(y) * width + x]}; };
  return (at(x0, y0) * (1 - fx) + at(x1, y0) * fx) * (1 - fy) + (at(x0, y1) * (1 - fx) + at(x1, y1) * fx) * fy > 0;
}

/// Only the prototypes' cells under the box (and one around) are combined. sigmoid(v) > 0.5 is v > 0, so the
/// sigmoid itself is never needed.
Mask make_mask(const Block& prototypes, std::span<const float> coefficients, const Candidate& box,
               const Preprocess& input, const Placement& placement) {
  expect(prototypes.dim(0) == static_cast<int>(coefficients.size()) && prototypes.dim(1) > 0 && prototypes.dim(2) > 0,
         "output '{}' has {} mask prototypes, the boxes have {} coefficients", *prototypes.name, prototypes.dim(0),
         coefficients.size());
  const int rows = prototypes.dim(1), columns = prototypes.dim(2);
  const double per_x = static_cast<double>(columns) / input.width, per_y = static_cast<double>(rows) / input.height;
  const auto cell = [](double at, int limit) { return static_cast<int>(std::clamp(at, 0.0, limit - 1.0)); };
  const int left = cell(std::floor(box.x0 * per_x) - 1, columns), right = cell(std::ceil(box.x1 * per_x) + 1, columns);
  const int top = cell(std::floor(box.y0 * per_y) - 1, rows), bottom = cell(std::ceil(box.y1 * per_y) + 1, rows);
  Mask mask;
  mask.width = right - left + 1;
  mask.height = bottom - top + 1;
  mask.logits.assign(static_cast<size_t>(mask.width) * mask.height, 0.f);
  for (size_t k = 0; k < coefficients.size(); ++k) {
    const float* plane = prototypes.data.data() + k * static_cast<size_t>(rows) * columns;
    for (int y = 0; y < mask.height; ++y) {
      const float* from = plane + static_cast<size_t>(top + y) * columns + left;
      float* to = mask.logits.data() + static_cast<size_t>(y) * mask.width;
      for (int x = 0; x < mask.width; ++x) to[x] += coefficients[k] * from[x];
    }
  }
  mask.scale_x = placement.scale_x * per_x;
  mask.scale_y = placement.scale_y * per_y;
  mask.offset_x = placement.offset_x * per_x - left;
  mask.offset_y = placement.offset_y * per_y - top;
  return mask;
}

}  // namespace tenon::vision
