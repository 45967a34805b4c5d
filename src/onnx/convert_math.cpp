// Broadcasting by attribute, in-place attributes of the first versions, activations, normalization.
#include "onnx/convert.hpp"

namespace tenon::onnx {
namespace {

void drop_consumed(NodeEdit& n) { n.attrs.erase("consumed_inputs"); }

// Before opset 7 the second input was broadcast by attribute, its first axis put at `axis` of the first.
void broadcast_1(NodeEdit& n) {
  drop_consumed(n);
  bool broadcast = n.attrs.integer("broadcast", 0) != 0;
  bool has_axis = n.attrs.has("axis");
  int64_t axis = n.attrs.integer("axis", 0);
  n.attrs.erase("broadcast");
  n.attrs.erase("axis");
  if (!broadcast || !has_axis) return;
  int a = n.rank(n.in(0)), b = n.rank(n.in(1));
  if (a < 0 || b < 0)
    n.unsupported("the broadcast axis of opset {} needs inputs of known rank; export with opset 7 or newer", n.version);
  if (axis < 0) axis += a;
  int64_t trailing = a - axis - b;
  expect(axis >= 0 && trailing >= 0, "axis {} does not place {} axes within {}", axis, b, a);
  Ints axes;
  for (int64_t i = 0; i < trailing; ++i) axes.push_back(b + i);
  if (!axes.empty()) n.inputs[1] = n.add("Unsqueeze", {n.in(1), n.ints(axes)});
}

// Up to opset 12 these worked on the input flattened to two axes at `axis`.
void softmax_1(NodeEdit& n) {
  int64_t axis = n.attrs.integer("axis", 1);
  ValueId x = n.in(0);
  int rank = n.rank(x);
  if (rank >= 0 && axis < 0) axis += rank;
  bool last = rank >= 0 ? axis == rank - 1 : axis == -1;
  if (rank >= 0 && axis >= 0 && axis < rank) {
    // Further axes of extent one make no difference.
    const Shape& shape = *n.graph.value(x).type.shape;
    bool rest_is_one = true;
    for (size_t i = static_cast<size_t>(axis) + 1; i < shape.size(); ++i)
      rest_is_one = rest_is_one && shape[i] == Dim(1);
    last = last || rest_is_one;
  }
  if (last) {
    n.attrs.set("axis", axis);
    return;
  }
  Attrs flatten, softmax;
  flatten.set("axis", axis);
  softmax.set("axis", int64_t{-1});
  ValueId flat = n.add("Flatten", {x}, flatten);
  ValueId soft = n.add(n.op, {flat}, softmax);
  n.inputs = {soft, n.add("Shape", {x})};
  n.op = "Reshape";
  n.attrs = {};
  // Extents of zero are meant, not "copy".
  n.attrs.set("allowzero", int64_t{1});
}

void batch_norm_1(NodeEdit& n) {
  drop_consumed(n);
  n.attrs.erase("is_test");
}

// Statistics per element rather than per channel: plain arithmetic.
void batch_norm_per_element(NodeEdit& n) {
  double epsilon = n.attrs.number("epsilon", 1e-5f);
  ValueId x = n.in(0);
  ValueId spread = n.add("Sqrt", {n.add("Add", {n.in(4), n.scalar_like(epsilon, n.in(4))})});
  ValueId scaled = n.add("Div", {n.add("Mul", {n.add("Sub", {x, n.in(3)}), n.in(1)}), spread});
  n.op = "Add";
  n.inputs = {scaled, n.in(2)};
  n.attrs = {};
}

void batch_norm_7(NodeEdit& n) {
  for (size_t i = 1; i < n.outputs.size(); ++i) {
    if (n.wants(i))
      n.unsupported("output '{}' is one of training (a running or saved statistic); export the model for inference",
                    n.outputs[i]);
  }
  n.outputs.resize(1);
  bool spatial = n.attrs.integer("spatial", 1) != 0;
  n.attrs.erase("spatial");
  n.attrs.erase("momentum");
  if (!spatial) batch_norm_per_element(n);
}

void batch_norm_14(NodeEdit& n) {
  if (n.attrs.integer("training_mode", 0) == 0) {
    n.attrs.erase("training_mode");
    n.attrs.erase("momentum");
  }
}

// Dropout does nothing in inference; its mask is then all true.
void dropout_as_identity(NodeEdit& n) {
  ValueId x = n.in(0);
  if (n.wants(1)) {
    Tensor yes = Tensor::allocate(DType::kBool, {1});
    yes.set(0, 1);
    Attrs value;
    value.set("value", yes);
    ValueId shape = n.add("Shape", {x});
    // The mask was of the data's type before it became boolean.
    if (n.version >= 10) {
      n.produce(1, "ConstantOfShape", {shape}, value);
    } else {
      n.produce(1, "CastLike", {n.add("ConstantOfShape", {shape}, value), x});
    }
  }
  n.op = "Identity";
  n.inputs = {x};
  n.attrs = {};
  n.outputs.resize(1);
}

void dropout_12(NodeEdit& n) {
  const Tensor* ratio = n.constant_in(1);
  const Tensor* training = n.constant_in(2);
  bool off = !n.has(2) || (training != nullptr && training->size() == 1 && training->at(0) == 0);
  bool nothing = ratio != nullptr && ratio->size() == 1 && ratio->at(0) == 0;
  if (off || nothing) dropout_as_identity(n);
}

void gemm_1(NodeEdit& n) { n.attrs.erase("broadcast"); }

// One slope a channel, before slopes were broadcast.
void prelu_1(NodeEdit& n) {
  drop_consumed(n);
  int rank = n.rank(n.in(0));
  const Type& slope = n.graph.value(n.in(1)).type;
  if (slope.rank() != 1 || (slope.is_static() && (*slope.shape)[0] == Dim(1))) return;
  if (rank < 0) n.unsupported("PRelu before opset 7 needs an input of known rank; export with opset 7 or newer");
  Ints axes;
  for (int i = 2; i < rank; ++i) axes.push_back(i - 1);
  if (!axes.empty()) n.inputs[1] = n.add("Unsqueeze", {n.in(1), n.ints(axes)});
}

void selu_1(NodeEdit& n) {
  drop_consumed(n);
  if (!n.attrs.has("alpha")) n.attrs.set("alpha", 1.6732);
  if (!n.attrs.has("gamma")) n.attrs.set("gamma", 1.0507);
}

// Scale and bias came one a group; now they are one a channel. Each is repeated C / groups times.
void group_norm_18(NodeEdit& n) {
  Attrs channel;
  channel.set("start", int64_t{1});
  channel.set("end", int64_t{2});
  ValueId channels = n.add("Shape", {n.in(0)}, channel);
  ValueId groups = n.ints({n.attrs.integer("num_groups", 1)});
  Attrs axis;
  axis.set("axis", int64_t{0});
  ValueId grid = n.add("Concat", {groups, n.add("Div", {channels, groups})}, axis);
  for (size_t i = 1; i <= 2; ++i) {
    ValueId column = n.add("Unsqueeze", {n.in(i), n.ints({1})});
    n.inputs[i] = n.add("Reshape", {n.add("Expand", {column, grid}), n.ints({-1})});
  }
}

// p was a float in the very first version.
void lp_1(NodeEdit& n) {
  if (n.attrs.has("p")) n.attrs.set("p", static_cast<int64_t>(n.attrs.number("p", 2)));
}

constexpr Conversion kTable[] = {
    {"", "Add", 1, 6, broadcast_1},
    {"", "Sub", 1, 6, broadcast_1},
    {"", "Mul", 1, 6, broadcast_1},
    {"", "Div", 1, 6, broadcast_1},
    {"", "Pow", 1, 6, broadcast_1},
    {"", "And", 1, 6, broadcast_1},
    {"", "Or", 1, 6, broadcast_1},
    {"", "Xor", 1, 6, broadcast_1},
    {"", "Equal", 1, 6, broadcast_1},
    {"", "Greater", 1, 6, broadcast_1},
    {"", "Less", 1, 6, broadcast_1},
    {"", "Abs", 1, 5, drop_consumed},
    {"", "Ceil", 1, 5, drop_consumed},
    {"", "Elu", 1, 5, drop_consumed},
    {"", "Exp", 1, 5, drop_consumed},
    {"", "Floor", 1, 5, drop_consumed},
    {"", "HardSigmoid", 1, 5, drop_consumed},
    {"", "InstanceNormalization", 1, 5, drop_consumed},
    {"", "LeakyRelu", 1, 5, drop_consumed},
    {"", "Log", 1, 5, drop_consumed},
    {"", "Max", 1, 5, drop_consumed},
    {"", "Mean", 1, 5, drop_consumed},
    {"", "Min", 1, 5, drop_consumed},
    {"", "Neg", 1, 5, drop_consumed},
    {"", "Reciprocal", 1, 5, drop_consumed},
    {"", "Relu", 1, 5, drop_consumed},
    {"", "Sigmoid", 1, 5, drop_consumed},
    {"", "Sqrt", 1, 5, drop_consumed},
    {"", "Sum", 1, 5, drop_consumed},
    {"", "Tanh", 1, 5, drop_consumed},
    {"", "Selu", 1, 5, selu_1},
    {"", "PRelu", 1, 6, prelu_1},
    {"", "Softmax", 1, 12, softmax_1},
    {"", "LogSoftmax", 1, 12, softmax_1},
    {"", "Hardmax", 1, 12, softmax_1},
    {"", "BatchNormalization", 1, 6, batch_norm_1},
    {"", "BatchNormalization", 1, 13, batch_norm_7},
    {"", "BatchNormalization", 14, kAnyVersion, batch_norm_14},
    {"", "Dropout", 1, 11, dropout_as_identity},
    {"", "Dropout", 12, kAnyVersion, dropout_12},
    {"", "Gemm", 1, 6, gemm_1},
    {"", "GroupNormalization", 18, 20, group_norm_18},
    {"", "LpPool", 1, 1, lp_1},
    {"", "GlobalLpPool", 1, 1, lp_1},
};

}  // namespace

std::span<const Conversion> math_conversions() { return kTable; }

}  // namespace tenon::onnx
