// Attributes that later versions take as inputs.
#include "onnx/convert.hpp"

namespace tenon::onnx {
namespace {

void axes_to_input(NodeEdit& n) {
  if (n.attrs.has("axes") && n.attrs.ints("axes").empty()) n.attrs.erase("axes");
  n.attr_to_input("axes", 1);
}

void split_1(NodeEdit& n) {
  if (!n.attrs.has("axis")) n.attrs.set("axis", int64_t{0});
}

void split_2(NodeEdit& n) { n.attr_to_input("split", 1); }

// Without explicit sizes, the number of parts was the number of outputs; now it is an attribute.
void split_13(NodeEdit& n) {
  if (!n.has(1)) n.attrs.set("num_outputs", static_cast<int64_t>(n.outputs.size()));
}

void top_k_1(NodeEdit& n) {
  expect(n.attrs.has("k"), "attribute 'k' is missing");
  n.set_input(1, n.ints({n.attrs.integer("k", 0)}));
  n.attrs.erase("k");
}

void slice_1(NodeEdit& n) {
  expect(n.attrs.has("starts") && n.attrs.has("ends"), "attributes 'starts' and 'ends' are needed");
  n.attr_to_input("starts", 1);
  n.attr_to_input("ends", 2);
  n.attr_to_input("axes", 3);
}

void reshape_1(NodeEdit& n) {
  n.attrs.erase("consumed_inputs");
  expect(n.attrs.has("shape"), "attribute 'shape' is missing");
  n.attr_to_input("shape", 1);
}

void pad_1(NodeEdit& n) {
  expect(n.attrs.has("paddings"), "attribute 'paddings' is missing");
  n.attrs.set("pads", n.attrs.ints("paddings"));
  n.attrs.erase("paddings");
}

void pad_2(NodeEdit& n) {
  expect(n.attrs.has("pads"), "attribute 'pads' is missing");
  n.attr_to_input("pads", 1);
  double value = n.attrs.number("value", 0);
  n.attrs.erase("value");
  if (value != 0) n.set_input(2, n.scalar_like(value, n.in(0)));
}

// The old defaults were the ends of the float range, which is to say no bound.
void clip_1(NodeEdit& n) {
  constexpr double kEnd = 3.4028234663852886e38;
  n.attrs.erase("consumed_inputs");
  double low = n.attrs.number("min", -kEnd), high = n.attrs.number("max", kEnd);
  n.attrs.erase("min");
  n.attrs.erase("max");
  if (low > -kEnd) n.set_input(1, n.scalar_like(low, n.in(0)));
  if (high < kEnd) n.set_input(2, n.scalar_like(high, n.in(0)));
}

void dft_17(NodeEdit& n) {
  n.set_input(2, n.constant(Tensor::scalar(n.attrs.integer("axis", 1))));
  n.attrs.erase("axis");
}

// repeats = one everywhere but at `axis`, where it is `tiles`.
void tile_1(NodeEdit& n) {
  const Tensor *tiles = n.constant_in(1), *axis = n.constant_in(2);
  int rank = n.rank(n.in(0));
  if (tiles == nullptr || axis == nullptr || rank < 0 || tiles->size() != 1 || axis->size() != 1)
    n.unsupported(
        "Tile before opset 6 needs constant tiles and axis and an input of known rank; export with opset 7 or newer");
  auto at = static_cast<int64_t>(axis->at(0));
  expect(at >= 0 && at < rank, "axis {} is outside the {} axes of the input", at, rank);
  Ints repeats(static_cast<size_t>(rank), 1);
  repeats[static_cast<size_t>(at)] = static_cast<int64_t>(tiles->at(0));
  n.inputs = {n.in(0), n.ints(repeats)};
}

void concat_1(NodeEdit& n) {
  if (!n.attrs.has("axis")) n.attrs.set("axis", int64_t{1});
}

constexpr Conversion kTable[] = {
    {"", "Squeeze", 1, 12, axes_to_input},
    {"", "Unsqueeze", 1, 12, axes_to_input},
    {"", "ReduceSum", 1, 12, axes_to_input},
    {"", "ReduceL1", 1, 17, axes_to_input},
    {"", "ReduceL2", 1, 17, axes_to_input},
    {"", "ReduceLogSum", 1, 17, axes_to_input},
    {"", "ReduceLogSumExp", 1, 17, axes_to_input},
    {"", "ReduceMax", 1, 17, axes_to_input},
    {"", "ReduceMean", 1, 17, axes_to_input},
    {"", "ReduceMin", 1, 17, axes_to_input},
    {"", "ReduceProd", 1, 17, axes_to_input},
    {"", "ReduceSumSquare", 1, 17, axes_to_input},
    {"", "Split", 1, 1, split_1},
    {"", "Split", 1, 12, split_2},
    {"", "Split", 1, 17, split_13},
    {"", "TopK", 1, 9, top_k_1},
    {"", "Slice", 1, 9, slice_1},
    {"", "Reshape", 1, 4, reshape_1},
    {"", "Pad", 1, 1, pad_1},
    {"", "Pad", 1, 10, pad_2},
    {"", "Clip", 1, 10, clip_1},
    {"", "DFT", 17, 19, dft_17},
    {"", "Tile", 1, 5, tile_1},
    {"", "Concat", 1, 3, concat_1},
};

}  // namespace

std::span<const Conversion> axes_conversions() { return kTable; }

}  // namespace tenon::onnx
