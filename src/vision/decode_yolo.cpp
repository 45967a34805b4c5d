#include <algorithm>
#include <cmath>

#include "base/error.hpp"
#include "vision/decoders.hpp"

namespace tenon::vision {
namespace {

Candidate from_centre(float cx, float cy, float w, float h, float score, int class_id, int source) {
  return {cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2, score, class_id, source};
}

/// Rows of box, objectness, scores: the best class of a row, or all of them, times objectness.
template <class BoxOf>
std::vector<Candidate> objectness_rows(const Job& job, const Block& rows, BoxOf box_of) {
  const int classes = job.detector.num_classes, columns = rows.dim(1);
  expect(columns == 5 + classes, "output '{}' has {} columns, {} with {} classes has {}", *rows.name, columns,
         family_name(job.detector.family), classes, 5 + classes);
  const float threshold = job.options.score_threshold;
  std::vector<Candidate> out;
  for (int i = 0; i < rows.dim(0); ++i) {
    const float* row = rows.data.data() + static_cast<size_t>(i) * columns;
    if (!(row[4] > threshold)) continue;  // scores are at most 1
    const float* scores = row + 5;
    const int best = static_cast<int>(std::max_element(scores, scores + classes) - scores);
    for (int c = job.options.multi_label ? 0 : best; c < classes; ++c) {
      const float score = row[4] * scores[c];
      if (score > threshold) out.push_back(box_of(row, score, c, i));
      if (!job.options.multi_label) break;
    }
  }
  return out;
}

/// The v8 output in either orientation: value(channel, anchor).
struct Columns {
  const float* data;
  size_t channel_step, anchor_step;
  int anchors;

