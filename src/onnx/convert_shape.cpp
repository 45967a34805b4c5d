// Resampling, casts, gathers.
#include <algorithm>

#include "onnx/convert.hpp"

namespace tenon::onnx {
namespace {

std::string resize_mode(NodeEdit& n) {
  std::string mode = n.attrs.string("mode", "nearest");
  return mode == "bilinear" || mode == "trilinear" ? "linear" : mode;
}

// The first resampling operators: corners at multiples of the scale. Their "nearest" cut the fraction off when
// enlarging and rounded up when Resize-10 made smaller.
void to_asymmetric(NodeEdit& n, ValueId scales, bool ceil_when_smaller) {
  std::string mode = resize_mode(n);
  n.attrs = {};
  n.attrs.set("mode", mode);
  n.attrs.set("coordinate_transformation_mode", std::string("asymmetric"));
  if (mode == "nearest") {
    const Value& v = n.graph.value(scales);
    bool smaller = false;
    if (ceil_when_smaller && v.is_constant() && v.constant.dtype() == DType::kFloat32) {
      auto values = v.constant.values<float>();
      smaller = std::all_of(values.begin(), values.end(), [](float s) { return s <= 1; }) &&
                std::any_of(values.begin(), values.end(), [](float s) { return s < 1; });
    }
    n.attrs.set("nearest_mode", std::string(smaller ? "ceil" : "floor"));
  }
  n.op = "Resize";
  n.inputs = {n.in(0), kNone, scales};
}

ValueId float_list(NodeEdit& n, const Floats& values) {
  std::vector<float> out(values.begin(), values.end());
  return n.constant(Tensor::of<float>({static_cast<int64_t>(out.size())}, out));
}

void upsample_1(NodeEdit& n) {
  Floats scales = {1, 1, n.attrs.number("height_scale", 1), n.attrs.number("width_scale", 1)};
  to_asymmetric(n, float_list(n, scales), false);
}

void upsample_7(NodeEdit& n) {
  expect(n.attrs.has("scales"), "attribute 'scales' is missing");
  to_asymmetric(n, float_list(n, n.attrs.numbers("scales")), false);
}

void upsample_9(NodeEdit& n) { to_asymmetric(n, n.in(1), false); }
void resize_10(NodeEdit& n) { to_asymmetric(n, n.in(1), true); }

// Inputs that do not apply were passed as empty tensors before they could be left out; roi is for cropping only.
void resize_11(NodeEdit& n) {
  for (size_t i = 1; i < n.inputs.size(); ++i) {
    if (const Tensor* t = n.constant_in(i); t != nullptr && t->size() == 0) n.inputs[i] = kNone;
  }
  if (n.inputs.size() > 1 && n.attrs.string("coordinate_transformation_mode", "half_pixel") != "tf_crop_and_resize")
    n.inputs[1] = kNone;
}

void cast_1(NodeEdit& n) {
  const Attr* to = n.attrs.find("to");
  expect(to != nullptr && std::holds_alternative<std::string>(*to), "attribute 'to' must name a type");
  std::string text = std::get<std::string>(*to);
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  auto dtype = parse_dtype(text);
  expect(dtype.has_value(), "'{}' is not an element type", text);
  n.attrs.set("to", static_cast<int64_t>(*dtype));
}

void scatter_9(NodeEdit& n) { n.op = "ScatterElements"; }

void grid_sample_16(NodeEdit& n) {
  std::string mode = n.attrs.string("mode", "bilinear");
  n.attrs.set("mode", std::string(mode == "bilinear" ? "linear" : mode == "bicubic" ? "cubic" : mode));
}

void roi_align_10(NodeEdit& n) { n.attrs.set("coordinate_transformation_mode", std::string("output_half_pixel")); }

constexpr Conversion kTable[] = {
    {"", "Upsample", 1, 6, upsample_1},           {"", "Upsample", 7, 8, upsample_7},
    {"", "Upsample", 9, kAnyVersion, upsample_9}, {"", "Resize", 10, 10, resize_10},
    {"", "Resize", 11, kAnyVersion, resize_11},   {"", "Cast", 1, 5, cast_1},
    {"", "Scatter", 9, kAnyVersion, scatter_9},   {"", "GridSample", 16, 19, grid_sample_16},
    {"", "RoiAlign", 10, 15, roi_align_10},
};

}  // namespace

std::span<const Conversion> shape_conversions() { return kTable; }

}  // namespace tenon::onnx
