// CPU tactics of the 8-bit products: ConvInteger, MatMulInteger (any epilogue), QLinearConv, QLinearMatMul.
#include "base/error.hpp"
#include "cpu/qconv.hpp"
#include "cpu/qdepthwise.hpp"
#include "tactic/epilogue.hpp"
#include "tactic/problem_window.hpp"

namespace tenon {
namespace {

cpu::QIsa best_isa() {
  static const cpu::QIsa isa = cpu::q_best_isa();
  return isa;
}

bool is_byte(DType t) { return t == DType::kInt8 || t == DType::kUInt8; }
cpu::QType q_type(DType t) { return t == DType::kInt8 ? cpu::QType::kS8 : cpu::QType::kU8; }

int32_t zero_point_at(const void* data, DType t) {
  if (data == nullptr) return 0;
  return t == DType::kInt8 ? *static_cast<const int8_t*>(data) : *static_cast<const uint8_t*>(data);
}

// Where the pieces of each op's signature are among its inputs (-1: it has none).
struct Signature {
  int x = 0, x_scale = -1, x_zero = 2, w = 1, w_scale = -1, w_zero = 3, y_scale = -1, y_zero = -1, bias = -1;
};

Signature signature(std::string_view op) {
  if (op == "QLinearConv") return {0, 1, 2, 3, 4, 5, 6, 7, 8};
  if (op == "QLinearMatMul") return {0, 1, 2, 3, 4, 5, 6, 7, -1};
  return {};
}

// The zero points of the weights as a list of one or one a channel.
std::vector<int32_t> weight_zeros(const Problem& p, const Signature& s) {
  std::vector<int32_t> out;
  if (!p.has(static_cast<size_t>(s.w_zero))) return {0};
  const Tensor& t = *p.in[static_cast<size_t>(s.w_zero)].constant;
  for (int64_t i = 0; i < t.size(); ++i) out.push_back(static_cast<int32_t>(t.int_at(i)));
  return out;
}

// Constant requantisation: scale a column, output zero point, bias.
struct Requant {
  std::vector<float> scale;
  std::vector<int32_t> bias;
  int32_t zero = 0;
};

std::optional<Requant> requant_of(const Problem& p, const Signature& s, int64_t channels, std::string& why) {
  auto constant = [&](int i) -> const Tensor* {
    return i >= 0 && p.has(static_cast<size_t>(i)) ? p.in[static_cast<size_t>(i)].constant : nullptr;
  };
  const Tensor *xs = constant(s.x_scale), *ws = constant(s.w_scale), *ys = constant(s.y_scale),
               *yz = constant(s.y_zero);
  if (xs == nullptr || ws == nullptr || ys == nullptr || yz == nullptr || xs->size() != 1 || ys->size() != 1 ||
      yz->size() != 1 || (ws->size() != 1 && ws->size() != channels)) {
    why = "scales or zero points are not constant";
    return std::nullopt;
  }
  Requant r;
  for (int64_t c = 0; c < channels; ++c) {
    auto w = static_cast<float>(ws->at(ws->size() == 1 ? 0 : c));
    r.scale.push_back(static_cast<float>(xs->at(0)) * w / static_cast<float>(ys->at(0)));
  }
  if (s.bias >= 0 && p.has(static_cast<size_t>(s.bias))) {
    const Tensor* b = constant(s.bias);
    if (b == nullptr || b->dtype() != DType::kInt32) {
      why = "the bias is not constant int32";
      return std::nullopt;
    }
    for (int64_t c = 0; c < channels; ++c) r.bias.push_back(static_cast<int32_t>(b->int_at(c)));
  }
  r.zero = static_cast<int32_t>(yz->int_at(0));
  return r;
}

bool common_judge(const Problem& p, const Signature& s, std::string& why) {
  const Operand &x = p.in[static_cast<size_t>(s.x)], &w = p.in[static_cast<size_t>(s.w)];
  if (!is_byte(x.dtype) || !is_byte(w.dtype)) {
    why = "not 8-bit";
    return false;
  }
  if (w.constant == nullptr) {
    why = "the weights are not constant";
    return false;
  }
  auto zero = [&](int i) { return i >= 0 && p.has(static_cast<size_t>(i)) ? &p.in[static_cast<size_t>(i)] : nullptr; };
  if (const Operand* z = zero(s.w_zero); z != nullptr && z->constant == nullptr) {
    why = "the weights' zero point is not constant";
    return false;
  }
  if (const Operand* z = zero(s.x_zero); z != nullptr && z->size() != 1) {
    why = "a zero point for each channel of the input";
    return false;
  }
  if (x.size() == 0 || p.out[0].size() == 0) {
    why = "an empty operand";
    return false;
  }
  return true;
}

// --- convolution ---

std::vector<int> row_axes(const Problem& p) {
  return p.out[0].rank() == 3 ? std::vector<int>{0, 2} : std::vector<int>{0, 2, 3};
}

std::optional<cpu::QConvShape> conv_shape(const Problem& p, const Signature& s, std::string& why) {
  const Operand &x = p.in[static_cast<size_t>(s.x)], &w = p.in[static_cast<size_t>(s.w)];
  if (x.rank() != 4 && x.rank() != 3) {
    why = "not a 1-D or 2-D convolution";
    return std::nullopt;
  }
  Window g = problem_window(p, weight_window(w));
  bool flat = x.rank() == 3;
  size_t last = g.axes() - 1;
  cpu::QConvShape c;
  c.batch = x.dims[0];
  c.in_c = x.dims[1];
  c.in_h = flat ? 1 : x.dims[2];
  c.in_w = x.dims.back();
  c.out_c = w.dims[0];
  c.kernel_h = flat ? 1 : g.kernel[0];
  c.kernel_w = g.kernel[last];
  c.stride_h = flat ? 1 : g.strides[0];
  c.stride_w = g.strides[last];
  c.dilation_h = flat ? 1 : g.dilations[0];
  c.dilation_w = g.dilations[last];
  c.pad_top = flat ? 0 : g.begins[0];
  c.pad_left = g.begins[last];
  c.pad_bottom = flat ? 0 : g.ends[0];
  c.pad_right = g.ends[last];
  c.groups = p.attrs().integer("group", 1);
  if (c.pad_top < 0 || c.pad_left < 0 || c.pad_bottom < 0 || c.pad_right < 0) {
    why = "negative pads";
    return std::nullopt;
  }
  return c;
}

Verdict judge_conv(const Problem& p) {
  Signature s = signature(p.node->op);
  std::string why;
  if (!common_judge(p, s, why)) return Verdict::no("{}", why);
  auto shape = conv_shape(p, s, why);
  if (!shape) return Verdict::no("{}", why);
  auto last = [](const Operand& o) { return o.format == Format::kChannelsLast || formats_agree(o.dims); };
  if (!last(p.in[0]) || !last(p.out[0])) return Verdict::no("plain");
  if (s.y_scale >= 0) {
    if (p.epilogue() != nullptr) return Verdict::no("an epilogue behind a requantisation");
    if (!requant_of(p, s, shape->out_c, why)) return Verdict::no("{}", why);
    return Verdict::yes().with_strides(true, false);
  } else if (!IntEpilogue::make(p, row_axes(p), 1, why)) {
    return Verdict::no("epilogue: {}", why);
  }
  return Verdict::yes().with_strides();
}

std::unique_ptr<Kernel> prepare_conv(const Problem& p, WeightStore& store) {
  Signature s = signature(p.node->op);
  std::string why;
  cpu::QConvShape shape = *conv_shape(p, s, why);
  cpu::QIsa isa = best_isa();
  bool depthwise = shape.groups > 1 && shape.groups == shape.in_c && shape.groups == shape.out_c;
  const Operand &x = p.in[0], &w = p.in[static_cast<size_t>(s.w)];
  std::vector<int32_t> zeros = weight_zeros(p, s);
  cpu::QConvWeights weights{w.constant->raw(), q_type(w.dtype), zeros.data(), zeros.size() > 1};
  uint32_t layout = depthwise ? cpu::qdepthwise_layout(isa) : cpu::q_layout(isa);
  size_t bytes = depthwise ? cpu::qdepthwise_packed_size(layout, shape) : cpu::qconv_packed_size(layout, shape);
  std::string key =
      fmt::format("qconv g{} L{} k{}x{} {} z", shape.groups, layout, shape.kernel_h, shape.kernel_w, name(w.dtype));
  for (int32_t z : zeros) key += fmt::format(" {}", z);
  const std::byte* packed = store.pack(*w.constant, key, static_cast<int64_t>(bytes), [&](std::byte* to) {
    depthwise ? cpu::qdepthwise_pack(layout, shape, weights, to) : cpu::qconv_pack(layout, shape, weights, to);
  });
  cpu::QConvArgs args;
  args.shape = shape;
  args.x_type = q_type(x.dtype);
  args.pixel_stride = x.dims.back() == 1 ? std::max<int64_t>(shape.in_c, 1) : x.strides.back();
  args.row_stride = x.rank() == 3 ? args.pixel_stride * shape.in_w : x.strides[2];
  args.batch_stride = x.strides[0];
  args.packed = packed;
  size_t workspace =
      depthwise ? cpu::qdepthwise_workspace(isa, shape, p.threads) : cpu::qconv_workspace(isa, shape, p.threads);
  DType x_dtype = x.dtype;
  bool has_zero = p.has(static_cast<size_t>(s.x_zero));
  bool requant = s.y_scale >= 0;
  Requant r;
  IntEpilogue epilogue;
  if (requant) {
    r = *requant_of(p, s, shape.out_c, why);
  } else {
    epilogue = *IntEpilogue::make(p, row_axes(p), 1, why);
  }
  int64_t out_pixel = p.out[0].dims.back() == 1 ? shape.out_c : p.out[0].strides.back();
  DType y_dtype = p.out[0].dtype;
  return make_kernel(
      [=](const RunArgs& a) {
        cpu::QConvArgs c = args;
        c.x = a.in[0];
        c.x_zp = zero_point_at(has_zero ? a.in[s.x_zero] : nullptr, x_dtype);
        IntEpilogue::Bound bound;
        if (requant) {
          c.epilogue.kind = cpu::QEpilogueKind::kRequant;
          c.epilogue.out_type = q_type(y_dtype);
          c.epilogue.out = a.out[0];
          c.epilogue.ld_out = out_pixel;
          c.epilogue.acc_bias = r.bias.empty() ? nullptr : r.bias.data();
          c.epilogue.scale = r.scale.data();
          c.epilogue.scale_per_column = true;
          c.epilogue.out_zp = r.zero;
        } else {
          c.epilogue = epilogue.bind(a.in, a.out[0], bound);
        }
        depthwise ? cpu::qdepthwise(isa, c, a.workspace, a.pool) : cpu::qconv(isa, c, a.workspace, a.pool);
      },
      static_cast<int64_t>(workspace), cpu::name(isa));
}

// --- matrix product ---

Verdict judge_matmul(const Problem& p) {
  Signature s = signature(p.node->op);
  std::string why;
  if (!common_judge(p, s, why)) return Verdict::no("{}", why);
  const Operand &x = p.in[0], &w = p.in[static_cast<size_t>(s.w)];
  if (w.rank() != 2 || x.rank() < 2) return Verdict::no("not a product with one matrix");
  if (!x.dense() || (x.format != Format::kPlain && !formats_agree(x.dims)))
    return Verdict::no("the input is not dense");
  if (p.out[0].format != Format::kPlain && !formats_agree(p.out[0].dims))
    return Verdict::no("the result is channels-last");
  int64_t zeros = p.has(static_cast<size_t>(s.w_zero)) ? p.in[static_cast<size_t>(s.w_zero)].size() : 1;
  if (zeros != 1 && zeros != w.dims[1]) return Verdict::no("zero points of the weights by row");
  std::vector<int> rows;
  for (int i = 0; i + 1 < p.out[0].rank(); ++i) rows.push_back(i);
  if (s.y_scale >= 0) {
    if (p.epilogue() != nullptr) return Verdict::no("an epilogue behind a requantisation");
    if (!requant_of(p, s, w.dims[1], why)) return Verdict::no("{}", why);
  } else if (!IntEpilogue::make(p, rows, p.out[0].rank() - 1, why)) {
    return Verdict::no("epilogue: {}", why);
  }
  return Verdict::yes();
}

std::unique_ptr<Kernel> prepare_matmul(const Problem& p, WeightStore& store) {
  Signature s = signature(p.node->op);
  std::string why;
  cpu::QIsa isa = best_isa();
  const Operand &x = p.in[0], &w = p.in[static_cast<size_t>(s.w)];
  int64_t k = w.dims[0], n = w.dims[1], m = x.size() / std::max<int64_t>(k, 1);
  std::vector<int32_t> zeros = weight_zeros(p, s);
  cpu::QGemmWeights weights;
  weights.k = k;
  weights.n = n;
  weights.data = w.constant->raw();
  weights.type = q_type(w.dtype);
  weights.row_stride = n;
  weights.zero_points = zeros.data();
  weights.zero_point_per_column = zeros.size() > 1;
  uint32_t layout = cpu::q_layout(isa);
  std::string key = fmt::format("qgemm L{} {} z", layout, name(w.dtype));
  for (int32_t z : zeros) key += fmt::format(" {}", z);
  const std::byte* packed = store.pack(*w.constant, key, static_cast<int64_t>(cpu::qgemm_packed_size(layout, k, n)),
                                       [&](std::byte* to) { cpu::qgemm_pack(layout, weights, to); });
  std::vector<int> rows;
  for (int i = 0; i + 1 < p.out[0].rank(); ++i) rows.push_back(i);
  bool requant = s.y_scale >= 0;
  Requant r;
  IntEpilogue epilogue;
  if (requant) {
    r = *requant_of(p, s, n, why);
  } else {
    epilogue = *IntEpilogue::make(p, rows, p.out[0].rank() - 1, why);
  }
  DType x_dtype = x.dtype, y_dtype = p.out[0].dtype;
  bool has_zero = p.has(static_cast<size_t>(s.x_zero));
  return make_kernel(
      [=](const RunArgs& a) {
        cpu::QGemmArgs g;
        g.m = m;
        g.n = n;
        g.k = k;
        g.a = a.in[0];
        g.a_type = q_type(x_dtype);
        g.lda = k;
        g.a_zp = zero_point_at(has_zero ? a.in[s.x_zero] : nullptr, x_dtype);
        g.packed = packed;
        IntEpilogue::Bound bound;
        if (requant) {
          g.epilogue.kind = cpu::QEpilogueKind::kRequant;
          g.epilogue.out_type = q_type(y_dtype);
          g.epilogue.out = a.out[0];
          g.epilogue.ld_out = n;
          g.epilogue.scale = r.scale.data();
          g.epilogue.scale_per_column = true;
          g.epilogue.out_zp = r.zero;
        } else {
          g.epilogue = epilogue.bind(a.in, a.out[0], bound);
        }
        cpu::qgemm(isa, g, a.workspace, a.pool);
      },
      static_cast<int64_t>(cpu::qgemm_workspace(isa, k, p.threads)), cpu::name(isa));
}

}  // namespace

void define_integer_cpu(TacticTable& table) {
  for (const char* op : {"ConvInteger", "QLinearConv"}) table.add(op, {{"int8_nhwc", judge_conv, prepare_conv}});
  for (const char* op : {"MatMulInteger", "QLinearMatMul"})
    table.add(op, {{"int8_packed", judge_matmul, prepare_matmul}});
}

}  // namespace tenon
