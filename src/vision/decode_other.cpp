#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.hpp"
#include "vision/decoders.hpp"
#include "vision/labels.hpp"

namespace tenon::vision {
namespace {

constexpr int kBins = 8;  // generalised focal loss: distances of 0..7 strides

/// Expected value of a distribution given as logits.
float expectation(const float* logits) {
  const float top = *std::max_element(logits, logits + kBins);
  float sum = 0, weighted = 0;
  for (int i = 0; i < kBins; ++i) {
    const float e = std::exp(logits[i] - top);
    sum += e;
    weighted += e * static_cast<float>(i);
  }
  return weighted / sum;
}

/// Calls `take(class, score)` for the best class above the threshold, or for all of them.
template <class Take>
void each_class(const float* scores, int classes, const DecodeOptions& options, Take take) {
  if (options.multi_label) {
    for (int c = 0; c < classes; ++c)
      if (scores[c] > options.score_threshold) take(c, scores[c]);
    return;
  }
  int best = -1;
  float score = options.score_threshold;
  for (int c = 0; c < classes; ++c)
    if (scores[c] > score) score = scores[c], best = c;
  if (best >= 0) take(best, score);
}

void decode_level(const Job& job, const Block& scores, const Block& boxes, int stride, int first_source,
                  std::vector<Candidate>& out) {
  const int across = (job.detector.input.width + stride - 1) / stride;
  const int down = (job.detector.input.height + stride - 1) / stride;
  const int classes = job.detector.num_classes;
  expect(scores.dim(0) == across * down && scores.dim(1) == classes && boxes.dim(0) == across * down &&
             boxes.dim(1) == 4 * kBins,
         "outputs '{}' ({} x {}) and '{}' ({} x {}) do not fit the grid of stride {}: {} cells, {} classes, "
         "{} bins",
         *scores.name, scores.dim(0), scores.dim(1), *boxes.name, boxes.dim(0), boxes.dim(1), stride, across * down,
         classes, 4 * kBins);
  for (int i = 0; i < across * down; ++i) {
    each_class(scores.data.data() + static_cast<size_t>(i) * classes, classes, job.options, [&](int c, float score) {
      const float* bins = boxes.data.data() + static_cast<size_t>(i) * 4 * kBins;
      const float s = static_cast<float>(stride);
      const float cx = (static_cast<float>(i % across) + 0.5f) * s, cy = (static_cast<float>(i / across) + 0.5f) * s;
      out.push_back({cx - expectation(bins) * s, cy - expectation(bins + kBins) * s,
                     cx + expectation(bins + 2 * kBins) * s, cy + expectation(bins + 3 * kBins) * s, score, c,
                     first_source + i});
    });
  }
}

}  // namespace

std::vector<Candidate> decode_distributions(const Job& job) {
  const size_t levels = job.blocks.size() / 2;
  std::vector<Candidate> out;
  int first = 0;
  for (size_t level = 0; level < levels; ++level) {
    const Block& scores = block(job, level, 2);
    decode_level(job, scores, block(job, levels + level, 2), 8 << level, first, out);
    first += scores.dim(0);
  }
  return out;
}

std::vector<Candidate> decode_ssd(const Job& job) {
  const Block& scores = block(job, 0, 2);
  const Block& boxes = block(job, 1, 2);
  const int skip = job.detector.first_class_is_background ? 1 : 0, columns = scores.dim(1);
  expect(boxes.dim(1) == 4 && boxes.dim(0) == scores.dim(0) && columns == job.detector.num_classes + skip,
         "outputs '{}' ({} x {}) and '{}' ({} x {}) are not scores of {} classes and boxes of the same anchors",
         *scores.name, scores.dim(0), columns, *boxes.name, boxes.dim(0), boxes.dim(1),
         job.detector.num_classes + skip);
  const auto width = static_cast<float>(job.detector.input.width);
  const auto height = static_cast<float>(job.detector.input.height);
  std::vector<Candidate> out;
  for (int i = 0; i < scores.dim(0); ++i) {
    const float* row = scores.data.data() + static_cast<size_t>(i) * columns + skip;
    each_class(row, job.detector.num_classes, job.options, [&](int c, float score) {
      const float* b = boxes.data.data() + static_cast<size_t>(i) * 4;
      out.push_back({b[0] * width, b[1] * height, b[2] * width, b[3] * height, score, c, i});
    });
  }
  return out;
}

std::vector<Candidate> decode_ssd_final(const Job& job) {
  const Block& boxes = block(job, 0, 2);
  const Block& classes = block(job, 1, 1);
  const Block& scores = block(job, 2, 1);
  expect(boxes.dim(1) == 4 && classes.dim(0) == boxes.dim(0) && scores.dim(0) == boxes.dim(0),
         "outputs '{}', '{}' and '{}' do not describe the same boxes", *boxes.name, *classes.name, *scores.name);
  // TensorFlow's object detection API writes y before x, and COCO's category ids.
  const bool tensorflow = boxes.name->find("detection_") != std::string::npos;
  const auto width = static_cast<float>(job.detector.input.width);
  const auto height = static_cast<float>(job.detector.input.height);
  std::vector<Candidate> out;
  for (int i = 0; i < boxes.dim(0); ++i) {
    const float score = scores.data[static_cast<size_t>(i)], label = classes.data[static_cast<size_t>(i)];
    if (!(score > job.options.score_threshold) || !(label >= 1 && label < 1e6f)) continue;
    const int id =
        tensorflow && job.detector.names.empty() ? coco_class(static_cast<int>(label)) : static_cast<int>(label) - 1;
    if (id < 0) continue;
    const float* b = boxes.data.data() + static_cast<size_t>(i) * 4;
    const int x = tensorflow ? 1 : 0;
    out.push_back({b[x] * width, b[1 - x] * height, b[2 + x] * width, b[3 - x] * height, score, id, i});
  }
  return out;
}

std::vector<Candidate> decode_centerface(const Job& job) {
  const Block& heat = block(job, 0, 3);
  const int down = heat.dim(1), across = heat.dim(2);
  const int wanted[] = {1, 2, 2, 10};
  for (size_t role = 0; role < 4; ++role) {
    const Block& b = block(job, role, 3);
    expect(b.dim(0) == wanted[role] && b.dim(1) == down && b.dim(2) == across,
           "output '{}' is {} x {} x {}; CenterFace has {} planes of {} x {} there", *b.name, b.dim(0), b.dim(1),
           b.dim(2), wanted[role], down, across);
  }
  const auto width = static_cast<float>(job.detector.input.width);
  const auto height = static_cast<float>(job.detector.input.height);
  const size_t plane = static_cast<size_t>(down) * across;
  const float *size = job.blocks[1].data.data(), *offset = job.blocks[2].data.data();
  std::vector<Candidate> out;
  for (size_t i = 0; i < plane; ++i) {
    if (!(heat.data[i] > job.options.score_threshold)) continue;
    // Planes hold y first; one cell is four pixels; sizes are logarithms.
    const float h = std::exp(size[i]) * 4, w = std::exp(size[plane + i]) * 4;
    const auto column = static_cast<float>(i % across), line = static_cast<float>(i / across);
    const float x = std::clamp((column + offset[plane + i] + 0.5f) * 4 - w / 2, 0.f, width);
    const float y = std::clamp((line + offset[i] + 0.5f) * 4 - h / 2, 0.f, height);
    out.push_back({x, y, std::min(x + w, width), std::min(y + h, height), heat.data[i], 0, static_cast<int>(i)});
  }
  return out;
}

std::vector<Point> centerface_landmarks(const Job& job, const Candidate& face) {
  const size_t plane = static_cast<size_t>(job.blocks[0].dim(1)) * job.blocks[0].dim(2);
  const auto i = static_cast<size_t>(face.source);
  const float h = std::exp(job.blocks[1].data[i]) * 4, w = std::exp(job.blocks[1].data[plane + i]) * 4;
  std::vector<Point> out;
  for (size_t k = 0; k < 5; ++k)
    out.push_back({job.blocks[3].data[(2 * k + 1) * plane + i] * w + face.x0,
                   job.blocks[3].data[2 * k * plane + i] * h + face.y0});
  return out;
}

std::vector<Candidate> decode_detr(const Job& job) {
  const Block& logits = block(job, 0, 2);
  const Block& boxes = block(job, 1, 2);
  expect(boxes.dim(1) == 4 && boxes.dim(0) == logits.dim(0) && logits.dim(1) == job.detector.num_classes,
         "outputs '{}' ({} x {}) and '{}' ({} x {}) are not logits and boxes of the same queries", *logits.name,
         logits.dim(0), logits.dim(1), *boxes.name, boxes.dim(0), boxes.dim(1));
  const auto width = static_cast<float>(job.detector.input.width);
  const auto height = static_cast<float>(job.detector.input.height);
  std::vector<float> scores(static_cast<size_t>(logits.dim(1)));
  std::vector<Candidate> out;
  for (int i = 0; i < logits.dim(0); ++i) {
    const float* row = logits.data.data() + static_cast<size_t>(i) * logits.dim(1);
    std::transform(row, row + logits.dim(1), scores.begin(), [](float v) { return 1 / (1 + std::exp(-v)); });
    each_class(scores.data(), logits.dim(1), job.options, [&](int c, float score) {
      const float* b = boxes.data.data() + static_cast<size_t>(i) * 4;
      out.push_back({(b[0] - b[2] / 2) * width, (b[1] - b[3] / 2) * height, (b[0] + b[2] / 2) * width,
                     (b[1] + b[3] / 2) * height, score, c, i});
    });
  }
  return out;
}

}  // namespace tenon::vision
