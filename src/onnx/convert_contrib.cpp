// Fused and quantised operators of com.microsoft, which optimised and quantised files carry, said in standard
// operators: so they run on the kernels of those, and the passes fuse them again as this machine likes it.
#include <algorithm>

#include "onnx/convert.hpp"

namespace tenon::onnx {
namespace {

void become(NodeEdit& n, std::string op, std::vector<ValueId> inputs, Attrs attrs = {}) {
  n.op = std::move(op);
  n.domain.clear();
  n.inputs = std::move(inputs);
  n.attrs = std::move(attrs);
}

Attrs attr(std::string name, Attr value) {
  Attrs a;
  a.set(std::move(name), std::move(value));
  return a;
}

void refuse_inputs(const NodeEdit& n, std::initializer_list<size_t> inputs) {
  for (size_t i : inputs) {
    if (n.has(i)) n.unsupported("{} with its input {} is not supported", n.op, i);
  }
}

void refuse_outputs(const NodeEdit& n, std::initializer_list<size_t> outputs) {
  for (size_t i : outputs) {
    if (n.wants(i)) n.unsupported("output {} of {} is not supported", i, n.op);
  }
}

// The node becomes the activation that its attributes name, of `x`.
void activate(NodeEdit& n, const std::string& activation, const Floats& params, ValueId x) {
  auto parameter = [&](size_t i) {
    expect(i < params.size(), "the activation {} needs {} parameters", activation, i + 1);
    return params[i];
  };
  Attrs a;
  if (activation.empty()) return become(n, "Identity", {x});
  if (activation == "Clip")
    return become(n, "Clip", {x, n.scalar_like(parameter(0), x), n.scalar_like(parameter(1), x)});
  if (activation == "LeakyRelu") a.set("alpha", parameter(0));
  if (activation == "HardSigmoid") {
    a.set("alpha", parameter(0));
    a.set("beta", parameter(1));
  }
  bool known = !a.empty() || activation == "Relu" || activation == "Sigmoid" || activation == "Tanh";
  if (!known) n.unsupported("{} with the activation '{}' is not supported", n.op, activation);
  become(n, activation, {x}, a);
}

void fused_conv(NodeEdit& n) {
  std::string activation = n.attrs.string("activation", "");
  Floats params = n.attrs.numbers("activation_params");
  Attrs conv = n.attrs;
  conv.erase("activation");
  conv.erase("activation_params");
  std::vector<ValueId> inputs = n.inputs;
  ValueId residual = inputs.size() > 3 ? inputs[3] : kNone;
  inputs.resize(std::min<size_t>(inputs.size(), 3));
  while (!inputs.empty() && inputs.back() == kNone) inputs.pop_back();
  ValueId x = n.add("Conv", inputs, conv);
  if (residual != kNone) x = n.add("Add", {x, residual});
  activate(n, activation, params, x);
}

void fused_gemm(NodeEdit& n) {
  std::string activation = n.attrs.string("activation", "");
  Floats params;
  for (const char* name : {"activation_alpha", "activation_beta", "activation_gamma"}) {
    if (n.attrs.has(name)) params.push_back(n.attrs.number(name, 0));
  }
  Attrs gemm;
  for (const char* name : {"alpha", "beta", "transA", "transB"}) {
    if (const Attr* a = n.attrs.find(name)) gemm.set(name, *a);
  }
  activate(n, activation, params, n.add("Gemm", n.inputs, gemm));
}

ValueId last_two_swapped(NodeEdit& n, ValueId x) {
  int rank = n.rank(x);
  if (rank < 2) n.unsupported("{} needs inputs of known rank, 2 at least, to transpose them", n.op);
  Ints perm;
  for (int i = 0; i < rank; ++i) perm.push_back(i);
  std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
  return n.add("Transpose", {x}, attr("perm", perm));
}

void fused_matmul(NodeEdit& n) {
  if (n.attrs.integer("transBatchA", 0) != 0 || n.attrs.integer("transBatchB", 0) != 0)
    n.unsupported("FusedMatMul with transBatchA or transBatchB is not supported");
  ValueId a = n.in(0), b = n.in(1);
  if (n.attrs.integer("transA", 0) != 0) a = last_two_swapped(n, a);
  if (n.attrs.integer("transB", 0) != 0) b = last_two_swapped(n, b);
  double alpha = n.attrs.number("alpha", 1);
  if (alpha == 1) return become(n, "MatMul", {a, b});
  ValueId product = n.add("MatMul", {a, b});
  become(n, "Mul", {product, n.scalar_like(alpha, n.in(0))});
}

void quick_gelu(NodeEdit& n) { become(n, "Swish", {n.in(0)}, attr("alpha", n.attrs.number("alpha", 1.702f))); }

void gelu(NodeEdit& n) { become(n, "Gelu", {n.in(0)}); }

void bias_gelu(NodeEdit& n) {
  ValueId x = n.has(1) ? n.add("Add", {n.in(0), n.in(1)}) : n.in(0);
  bool tanh = n.op == "FastGelu";
  become(n, "Gelu", {x}, tanh ? attr("approximate", std::string("tanh")) : Attrs());
}

// x + skip + bias, which may be an output too, then normalised. Inputs: x, skip, gamma, then beta for a layer norm,
// bias.
void skip_norm(NodeEdit& n) {
  bool centred = n.op == "SkipLayerNormalization";
  refuse_outputs(n, {1, 2});
  Attrs norm = attr("axis", int64_t{-1});
  norm.set("epsilon", n.attrs.number("epsilon", 1e-12f));
  std::vector<ValueId> parameters{n.in(2)};
  if (centred && n.has(3)) parameters.push_back(n.in(3));
  ValueId bias = n.has(centred ? 4 : 3) ? n.in(centred ? 4 : 3) : kNone;
  ValueId a = n.in(0), b = n.in(1);
  if (bias != kNone) {
    a = n.add("Add", {a, b});
    b = bias;
  }
  ValueId sum = kNone;
  if (n.wants(3)) {
    n.produce(3, "Add", {a, b});
    sum = n.produced()[3];
  } else {
    sum = n.add("Add", {a, b});
  }
  n.outputs.resize(1);
  std::vector<ValueId> inputs{sum};
  inputs.insert(inputs.end(), parameters.begin(), parameters.end());
  become(n, centred ? "LayerNormalization" : "RMSNormalization", inputs, norm);
}

void simplified_norm(NodeEdit& n) {
  refuse_outputs(n, {1});
  n.outputs.resize(1);
  Attrs norm = attr("axis", n.attrs.integer("axis", -1));
  norm.set("epsilon", n.attrs.number("epsilon", 1e-5f));
  become(n, "RMSNormalization", {n.in(0), n.in(1)}, norm);
}

// Inputs: A, B, scale of A, scale of B, zero points of A and B, bias.
void matmul_integer_to_float(NodeEdit& n) {
  std::vector<ValueId> inputs{n.in(0), n.in(1)};
  if (n.has(4) || n.has(5)) inputs.push_back(n.has(4) ? n.in(4) : kNone);
  if (n.has(5)) inputs.push_back(n.in(5));
  ValueId product = n.add("MatMulInteger", inputs);
  ValueId real = n.add("CastLike", {product, n.in(2)}), scale = n.add("Mul", {n.in(2), n.in(3)});
  if (!n.has(6)) return become(n, "Mul", {real, scale});
  become(n, "Add", {n.add("Mul", {real, scale}), n.in(6)});
}

// Inputs: A, B, scale of B, zero point of B, bias.
void dynamic_quantize_matmul(NodeEdit& n) {
  std::vector<std::string> names{n.fresh("quantized"), n.fresh("scale"), n.fresh("zero")};
  NodeId q = n.place("DynamicQuantizeLinear", {n.in(0)}, names, {}, n.name);
  std::vector<ValueId> made = n.graph.node(q).outputs;
  std::vector<ValueId> inputs{made[0], n.in(1), made[2]};
  if (n.has(3)) inputs.push_back(n.in(3));
  ValueId product = n.add("MatMulInteger", inputs);
  ValueId real = n.add("CastLike", {product, n.in(0)}), scale = n.add("Mul", {made[1], n.in(2)});
  if (!n.has(4)) return become(n, "Mul", {real, scale});
  become(n, "Add", {n.add("Mul", {real, scale}), n.in(4)});
}

// Zero points of 4-bit weights: two in a byte, the rows beginning anew; without any, the middle of the range.
Tensor nbits_zero_points(const NodeEdit& n, int64_t rows, int64_t blocks) {
  Tensor out = Tensor::allocate(DType::kUInt4, {rows, blocks});
  const Tensor* given = n.constant_in(3);
  if (given == nullptr) {
    for (int64_t i = 0; i < out.size(); ++i) out.set_int(i, 8);
    return out;
  }
  int64_t bytes = (blocks + 1) / 2;
  expect(given->dtype() == DType::kUInt8 && given->size() == rows * bytes,
         "the zero points do not fit {} rows of {} blocks", rows, blocks);
  for (int64_t i = 0; i < out.size(); ++i) {
    int64_t byte = given->int_at(i / blocks * bytes + i % blocks / 2);
    out.set_int(i, i % blocks % 2 == 0 ? byte & 15 : byte >> 4);
  }
  return out;
}

// Weights of N rows of K numbers in blocks, 4 bits each: dequantised, then multiplied.
void matmul_nbits(NodeEdit& n) {
  constexpr int64_t kMost = int64_t{1} << 31;
  int64_t rows = n.attrs.integer("N", 0), inner = n.attrs.integer("K", 0), block = n.attrs.integer("block_size", 0);
  expect(rows >= 1 && inner >= 1 && block >= 2 && block % 2 == 0 && rows < kMost && inner < kMost && block < kMost,
         "{} x {} weights in blocks of {} cannot be read", rows, inner, block);
  const Tensor *weights = n.constant_in(1), *scales = n.constant_in(2);
  refuse_inputs(n, {4});
  bool plain = n.attrs.integer("bits", 4) == 4 && weights != nullptr && scales != nullptr &&
               (!n.has(3) || n.constant_in(3) != nullptr);
  if (!plain) n.unsupported("MatMulNBits is supported with constant weights of 4 bits");
  int64_t blocks = (inner + block - 1) / block;
  expect(weights->dtype() == DType::kUInt8 && weights->size() == rows * blocks * (block / 2) &&
             scales->size() == rows * blocks,
         "weights of shape {} and {} scales do not fit {} x {} in blocks of {}", dims_text(weights->dims()),
         scales->size(), rows, inner, block);
  Tensor packed = Tensor::view(DType::kUInt4, {rows, blocks * block},
                               {weights->raw(), static_cast<size_t>(weights->bytes())}, weights->owner());
  Attrs dequantize = attr("axis", int64_t{1});
  dequantize.set("block_size", block);
  ValueId w = n.add("DequantizeLinear",
                    {n.constant(packed), n.constant(scales->reshaped({rows, blocks})),
                     n.constant(nbits_zero_points(n, rows, blocks))},
                    dequantize);
  if (blocks * block != inner) w = n.add("Slice", {w, n.ints({0}), n.ints({inner}), n.ints({1})});
  ValueId turned = n.add("Transpose", {w}, attr("perm", Ints{1, 0}));
  if (!n.has(5)) return become(n, "MatMul", {n.in(0), turned});
  become(n, "Add", {n.add("MatMul", {n.in(0), turned}), n.in(5)});
}

// --- attention -----------------------------------------------------------------------------------------------------

Attrs attention_attrs(const NodeEdit& n) {
  int64_t heads = n.attrs.integer("num_heads", 0);
  expect(heads >= 1, "attribute num_heads is missing");
  Attrs a;
  a.set("q_num_heads", heads);
  a.set("kv_num_heads", heads);
  if (n.attrs.number("scale", 0) != 0) a.set("scale", n.attrs.number("scale", 0));
  if (n.attrs.integer("unidirectional", 0) != 0) a.set("is_causal", int64_t{1});
  return a;
}

// The parts of `x` along its last axis.
std::vector<ValueId> three_parts(NodeEdit& n, ValueId x) {
  Attrs split = attr("axis", int64_t{-1});
  split.set("num_outputs", int64_t{3});
  NodeId id = n.place("Split", {x}, {n.fresh("q"), n.fresh("k"), n.fresh("v")}, split, n.name);
  return n.graph.node(id).outputs;
}

void multi_head_attention(NodeEdit& n) {
  refuse_inputs(n, {4, 6, 7, 8, 9});
  for (size_t i : {0, 1, 2}) {
    if (!n.has(i) || n.rank(n.in(i)) != 3)
      n.unsupported("MultiHeadAttention with packed or unknown Q, K and V is not supported");
  }
  std::vector<ValueId> qkv{n.in(0), n.in(1), n.in(2)};
  if (n.has(3)) {
    std::vector<ValueId> bias = three_parts(n, n.in(3));
    for (size_t i = 0; i < 3; ++i) qkv[i] = n.add("Add", {qkv[i], bias[i]});
  }
  if (n.has(5)) qkv.push_back(n.in(5));
  become(n, "Attention", qkv, attention_attrs(n));
}

void packed_attention(NodeEdit& n) {
  refuse_inputs(n, {3, 4, 6});
  refuse_outputs(n, {1});
  n.outputs.resize(1);
  if (n.attrs.has("qkv_hidden_sizes") || n.attrs.integer("do_rotary", 0) != 0)
    n.unsupported("Attention with qkv_hidden_sizes or do_rotary is not supported");
  ValueId all = n.add("MatMul", {n.in(0), n.in(1)});
  if (n.has(2)) all = n.add("Add", {all, n.in(2)});
  std::vector<ValueId> qkv = three_parts(n, all);
  if (n.has(5)) qkv.push_back(n.in(5));
  become(n, "Attention", qkv, attention_attrs(n));
}

void rotary_embedding(NodeEdit& n) {
  if (n.rank(n.in(1)) != 2) n.unsupported("RotaryEmbedding needs position_ids of shape (batch, length)");
  if (n.attrs.number("scale", 1) != 1) n.unsupported("RotaryEmbedding with a scale is not supported");
  Attrs a;
  for (const char* name : {"interleaved", "num_heads", "rotary_embedding_dim"}) {
    if (const Attr* v = n.attrs.find(name)) a.set(name, *v);
  }
  become(n, "RotaryEmbedding", {n.in(0), n.in(2), n.in(3), n.in(1)}, a);
}

// --- channels last -------------------------------------------------------------------------------------------------

ValueId channels_first(NodeEdit& n, ValueId x) { return n.add("Transpose", {x}, attr("perm", Ints{0, 3, 1, 2})); }

void channels_last(NodeEdit& n, ValueId x) { become(n, "Transpose", {x}, attr("perm", Ints{0, 2, 3, 1})); }

void group_norm(NodeEdit& n) {
  Attrs norm = attr("num_groups", n.attrs.integer("groups", 1));
  norm.set("epsilon", n.attrs.number("epsilon", 1e-5f));
  bool last = n.attrs.integer("channels_last", 1) != 0, silu = n.attrs.integer("activation", 0) != 0;
  ValueId x = last ? channels_first(n, n.in(0)) : n.in(0);
  // The statistics are float32's; scale and bias are so whatever the input is.
  ValueId gamma = n.add("CastLike", {n.in(1), x}), beta = n.add("CastLike", {n.in(2), x});
  x = n.add("GroupNormalization", {x, gamma, beta}, norm);
  if (silu) x = n.add("Swish", {x});
  last ? channels_last(n, x) : become(n, "Identity", {x});
}

void nhwc_max_pool(NodeEdit& n) {
  ValueId x = channels_first(n, n.in(0));
  channels_last(n, n.add("MaxPool", {x}, n.attrs));
}

constexpr std::string_view kDomain = "com.microsoft";
constexpr Conversion kTable[] = {
    {kDomain, "FusedConv", 1, kAnyVersion, fused_conv},
    {kDomain, "FusedGemm", 1, kAnyVersion, fused_gemm},
    {kDomain, "FusedMatMul", 1, kAnyVersion, fused_matmul},
    {kDomain, "QuickGelu", 1, kAnyVersion, quick_gelu},
    {kDomain, "Gelu", 1, kAnyVersion, gelu},
    {kDomain, "BiasGelu", 1, kAnyVersion, bias_gelu},
    {kDomain, "FastGelu", 1, kAnyVersion, bias_gelu},
    {kDomain, "SkipLayerNormalization", 1, kAnyVersion, skip_norm},
    {kDomain, "SkipSimplifiedLayerNormalization", 1, kAnyVersion, skip_norm},
    {kDomain, "SimplifiedLayerNormalization", 1, kAnyVersion, simplified_norm},
    {"", "SimplifiedLayerNormalization", 1, kAnyVersion, simplified_norm},
    {kDomain, "MatMulIntegerToFloat", 1, kAnyVersion, matmul_integer_to_float},
    {kDomain, "DynamicQuantizeMatMul", 1, kAnyVersion, dynamic_quantize_matmul},
    {kDomain, "MatMulNBits", 1, kAnyVersion, matmul_nbits},
    {kDomain, "MultiHeadAttention", 1, kAnyVersion, multi_head_attention},
    {kDomain, "Attention", 1, kAnyVersion, packed_attention},
    {kDomain, "RotaryEmbedding", 1, kAnyVersion, rotary_embedding},
    {kDomain, "GroupNorm", 1, kAnyVersion, group_norm},
    {kDomain, "NhwcMaxPool", 1, kAnyVersion, nhwc_max_pool},
};

}  // namespace

std::span<const Conversion> contrib_conversions() { return kTable; }

}  // namespace tenon::onnx
