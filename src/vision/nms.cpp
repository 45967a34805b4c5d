#include <algorithm>
#include <cmath>
#include <tuple>

#include "base/error.hpp"
#include "vision/detect.hpp"

namespace tenon::vision {

float intersection_over_union(const Candidate& a, const Candidate& b) {
  const float width = std::min(a.x1, b.x1) - std::max(a.x0, b.x0);
  const float height = std::min(a.y1, b.y1) - std::max(a.y0, b.y0);
  if (!(width > 0) || !(height > 0)) return 0;
  const float both = width * height;
  const float either = (a.x1 - a.x0) * (a.y1 - a.y0) + (b.x1 - b.x0) * (b.y1 - b.y0) - both;
  return either > 0 ? both / either : 0;
}

std::vector<Candidate> suppress(std::vector<Candidate> candidates, const DecodeOptions& options) {
  expect(options.max_detections >= 0 && options.max_candidates >= 0,
         "the limits on detections and candidates cannot be negative");
  std::erase_if(candidates, [](const Candidate& c) {
    return !std::isfinite(c.x0) || !std::isfinite(c.y0) || !std::isfinite(c.x1) || !std::isfinite(c.y1) ||
           !std::isfinite(c.score);
  });
  const auto better = [](const Candidate& a, const Candidate& b) {
    return std::tuple(-a.score, a.source, a.class_id) < std::tuple(-b.score, b.source, b.class_id);
  };
  const auto limit = static_cast<size_t>(options.max_candidates);
  if (candidates.size() > limit) {
    std::nth_element(candidates.begin(), candidates.begin() + limit, candidates.end(), better);
    candidates.resize(limit);
  }
  std::sort(candidates.begin(), candidates.end(), better);
  std::vector<Candidate> kept;
  for (const Candidate& candidate : candidates) {
    if (kept.size() >= static_cast<size_t>(options.max_detections)) break;
    const bool hidden = std::any_of(kept.begin(), kept.end(), [&](const Candidate& winner) {
      return (options.class_agnostic || winner.class_id == candidate.class_id) &&
             intersection_over_union(winner, candidate) > options.iou_threshold;
    });
    if (!hidden) kept.push_back(candidate);
  }
  return kept;
}

}  // namespace tenon::vision
