#include "vision/map.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "base/error.hpp"

namespace tenon::vision {
namespace {

constexpr int kThresholds = 10;
constexpr int kRecallPoints = 101;
constexpr double kMaxArea = 1e10;  // COCO's range "all" ends here

/// 0.50, 0.55, ... 0.95, rounded as numpy's linspace rounds them: some IoUs lie exactly on a threshold.
std::array<double, kThresholds> iou_thresholds() {
  std::array<double, kThresholds> out;
  const double step = (0.95 - 0.5) / 9;
  for (int i = 0; i < kThresholds; ++i) out[static_cast<size_t>(i)] = i * step + 0.5;
  out.back() = 0.95;
  return out;
}

double overlap(const ScoredBox& found, const TruthBox& truth) {
  const double w = std::min(found.x + found.width, truth.x + truth.width) - std::max(found.x, truth.x);
  const double h = std::min(found.y + found.height, truth.y + truth.height) - std::max(found.y, truth.y);
  if (!(w > 0) || !(h > 0)) return 0;
  const double both = w * h, area = found.width * found.height;
  return both / (truth.crowd ? area : area + truth.width * truth.height - both);
}

/// What became of one found box at each threshold.
struct Verdict {
  double score = 0;
  std::array<bool, kThresholds> hit{};
  std::array<bool, kThresholds> ignored{};
};

/// One class on one picture.
struct Scene {
  std::vector<const TruthBox*> truths;
  std::vector<const ScoredBox*> found;
};

bool ignored(const TruthBox& truth) { return truth.crowd || truth.area > kMaxArea; }

/// The truth that a found box takes at one threshold, or -1. Ordinary truths come before ignored ones and win over
/// them.
int best_truth(const std::vector<double>& overlaps, const Scene& scene, const std::vector<bool>& taken,
               double threshold) {
  int best = -1;
  double bar = std::min(threshold, 1 - 1e-10);
  for (size_t g = 0; g < scene.truths.size(); ++g) {
    if (taken[g] && !scene.truths[g]->crowd) continue;
    if (best >= 0 && !ignored(*scene.truths[static_cast<size_t>(best)]) && ignored(*scene.truths[g])) break;
    if (overlaps[g] < bar) continue;
    bar = overlaps[g];
    best = static_cast<int>(g);
  }
  return best;
}

void judge(Scene& scene, int max_detections, std::vector<Verdict>& out) {
  static const auto kLevels = iou_thresholds();
  std::stable_sort(scene.truths.begin(), scene.truths.end(),
                   [](const TruthBox* a, const TruthBox* b) { return ignored(*a) < ignored(*b); });
  std::stable_sort(scene.found.begin(), scene.found.end(),
                   [](const ScoredBox* a, const ScoredBox* b) { return a->score > b->score; });
  if (scene.found.size() > static_cast<size_t>(max_detections)) scene.found.resize(static_cast<size_t>(max_detections));
  const size_t first = out.size();
  std::vector<std::vector<double>> overlaps;
  for (const ScoredBox* box : scene.found) {
    out.push_back({box->score, {}, {}});
    auto& row = overlaps.emplace_back();
    for (const TruthBox* truth : scene.truths) row.push_back(overlap(*box, *truth));
  }
  for (size_t t = 0; t < kThresholds; ++t) {
    std::vector<bool> taken(scene.truths.size());
    for (size_t d = 0; d < scene.found.size(); ++d) {
      const int match = best_truth(overlaps[d], scene, taken, kLevels[t]);
      Verdict& verdict = out[first + d];
      verdict.hit[t] = match >= 0;
      if (match >= 0) {
        taken[static_cast<size_t>(match)] = true;
        verdict.ignored[t] = ignored(*scene.truths[static_cast<size_t>(match)]);
      } else {
        verdict.ignored[t] = scene.found[d]->width * scene.found[d]->height > kMaxArea;
      }
    }
  }
}

struct Curve {
  double precision = 0;  // mean over the recall points
  double recall = 0;     // the highest reached
};

Curve curve_of(const std::vector<Verdict>& verdicts, size_t threshold, int64_t truths) {
  std::vector<double> precision, recall;
  double hits = 0, misses = 0;
  for (const Verdict& v : verdicts) {
    if (!v.ignored[threshold]) (v.hit[threshold] ? hits : misses) += 1;
    recall.push_back(hits / static_cast<double>(truths));
    precision.push_back(hits / (hits + misses + std::numeric_limits<double>::epsilon()));
  }
  for (size_t i = precision.size(); i-- > 1;) precision[i - 1] = std::max(precision[i - 1], precision[i]);
  double sum = 0;
  for (int r = 0; r < kRecallPoints; ++r) {
    const double wanted = r == kRecallPoints - 1 ? 1.0 : r * 0.01;
    const auto at = std::lower_bound(recall.begin(), recall.end(), wanted) - recall.begin();
    if (static_cast<size_t>(at) < precision.size()) sum += precision[static_cast<size_t>(at)];
  }
  return {sum / kRecallPoints, recall.empty() ? 0 : recall.back()};
}

using Scenes = std::map<int64_t, Scene>;  // by picture, ascending: the order of equal scores

/// Adds the class's line; `recall` collects the sum over thresholds.
void add_class(int class_id, Scenes& scenes, int max_detections, Precision& out, double& recall) {
  ClassPrecision line;
  line.class_id = class_id;
  std::vector<Verdict> verdicts;
  for (auto& [image, scene] : scenes) {
    line.truths += std::count_if(scene.truths.begin(), scene.truths.end(), [](const auto* t) { return !ignored(*t); });
    judge(scene, max_detections, verdicts);
  }
  if (line.truths == 0) return;
  std::stable_sort(verdicts.begin(), verdicts.end(), [](const auto& a, const auto& b) { return a.score > b.score; });
  for (size_t t = 0; t < kThresholds; ++t) {
    const Curve curve = curve_of(verdicts, t, line.truths);
    line.ap += curve.precision / kThresholds;
    recall += curve.recall / kThresholds;
    if (t == 0) line.ap50 = curve.precision;
    if (t == 5) line.ap75 = curve.precision;
  }
  out.classes.push_back(line);
}

}  // namespace

ScoredBox scored_box(int64_t image, const Detection& found) {
  return {image,      found.class_id, found.x0, found.y0, double{found.x1} - found.x0, double{found.y1} - found.y0,
          found.score};
}

Precision mean_average_precision(std::span<const TruthBox> truths, std::span<const ScoredBox> found,
                                 int max_detections) {
  expect(max_detections > 0, "at least one detection a picture must count, not {}", max_detections);
  std::map<int, Scenes> classes;
  for (const TruthBox& truth : truths) classes[truth.class_id][truth.image].truths.push_back(&truth);
  for (const ScoredBox& box : found) {
    expect(std::isfinite(box.score), "a found box of picture {} has no finite score", box.image);
    classes[box.class_id][box.image].found.push_back(&box);
  }
  Precision out;
  double recall = 0;
  for (auto& [class_id, scenes] : classes) add_class(class_id, scenes, max_detections, out, recall);
  if (out.classes.empty()) return out;
  const auto count = static_cast<double>(out.classes.size());
  out.map50_95 = out.map50 = out.map75 = 0;
  for (const ClassPrecision& line : out.classes) {
    out.map50_95 += line.ap / count;
    out.map50 += line.ap50 / count;
    out.map75 += line.ap75 / count;
  }
  out.recall = recall / count;
  return out;
}

}  // namespace tenon::vision
