// NonMaxSuppression: keeps the best boxes of each class and drops what overlaps them.
#include <algorithm>
#include <numeric>

#include "ops/support.hpp"

namespace tenon {
namespace {

void infer_nms(InferContext& ctx) {
  ctx.require(ctx.rank(0) < 0 || ctx.rank(0) == 3, "boxes must have 3 axes, they have {}", ctx.rank(0));
  ctx.require(ctx.rank(1) < 0 || ctx.rank(1) == 3, "scores must have 3 axes, they have {}", ctx.rank(1));
  ctx.output(0, DType::kInt64, Shape{ctx.unknown(0, 0), 3});
}

struct Box {
  float x1, y1, x2, y2;
};

// Corners sorted, whichever two opposite ones were given; or from center, width and height. In float, as everyone
// computes it: whether an overlap is above the threshold must not depend on extra digits.
Box read_box(const std::vector<float>& boxes, int64_t at, bool center) {
  const float* b = boxes.data() + at * 4;
  if (center) return {b[0] - b[2] / 2, b[1] - b[3] / 2, b[0] + b[2] / 2, b[1] + b[3] / 2};
  return {std::min(b[1], b[3]), std::min(b[0], b[2]), std::max(b[1], b[3]), std::max(b[0], b[2])};
}

bool overlaps(const Box& a, const Box& b, float threshold) {
  float w = std::min(a.x2, b.x2) - std::max(a.x1, b.x1), h = std::min(a.y2, b.y2) - std::max(a.y1, b.y1);
  if (w <= 0 || h <= 0) return false;
  float area_a = (a.x2 - a.x1) * (a.y2 - a.y1), area_b = (b.x2 - b.x1) * (b.y2 - b.y1), both = w * h;
  if (area_a <= 0 || area_b <= 0) return false;
  return both / (area_a + area_b - both) > threshold;
}

std::vector<float> floats(const Tensor& t) {
  std::vector<double> values = to_doubles(t);
  return {values.begin(), values.end()};
}

void nms(RefContext& ctx) {
  const Tensor &boxes = ctx.in(0), &scores = ctx.in(1);
  const Dims &db = boxes.dims(), &ds = scores.dims();
  ctx.require(db.size() == 3 && ds.size() == 3 && db[2] == 4 && db[0] == ds[0] && db[1] == ds[2],
              "boxes of shape {} do not fit scores of shape {}", dims_text(db), dims_text(ds));
  auto number = [&](size_t i, double otherwise) {
    return ctx.has(i) && ctx.in(i).size() > 0 ? ctx.in(i).at(0) : otherwise;
  };
  auto limit = static_cast<int64_t>(number(2, 0));
  auto iou = static_cast<float>(number(3, 0)), least = static_cast<float>(number(4, 0));
  bool filter = ctx.has(4), center = ctx.attrs().integer("center_point_box", 0) != 0;
  ctx.require(iou >= 0 && iou <= 1, "iou_threshold is {}, not within 0 and 1", iou);
  std::vector<float> corners = floats(boxes), values = floats(scores);
  Ints found;
  for (int64_t n = 0; n < ds[0] && limit > 0; ++n) {
    for (int64_t c = 0; c < ds[1]; ++c) {
      const float* s = values.data() + (n * ds[1] + c) * ds[2];
      Ints order;
      for (int64_t i = 0; i < ds[2]; ++i) {
        if (!filter || s[i] > least) order.push_back(i);
      }
      std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return s[a] > s[b]; });
      std::vector<Box> kept;
      for (int64_t i : order) {
        if (static_cast<int64_t>(kept.size()) >= limit) break;
        Box box = read_box(corners, n * db[1] + i, center);
        if (std::any_of(kept.begin(), kept.end(), [&](const Box& k) { return overlaps(box, k, iou); })) continue;
        kept.push_back(box);
        found.insert(found.end(), {n, c, i});
      }
    }
  }
  auto count = static_cast<int64_t>(found.size() / 3);
  ctx.set(0, Tensor::of<int64_t>({count, 3}, std::span<const int64_t>(found)));
}

}  // namespace

void define_nms_ops(OpTable& table) {
  table.add({.name = "NonMaxSuppression",
             .doc = "Indices (batch, class, box) of the boxes that stay.",
             .min_inputs = 2,
             .max_inputs = 5,
             .infer = infer_nms,
             .reference = nms,
             .data_shapes = true,
             .attrs = {"center_point_box"}});
}

}  // namespace tenon
