// QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear: between real numbers and scaled integers.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/support.hpp"

namespace tenon {
namespace {

// Where the scale of each element is: one for all, one a channel, or one a block of elements along the axis.
struct ScaleMap {
  size_t axis = 0;
  int64_t inner = 1, extent = 1, block = 1, blocks = 1;
  bool single = false;

  int64_t of(int64_t i) const {
    if (single) return 0;
    int64_t outer = i / (inner * extent), channel = i / inner % extent;
    if (blocks == 0) return channel;  // one scale a channel
    return (outer * blocks + channel / block) * inner + i % inner;
  }
};

ScaleMap scale_map(const RefContext& ctx, const Dims& x, const Tensor& scale) {
  ScaleMap m;
  if (scale.size() == 1 && scale.rank() <= 1) {
    m.single = true;
    return m;
  }
  m.axis = static_cast<size_t>(ctx.axis(ctx.attrs().integer("axis", 1), static_cast<int64_t>(x.size())));
  m.inner = product(x, m.axis + 1, x.size());
  m.extent = x[m.axis];
  if (scale.rank() == 1) {
    ctx.require(scale.size() == m.extent, "{} scales are given for an axis of {}", scale.size(), m.extent);
    m.blocks = 0;
    return m;
  }
  ctx.require(scale.dims().size() == x.size(), "a scale of shape {} does not fit an input of shape {}",
              dims_text(scale.dims()), dims_text(x));
  m.blocks = scale.dims()[m.axis];
  ctx.require(m.blocks > 0, "the scale has no blocks");
  m.block = ctx.attrs().integer("block_size", 0);
  if (m.block == 0) m.block = (m.extent + m.blocks - 1) / m.blocks;
  ctx.require(m.block > 0 && (m.extent + m.block - 1) / m.block == m.blocks,
              "{} blocks of {} do not make an axis of {}", m.blocks, m.block, m.extent);
  Dims wanted = x;
  wanted[m.axis] = m.blocks;
  ctx.require(scale.dims() == wanted, "the scale has shape {} where {} is needed", dims_text(scale.dims()),
              dims_text(wanted));
  return m;
}

DType quantized_type(const Node& node, DType zero_point) {
  DType asked = dtype_attribute(node, "output_dtype", DType::kUndefined);
  if (zero_point != DType::kUndefined) return zero_point;
  return asked != DType::kUndefined ? asked : DType::kUInt8;
}

std::pair<double, double> limits(DType d) {
  double span = std::ldexp(1.0, bits(d));
  return is_signed(d) ? std::pair(-span / 2, span / 2 - 1) : std::pair(0.0, span - 1);
}

void infer_quantize(InferContext& ctx) {
  DType zero = ctx.dtype(2);
  ctx.require(zero == DType::kUndefined || is_integer(zero) || bits(zero) <= 8,
              "a zero point of {} is no quantised number", name(zero));
  ctx.output(0, ctx.has(2) && zero == DType::kUndefined ? zero : quantized_type(ctx.node(), zero), ctx.shape(0));
}

// In float where the scale is float: the division decides which way a half is rounded.
double divide(const Tensor& scale, double x, double s, DType precision) {
  bool wide = scale.dtype() == DType::kFloat64 || precision == DType::kFloat64;
  return wide ? x / s : static_cast<double>(static_cast<float>(x) / static_cast<float>(s));
}

void quantize(RefContext& ctx) {
  const Tensor &x = ctx.in(0), &scale = ctx.in(1);
  ScaleMap map = scale_map(ctx, x.dims(), scale);
  const Tensor* zero = ctx.has(2) ? &ctx.in(2) : nullptr;
  ctx.require(!zero || zero->size() == scale.size(), "{} scales and {} zero points are given", scale.size(),
              zero ? zero->size() : 0);
  DType to = quantized_type(ctx.node, zero ? zero->dtype() : DType::kUndefined);
  DType precision = dtype_attribute(ctx.node, "precision", DType::kUndefined);
  bool saturate = ctx.attrs().integer("saturate", 1) != 0, real = is_floating(to);
  auto [low, high] = real ? std::pair(0.0, 0.0) : limits(to);
  Tensor& out = ctx.make(0, to, x.dims());
  for (int64_t i = 0; i < x.size(); ++i) {
    int64_t k = map.of(i);
    double v = divide(scale, x.at(i), scale.at(k), precision);
    if (real) {
      v += zero ? zero->at(k) : 0;
      if (bits(to) == 8) {
        out.mutable_raw()[i] = static_cast<std::byte>(float_to_minifloat(to, static_cast<float>(v), saturate));
      } else {
        out.set(i, v);
      }
      continue;
    }
    double q = std::nearbyint(v) + (zero ? static_cast<double>(zero->int_at(k)) : 0);
    out.set_int(i, std::isnan(q) ? 0 : static_cast<int64_t>(std::clamp(q, low, high)));
  }
}

void infer_dequantize(InferContext& ctx) {
  DType asked = dtype_attribute(ctx.node(), "output_dtype", DType::kUndefined);
  DType from = ctx.dtype(0), zero = ctx.dtype(2);
  ctx.require(from == DType::kUndefined || zero == DType::kUndefined || from == zero,
              "the input is {}, its zero point {}", name(from), name(zero));
  ctx.output(0, asked != DType::kUndefined ? asked : ctx.dtype(1), ctx.shape(0));
}

void dequantize(RefContext& ctx) {
  const Tensor &x = ctx.in(0), &scale = ctx.in(1);
  ScaleMap map = scale_map(ctx, x.dims(), scale);
  const Tensor* zero = ctx.has(2) ? &ctx.in(2) : nullptr;
  ctx.require(!zero || zero->size() == scale.size(), "{} scales and {} zero points are given", scale.size(),
              zero ? zero->size() : 0);
  DType asked = dtype_attribute(ctx.node, "output_dtype", DType::kUndefined);
  Tensor& out = ctx.make(0, asked != DType::kUndefined ? asked : scale.dtype(), x.dims());
  for (int64_t i = 0; i < x.size(); ++i) {
    int64_t k = map.of(i);
    out.set(i, (x.at(i) - (zero ? zero->at(k) : 0)) * scale.at(k));
  }
}

void infer_dynamic_quantize(InferContext& ctx) {
  ctx.output(0, DType::kUInt8, ctx.shape(0));
  ctx.output(1, DType::kFloat32, Shape{});
  ctx.output(2, DType::kUInt8, Shape{});
}

void dynamic_quantize(RefContext& ctx) {
  const Tensor& x = ctx.in(0);
  const float* in = x.data<float>();
  float low = 0, high = 0;  // the range always includes zero
  for (int64_t i = 0; i < x.size(); ++i) {
    low = std::min(low, in[i]);
    high = std::max(high, in[i]);
  }
  float scale = high == low ? 1.0f : (high - low) / 255.0f;
  float zero = std::clamp(std::nearbyint(-low / scale), 0.0f, 255.0f);
  Tensor& out = ctx.make(0, DType::kUInt8, x.dims());
  uint8_t* to = out.mutable_data<uint8_t>();
  for (int64_t i = 0; i < x.size(); ++i) {
    float q = std::nearbyint(in[i] / scale) + zero;
    to[i] = static_cast<uint8_t>(q > 0 ? std::min(q, 255.0f) : 0.0f);
  }
  ctx.set(1, Tensor::scalar<float>(scale));
  ctx.set(2, Tensor::scalar<uint8_t>(static_cast<uint8_t>(zero)));
}

}  // namespace

void define_quantize_ops(OpTable& table) {
  table.add({.name = "QuantizeLinear",
             .doc = "round(x / scale) + zero_point, saturated; halves to even.",
             .min_inputs = 2,
             .max_inputs = 3,
             .infer = infer_quantize,
             .reference = quantize,
             .attrs = {"axis", "block_size", "output_dtype", "precision", "saturate"}});
  table.add({.name = "DequantizeLinear",
             .doc = "(x - zero_point) * scale.",
             .min_inputs = 2,
             .max_inputs = 3,
             .infer = infer_dequantize,
             .reference = dequantize,
             .attrs = {"axis", "block_size", "output_dtype"}});
  table.add({.name = "DynamicQuantizeLinear",
             .doc = "Quantizes to uint8 with the scale and zero point of the data; gives all three.",
             .min_outputs = 1,
             .max_outputs = 3,
             .infer = infer_dynamic_quantize,
             .reference = dynamic_quantize});
}

}  // namespace tenon
