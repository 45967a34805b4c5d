// CPU tactic of Resize over height and width, in both formats.
#include "cpu/resize.hpp"

#include "base/error.hpp"
#include "tactic/tactic.hpp"

namespace tenon {
namespace {

std::optional<cpu::ResizeOptions> options_of(const Problem& p, std::string& why) {
  const Attrs& a = p.attrs();
  cpu::ResizeOptions o;
  std::string mode = a.string("mode", "nearest"), at = a.string("coordinate_transformation_mode", "half_pixel");
  std::string near = a.string("nearest_mode", "round_prefer_floor");
  o.mode = mode == "nearest"  ? cpu::ResizeMode::kNearest
           : mode == "linear" ? cpu::ResizeMode::kLinear
                              : cpu::ResizeMode::kCubic;
  using C = cpu::ResizeCoordinate;
  constexpr std::pair<std::string_view, C> kWays[] = {{"half_pixel", C::kHalfPixel},
                                                      {"half_pixel_symmetric", C::kHalfPixelSymmetric},
                                                      {"pytorch_half_pixel", C::kPytorchHalfPixel},
                                                      {"align_corners", C::kAlignCorners},
                                                      {"asymmetric", C::kAsymmetric}};
  bool known = false;
  for (const auto& [text, way] : kWays) {
    if (text != at) continue;
    o.coordinate = way;
    known = true;
  }
  if (!known) {
    why = "coordinates " + at;
    return std::nullopt;
  }
  using N = cpu::ResizeNearest;
  o.nearest = near == "floor"               ? N::kFloor
              : near == "ceil"              ? N::kCeil
              : near == "round_prefer_ceil" ? N::kRoundPreferCeil
                                            : N::kRoundPreferFloor;
  o.cubic_a = static_cast<float>(a.number("cubic_coeff_a", -0.75));
  o.exclude_outside = a.integer("exclude_outside", 0) != 0;
  o.antialias = a.integer("antialias", 0) != 0;
  return o;
}

// The scale along an axis as ONNX has it: given, or the ratio of the sizes.
std::optional<double> scale_of(const Problem& p, size_t axis) {
  double ratio = static_cast<double>(p.out[0].dims[axis]) / static_cast<double>(p.in[0].dims[axis]);
  if (!p.has(2) || p.in[2].size() == 0) return ratio;
  if (p.in[2].constant == nullptr) return std::nullopt;
  Ints axes = p.attrs().ints("axes");
  for (size_t i = 0; i < axes.size(); ++i) {
    int64_t a = axes[i] < 0 ? axes[i] + p.in[0].rank() : axes[i];
    if (a == static_cast<int64_t>(axis)) return p.in[2].constant->at(static_cast<int64_t>(i));
  }
  if (!axes.empty()) return 1.0;
  return static_cast<int64_t>(axis) < p.in[2].size() ? std::optional(p.in[2].constant->at(static_cast<int64_t>(axis)))
                                                     : std::nullopt;
}

Verdict judge(const Problem& p) {
  const Operand &x = p.in[0], &y = p.out[0];
  std::string why;
  if (x.rank() != 4 && x.rank() != 3) return Verdict::no("not an image");
  if (x.dims[0] != y.dims[0] || x.dims[1] != y.dims[1]) return Verdict::no("batch or channels are resized");
  auto o = options_of(p, why);
  if (!o) return Verdict::no("{}", why);
  bool nearest = o->mode == cpu::ResizeMode::kNearest;
  int size = bits(x.dtype) / 8;
  if (!(x.dtype == DType::kFloat32 || (nearest && bits(x.dtype) % 8 == 0 && (size == 1 || size == 2 || size == 4)))) {
    return Verdict::no("not for {}", name(x.dtype));
  }
  if (p.attrs().string("keep_aspect_ratio_policy", "stretch") != "stretch")
    return Verdict::no("keeps the aspect ratio");
  for (size_t a = 2; a < x.dims.size(); ++a) {
    if (!scale_of(p, a)) return Verdict::no("the scales are not constant");
  }
  if (x.size() == 0 || y.size() == 0) return Verdict::no("an empty operand");
  if (x.format != y.format && !formats_agree(x.dims) && !formats_agree(y.dims))
    return Verdict::no("the formats differ");
  return Verdict::yes().with_strides();
}

std::unique_ptr<Kernel> prepare(const Problem& p, WeightStore&) {
  const Operand &x = p.in[0], &y = p.out[0];
  std::string why;
  bool flat = x.rank() == 3;
  cpu::ResizePlan plan;
  plan.options = *options_of(p, why);
  size_t w = x.dims.size() - 1;
  plan.y = flat ? cpu::make_resize_axis(plan.options, 1, 1, 1)
                : cpu::make_resize_axis(plan.options, x.dims[2], y.dims[2], *scale_of(p, 2));
  plan.x = cpu::make_resize_axis(plan.options, x.dims[w], y.dims[w], *scale_of(p, w));
  plan.batch = x.dims[0];
  plan.channels = x.dims[1];
  plan.src_n = x.strides[0];
  plan.src_c = x.strides[1];
  plan.src_h = flat ? 0 : x.strides[2];
  plan.src_w = x.strides[w];
  plan.dst_n = y.strides[0];
  plan.dst_c = y.strides[1];
  plan.dst_h = flat ? 0 : y.strides[2];
  plan.dst_w = y.strides[w];
  int size = bits(x.dtype) / 8;
  return make_kernel([plan, size](const RunArgs& a) { cpu::run_resize(plan, size, a.in[0], a.out[0], a.pool); });
}

}  // namespace

void define_resize_cpu(TacticTable& table) { table.add("Resize", {{"taps", judge, prepare}}); }

}  // namespace tenon
