// CPU tactics of Conv: channels-last implicit GEMM, Winograd, depthwise, a planar (NCHW) source for a network's first
// layer, 3-D.
#include "cpu/conv.hpp"
#include "base/error.hpp"
#include "cpu/conv3d.hpp"
#include "cpu/depthwise.hpp"
#include "cpu/isa.hpp"
#include "cpu/winograd.hpp"
#include "tactic/epilogue.hpp"
#include "tactic/problem_window.hpp"
#include "tactic/tactic.hpp"

namespace tenon {
namespace {

struct Setup {
  cpu::ConvShape shape;
  bool turned = false;  // the shape's columns are the node's rows
};

// A picture one column wide is worked on as one row, so that the tile kernels get long rows.
void turn_column(Setup& s) {
  cpu::ConvShape& c = s.shape;
  if (c.h == 1 || c.w != 1 || c.kw != 1 || c.pad_left != 0 || c.pad_right != 0) return;
  s.turned = true;
  std::swap(c.h, c.w);
  std::swap(c.kh, c.kw);
  c.stride_w = c.stride_h, c.stride_h = 1;
  c.dilation_w = c.dilation_h, c.dilation_h = 1;
  c.pad_left = c.pad_top, c.pad_right = c.pad_bottom;
  c.pad_top = c.pad_bottom = 0;
}

// The 2-D problem (1-D: height 1) of a Conv node, or the reason why it is none.
std::optional<Setup> setup_2d(const Problem& p, std::string& why) {
  const Operand &x = p.in[0], &w = p.in[1];
  if (x.dtype != DType::kFloat32) {
    why = "only float32";
    return std::nullopt;
  }
  if (w.constant == nullptr || (p.has(2) && p.in[2].constant == nullptr)) {
    why = "the weights are not constant";
    return std::nullopt;
  }
  if (x.rank() != 4 && x.rank() != 3) {
    why = "not a 1-D or 2-D convolution";
    return std::nullopt;
  }
  Window g = problem_window(p, weight_window(w));
  bool flat = x.rank() == 3;
  Setup s;
  cpu::ConvShape& c = s.shape;
  c.n = x.dims[0];
  c.cin = x.dims[1];
  c.cout = w.dims[0];
  c.groups = p.attrs().integer("group", 1);
  size_t last = g.kernel.size() - 1;
  c.h = flat ? 1 : x.dims[2];
  c.w = x.dims.back();
  c.kh = flat ? 1 : g.kernel[0];
  c.kw = g.kernel[last];
  c.stride_h = flat ? 1 : g.strides[0];
  c.stride_w = g.strides[last];
  c.dilation_h = flat ? 1 : g.dilations[0];
  c.dilation_w = g.dilations[last];
  c.pad_top = flat ? 0 : g.begins[0];
  c.pad_left = g.begins[last];
  c.pad_bottom = flat ? 0 : g.ends[0];
  c.pad_right = g.ends[last];
  if (c.pad_top < 0 || c.pad_left < 0 || c.pad_bottom < 0 || c.pad_right < 0) {
    why = "negative pads";
    return std::nullopt;
  }
  if (p.out[0].size() == 0) {
    why = "an empty result";
    return std::nullopt;
  }
  turn_column(s);
  return s;
}

cpu::ImageStrides image_strides(const Operand& o, bool turned) {
  bool flat = o.rank() == 3;
  const size_t columns = turned ? 2 : o.dims.size() - 1;
  int64_t pixel = o.strides[columns];
  if (o.dims[columns] == 1) pixel = std::max<int64_t>(o.dims[1], 1);
  if (turned) return {pixel, pixel * o.dims[2], o.strides[0]};
  int64_t row = flat ? pixel * o.dims.back() : o.strides[2];
  return {pixel, row, o.strides[0]};
}

std::vector<int> row_axes(const Operand& o) {
  return o.rank() == 3 ? std::vector<int>{0, 2} : std::vector<int>{0, 2, 3};
}

const float* bias_of(const Problem& p) { return p.has(2) ? p.in[2].constant->data<float>() : nullptr; }

Verdict judge_common(const Problem& p, bool depthwise, bool planar) {
  std::string why;
  auto s = setup_2d(p, why);
  if (!s) return Verdict::no("{}", why);
  Format in = planar ? Format::kPlain : Format::kChannelsLast;
  if (p.in[0].format != in && !(formats_agree(p.in[0].dims) && !planar))
    return Verdict::no("the input is {}", name(p.in[0].format));
  bool last = p.out[0].format == Format::kChannelsLast || formats_agree(p.out[0].dims);
  if (!last) return Verdict::no("the result is {}", name(p.out[0].format));
  if (depthwise && !cpu::is_depthwise(s->shape)) return Verdict::no("not depthwise");
  if (!depthwise && cpu::is_depthwise(s->shape)) return Verdict::no("depthwise");
  if (planar && s->shape.groups != 1) return Verdict::no("groups");
  if (planar && s->shape.cin > 4) return Verdict::no("more than 4 input channels");
  if (!RowEpilogue::make(p, row_axes(p.out[0]), 1, why)) return Verdict::no("epilogue: {}", why);
  return Verdict::yes().with_strides(!planar, true);
}

Verdict judge_nhwc(const Problem& p) { return judge_common(p, false, false); }
Verdict judge_depthwise(const Problem& p) { return judge_common(p, true, false); }
Verdict judge_planar(const Problem& p) { return judge_common(p, false, true); }

// Winograd multiplies a quarter as often but reads four times the weights, which pays once an image has enough tiles
// for each of them.
Verdict judge_winograd(const Problem& p) {
  Verdict v = judge_common(p, false, false);
  if (!v.ok) return v;
  std::string why;
  const cpu::ConvShape s = setup_2d(p, why)->shape;
  if (!cpu::winograd_applies(s)) return Verdict::no("not 3x3 of stride 1 with 16 channels or more");
  if (s.n * s.oh() * s.ow() < 100 && s.cin * s.cout > 128 * 128) return Verdict::no("too few pixels for its weights");
  return v;
}

enum class Way { kNhwc, kDepthwise, kPlanar, kWinograd };

const char* way_name(Way way) {
  return way == Way::kDepthwise ? "conv_depthwise" : way == Way::kWinograd ? "conv_winograd" : "conv";
}

size_t packed_floats(const cpu::ConvShape& shape, Way way) {
  if (way == Way::kDepthwise) return cpu::depthwise_packed_floats(shape);
  if (way == Way::kWinograd) return cpu::winograd_packed_floats(shape);
  return cpu::conv_packed_floats(shape);
}

void pack(const cpu::ConvShape& shape, Way way, const float* weights, float* to) {
  if (way == Way::kDepthwise) return cpu::depthwise_pack(shape, weights, to);
  if (way == Way::kWinograd) return cpu::winograd_pack(shape, weights, to);
  cpu::conv_pack(shape, weights, to);
}

size_t workspace_floats(const cpu::ConvShape& shape, Way way, int threads) {
  if (way == Way::kDepthwise) return 0;
  if (way == Way::kPlanar) return cpu::conv_planar_workspace_floats(shape, threads);
  if (way == Way::kWinograd) return cpu::winograd_workspace_floats(shape, threads);
  return cpu::conv_workspace_floats(shape, threads);
}

std::unique_ptr<Kernel> prepare(const Problem& p, WeightStore& store, Way way) {
  std::string why;
  const Setup setup = *setup_2d(p, why);
  const cpu::ConvShape shape = setup.shape;
  auto epilogue = *RowEpilogue::make(p, row_axes(p.out[0]), 1, why);
  std::string key = fmt::format("{} g{} {}", way_name(way), shape.groups, cpu::layout_id());
  const float* source = p.in[1].constant->data<float>();
  const auto bytes = static_cast<int64_t>(packed_floats(shape, way) * sizeof(float));
  const std::byte* packed = store.pack(*p.in[1].constant, key, bytes,
                                       [&](std::byte* to) { pack(shape, way, source, reinterpret_cast<float*>(to)); });
  const bool rows = p.in[0].rank() == 4 && !setup.turned;
  cpu::PlanarStrides planar{p.in[0].strides[1], rows ? p.in[0].strides[2] : 0, p.in[0].strides[0]};
  cpu::ConvArgs args;
  args.weights = reinterpret_cast<const float*>(packed);
  args.src_strides = image_strides(p.in[0], setup.turned);
  args.dst_strides = image_strides(p.out[0], setup.turned);
  const float* bias = bias_of(p);
  const size_t workspace = workspace_floats(shape, way, p.threads);
  return make_kernel(
      [=](const RunArgs& a) {
        RowEpilogue::Bound bound;
        cpu::ConvArgs c = args;
        c.src = static_cast<const float*>(a.in[0]);
        c.dst = static_cast<float*>(a.out[0]);
        c.epilogue = epilogue.bind(a.in, bias, bound);
        auto* scratch = static_cast<float*>(a.workspace);
        if (way == Way::kDepthwise) {
          cpu::depthwise(a.pool, shape, c);
        } else if (way == Way::kPlanar) {
          cpu::conv_planar(a.pool, shape, c, planar, scratch);
        } else if (way == Way::kWinograd) {
          cpu::winograd(a.pool, shape, c, scratch);
        } else {
          cpu::conv(a.pool, shape, c, scratch);
        }
      },
      static_cast<int64_t>(workspace * 4), cpu::isa_name());
}

std::unique_ptr<Kernel> prepare_nhwc(const Problem& p, WeightStore& s) { return prepare(p, s, Way::kNhwc); }
std::unique_ptr<Kernel> prepare_depthwise(const Problem& p, WeightStore& s) { return prepare(p, s, Way::kDepthwise); }
std::unique_ptr<Kernel> prepare_planar(const Problem& p, WeightStore& s) { return prepare(p, s, Way::kPlanar); }
std::unique_ptr<Kernel> prepare_winograd(const Problem& p, WeightStore& s) { return prepare(p, s, Way::kWinograd); }

// --- 3-D ---

std::optional<cpu::Conv3dShape> setup_3d(const Problem& p, std::string& why) {
  const Operand &x = p.in[0], &w = p.in[1];
  if (x.rank() != 5 || x.dtype != DType::kFloat32 || w.constant == nullptr ||
      (p.has(2) && p.in[2].constant == nullptr)) {
    why = "not a 3-D float32 convolution with constant weights";
    return std::nullopt;
  }
  Window g = problem_window(p, weight_window(w));
  cpu::Conv3dShape s;
  s.d = x.dims[2];
  s.kd = g.kernel[0];
  s.stride_d = g.strides[0];
  s.dilation_d = g.dilations[0];
  s.pad_front = g.begins[0];
  s.pad_back = g.ends[0];
  cpu::ConvShape& c = s.plane;
  c.n = x.dims[0];
  c.cin = x.dims[1];
  c.cout = w.dims[0];
  c.h = x.dims[3];
  c.w = x.dims[4];
  c.kh = g.kernel[1];
  c.kw = g.kernel[2];
  c.stride_h = g.strides[1];
  c.stride_w = g.strides[2];
  c.dilation_h = g.dilations[1];
  c.dilation_w = g.dilations[2];
  c.pad_top = g.begins[1];
  c.pad_left = g.begins[2];
  c.pad_bottom = g.ends[1];
  c.pad_right = g.ends[2];
  c.groups = p.attrs().integer("group", 1);
  for (size_t i = 0; i < 3; ++i) {
    if (g.begins[i] < 0 || g.ends[i] < 0) {
      why = "negative pads";
      return std::nullopt;
    }
  }
  return s;
}

Verdict judge_3d(const Problem& p) {
  std::string why;
  if (!setup_3d(p, why)) return Verdict::no("{}", why);
  if (p.in[0].format != Format::kChannelsLast || p.out[0].format != Format::kChannelsLast) return Verdict::no("plain");
  if (p.out[0].size() == 0) return Verdict::no("an empty result");
  if (!RowEpilogue::make(p, {0, 2, 3, 4}, 1, why)) return Verdict::no("epilogue: {}", why);
  return Verdict::yes();
}

std::unique_ptr<Kernel> prepare_3d(const Problem& p, WeightStore& store) {
  std::string why;
  cpu::Conv3dShape shape = *setup_3d(p, why);
  auto epilogue = *RowEpilogue::make(p, {0, 2, 3, 4}, 1, why);
  std::string key = fmt::format("conv3d g{} {}", shape.plane.groups, cpu::layout_id());
  const float* source = p.in[1].constant->data<float>();
  const std::byte* packed =
      store.pack(*p.in[1].constant, key, static_cast<int64_t>(cpu::conv3d_packed_floats(shape) * 4),
                 [&](std::byte* to) { cpu::conv3d_pack(shape, source, reinterpret_cast<float*>(to)); });
  auto strides = [](const Operand& o) { return cpu::ImageStrides{o.strides[4], o.strides[3], o.strides[0]}; };
  cpu::ConvArgs args;
  args.weights = reinterpret_cast<const float*>(packed);
  args.src_strides = strides(p.in[0]);
  args.dst_strides = strides(p.out[0]);
  int64_t src_plane = p.in[0].strides[2], dst_plane = p.out[0].strides[2];
  const float* bias = bias_of(p);
  return make_kernel(
      [=](const RunArgs& a) {
        RowEpilogue::Bound bound;
        cpu::ConvArgs c = args;
        c.src = static_cast<const float*>(a.in[0]);
        c.dst = static_cast<float*>(a.out[0]);
        c.epilogue = epilogue.bind(a.in, bias, bound);
        cpu::conv3d(a.pool, shape, c, src_plane, dst_plane, static_cast<float*>(a.workspace));
      },
      static_cast<int64_t>(cpu::conv3d_workspace_floats(shape, p.threads) * 4), cpu::isa_name());
}

}  // namespace

void define_conv_cpu(TacticTable& table) {
  table.add("Conv", {{"depthwise_nhwc", judge_depthwise, prepare_depthwise},
                     {"gemm_planar", judge_planar, prepare_planar},
                     {"winograd_nhwc", judge_winograd, prepare_winograd},
                     {"gemm_nhwc", judge_nhwc, prepare_nhwc},
                     {"gemm_ndhwc", judge_3d, prepare_3d}});
}

}  // namespace tenon
