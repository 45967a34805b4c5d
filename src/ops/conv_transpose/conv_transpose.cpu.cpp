// CPU tactic of ConvTranspose: channels-last, by the phases of the output.
#include "cpu/conv_transpose.hpp"

#include "base/error.hpp"
#include "cpu/isa.hpp"
#include "tactic/epilogue.hpp"
#include "tactic/tactic.hpp"

namespace tenon {
namespace {

std::optional<cpu::ConvTransposeShape> shape_of(const Problem& p, std::string& why) {
  const Operand &x = p.in[0], &w = p.in[1], &y = p.out[0];
  why = "not a 1-D or 2-D float32 transposed convolution with constant weights";
  if (x.dtype != DType::kFloat32 || (x.rank() != 4 && x.rank() != 3) || w.constant == nullptr) return std::nullopt;
  if (p.has(2) && p.in[2].constant == nullptr) return std::nullopt;
  bool flat = x.rank() == 3;
  size_t axes = flat ? 1 : 2;
  auto per_axis = [&](const char* key, int64_t otherwise, size_t count) {
    Ints v = p.attrs().ints(key);
    return v.empty() ? Ints(count, otherwise) : v;
  };
  Ints strides = per_axis("strides", 1, axes), dilations = per_axis("dilations", 1, axes),
       pads = per_axis("pads", 0, 2 * axes);
  cpu::ConvTransposeShape c;
  c.n = x.dims[0];
  c.cin = x.dims[1];
  c.groups = p.attrs().integer("group", 1);
  c.cout = w.dims[1] * c.groups;
  c.h = flat ? 1 : x.dims[2];
  c.w = x.dims.back();
  c.kh = flat ? 1 : w.dims[2];
  c.kw = w.dims.back();
  c.stride_h = flat ? 1 : strides[0];
  c.stride_w = strides.back();
  c.dilation_h = flat ? 1 : dilations[0];
  c.dilation_w = dilations.back();
  c.oh = flat ? 1 : y.dims[2];
  c.ow = y.dims.back();
  std::string auto_pad = p.attrs().string("auto_pad", "NOTSET");
  bool by_shape = p.attrs().has("output_shape") || auto_pad.starts_with("SAME");
  if (by_shape) {
    why = "padding follows from a wanted output shape";
    return std::nullopt;
  }
  if (auto_pad == "VALID") pads.assign(2 * axes, 0);
  c.pad_top = flat ? 0 : pads[0];
  c.pad_left = pads[axes - 1];
  if (c.pad_top < 0 || c.pad_left < 0) {
    why = "negative pads";
    return std::nullopt;
  }
  c.joined = cpu::can_join(c) && y.dense();
  return c;
}

cpu::ImageStrides strides_of_image(const Operand& o) {
  int64_t pixel = o.dims.back() == 1 ? o.dims[1] : o.strides.back();
  return {pixel, o.rank() == 3 ? pixel * o.dims.back() : o.strides[2], o.strides[0]};
}

std::vector<int> rows(const Problem& p) {
  return p.out[0].rank() == 3 ? std::vector<int>{0, 2} : std::vector<int>{0, 2, 3};
}

Verdict judge(const Problem& p) {
  std::string why;
  if (!shape_of(p, why)) return Verdict::no("{}", why);
  bool last = (p.in[0].format == Format::kChannelsLast || formats_agree(p.in[0].dims)) &&
              (p.out[0].format == Format::kChannelsLast || formats_agree(p.out[0].dims));
  if (!last) return Verdict::no("plain");
  if (p.out[0].size() == 0 || p.in[0].size() == 0) return Verdict::no("an empty operand");
  if (!RowEpilogue::make(p, rows(p), 1, why)) return Verdict::no("epilogue: {}", why);
  return Verdict::yes().with_strides();
}

std::unique_ptr<Kernel> prepare(const Problem& p, WeightStore& store) {
  std::string why;
  cpu::ConvTransposeShape shape = *shape_of(p, why);
  auto epilogue = *RowEpilogue::make(p, rows(p), 1, why);
  std::string key = fmt::format("conv_transpose{} s{}x{} d{}x{} p{}x{} g{} {}", shape.joined ? " joined" : "",
                                shape.stride_h, shape.stride_w, shape.dilation_h, shape.dilation_w, shape.pad_top,
                                shape.pad_left, shape.groups, cpu::layout_id());
  const float* source = p.in[1].constant->data<float>();
  const std::byte* packed =
      store.pack(*p.in[1].constant, key, static_cast<int64_t>(cpu::conv_transpose_packed_floats(shape) * 4),
                 [&](std::byte* to) { cpu::conv_transpose_pack(shape, source, reinterpret_cast<float*>(to)); });
  cpu::ConvArgs args;
  args.weights = reinterpret_cast<const float*>(packed);
  args.src_strides = strides_of_image(p.in[0]);
  args.dst_strides = strides_of_image(p.out[0]);
  const float* bias = p.has(2) ? p.in[2].constant->data<float>() : nullptr;
  return make_kernel(
      [=](const RunArgs& a) {
        RowEpilogue::Bound bound;
        cpu::ConvArgs c = args;
        c.src = static_cast<const float*>(a.in[0]);
        c.dst = static_cast<float*>(a.out[0]);
        c.epilogue = epilogue.bind(a.in, bias, bound);
        cpu::conv_transpose(a.pool, shape, c, static_cast<float*>(a.workspace));
      },
      static_cast<int64_t>(cpu::conv_transpose_workspace_floats(shape, p.threads) * 4), cpu::isa_name());
}

}  // namespace

void define_conv_transpose_cpu(TacticTable& table) { table.add("ConvTranspose", {{"phases_nhwc", judge, prepare}}); }

}  // namespace tenon