  float at(int channel, int anchor) const {
    return data[static_cast<size_t>(channel) * channel_step + static_cast<size_t>(anchor) * anchor_step];
  }
};

Columns columns_of(const Job& job) {
  const Block& view = block(job, 0, 2);
  const Detector& d = job.detector;
  const int wanted = 4 + d.num_classes + d.mask_coefficients + d.keypoints * d.keypoint_dims;
  if (view.dim(0) == wanted) return {view.data.data(), static_cast<size_t>(view.dim(1)), 1, view.dim(1)};
  expect(view.dim(1) == wanted, "output '{}' is {} x {}; {} with {} classes has {} channels", *view.name, view.dim(0),
         view.dim(1), family_name(d.family), d.num_classes, wanted);
  return {view.data.data(), 1, static_cast<size_t>(wanted), view.dim(0)};
}

/// Best class of every anchor in one sweep over the scores, in memory order. NaN never wins.
void best_classes(const Columns& in, int classes, std::vector<float>& best, std::vector<int>& id) {
  for (int c = 0; c < classes; ++c) {
    if (in.anchor_step == 1) {
      const float* row = in.data + static_cast<size_t>(4 + c) * in.channel_step;
      for (int a = 0; a < in.anchors; ++a) {
        const bool better = row[a] > best[a];
        best[a] = better ? row[a] : best[a];
        id[a] = better ? c : id[a];
      }
    } else {
      for (int a = 0; a < in.anchors; ++a)
        if (in.at(4 + c, a) > best[a]) best[a] = in.at(4 + c, a), id[a] = c;
    }
  }
}

}  // namespace

std::vector<Candidate> decode_yolo_v5(const Job& job) {
  return objectness_rows(job, block(job, 0, 2), [](const float* row, float score, int class_id, int source) {
    return from_centre(row[0], row[1], row[2], row[3], score, class_id, source);
  });
}

std::vector<Candidate> decode_yolo_v8(const Job& job) {
  const Columns in = columns_of(job);
  const int classes = job.detector.num_classes;
  const auto box = [&](int anchor, float score, int class_id) {
    return from_centre(in.at(0, anchor), in.at(1, anchor), in.at(2, anchor), in.at(3, anchor), score, class_id, anchor);
  };
  std::vector<Candidate> out;
  if (job.options.multi_label) {
    for (int c = 0; c < classes; ++c)
      for (int a = 0; a < in.anchors; ++a)
        if (const float score = in.at(4 + c, a); score > job.options.score_threshold) out.push_back(box(a, score, c));
    return out;
  }
  std::vector<float> best(static_cast<size_t>(in.anchors), job.options.score_threshold);
  std::vector<int> id(static_cast<size_t>(in.anchors), -1);
  best_classes(in, classes, best, id);
  for (int a = 0; a < in.anchors; ++a)
    if (id[a] >= 0) out.push_back(box(a, best[a], id[a]));
  return out;
}

std::vector<Candidate> decode_end_to_end(const Job& job) {
  const Block& rows = block(job, 0, 2);
  const Detector& d = job.detector;
  const int columns = 6 + d.mask_coefficients + d.keypoints * d.keypoint_dims;
  expect(rows.dim(1) == columns, "output '{}' has {} columns, {} has {}", *rows.name, rows.dim(1),
         family_name(d.family), columns);
  std::vector<Candidate> out;
  for (int i = 0; i < rows.dim(0); ++i) {
    const float* row = rows.data.data() + static_cast<size_t>(i) * columns;
    if (!(row[4] > job.options.score_threshold)) continue;
    if (!(row[5] >= 0 && row[5] < 1e6f)) continue;  // not a class
    out.push_back({row[0], row[1], row[2], row[3], row[4], static_cast<int>(row[5]), i});
  }
  return out;
}

std::vector<Candidate> decode_yolox(const Job& job) {
  const Block& rows = block(job, 0, 2);
  const int columns = rows.dim(1), width = job.detector.input.width, height = job.detector.input.height;
  // Raw sizes are logarithms. One above 64 would be a box of 10^27 strides: then the export has decoded
  // already.
  bool decoded = false;
  for (int i = 0; i < rows.dim(0) && columns >= 4; ++i) {
    const float* row = rows.data.data() + static_cast<size_t>(i) * columns;
    decoded |= row[2] > 64 || row[3] > 64;
  }
  if (decoded) return decode_yolo_v5(job);
  struct Cell {
    float x, y, stride;
  };
  std::vector<Cell> cells;
  for (int stride : {8, 16, 32})
    for (int y = 0; y < height / stride; ++y)
      for (int x = 0; x < width / stride; ++x)
        cells.push_back({static_cast<float>(x), static_cast<float>(y), static_cast<float>(stride)});
  expect(static_cast<size_t>(rows.dim(0)) == cells.size(),
         "output '{}' has {} rows; YOLOX on {} x {} pixels has {}, so the input size is another one", *rows.name,
         rows.dim(0), width, height, cells.size());
  return objectness_rows(job, rows, [&](const float* row, float score, int class_id, int source) {
    const Cell& cell = cells[static_cast<size_t>(source)];
    return from_centre((row[0] + cell.x) * cell.stride, (row[1] + cell.y) * cell.stride, std::exp(row[2]) * cell.stride,
                       std::exp(row[3]) * cell.stride, score, class_id, source);
  });
}

std::vector<float> extra_columns(const Job& job, int source) {
  const Detector& d = job.detector;
  const int count = d.mask_coefficients + d.keypoints * d.keypoint_dims;
  if (count == 0 || d.family == Family::kCenterFace) return {};
  std::vector<float> out(static_cast<size_t>(count));
  if (d.family == Family::kYoloEnd2End) {
    const auto row = job.blocks[0].data.subspan(static_cast<size_t>(source) * (6 + static_cast<size_t>(count)));
    std::copy_n(row.begin() + 6, count, out.begin());
  } else {
    const Columns in = columns_of(job);
    for (int k = 0; k < count; ++k) out[static_cast<size_t>(k)] = in.at(4 + d.num_classes + k, source);
  }
  return out;
}

}  // namespace tenon::vision
