// The kernel instances that tests compile for every architecture: each file of src/cuda/kernels, each arithmetic, the
// epilogues of real networks, sizes that divide nothing.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "cuda/kernels.hpp"

namespace tenon::cuda::testing {

struct Instance {
  std::string name;
  KernelPlan plan;
};

inline DType dtype_of(Math math) {
  return math == Math::kHalf ? DType::kFloat16 : math == Math::kBFloat16 ? DType::kBFloat16 : DType::kFloat32;
}

/// bias, then an activation, then a residual where asked for.
inline TileEpilogue bias_epilogue(DType dtype, int64_t out_stride, EwOp activation, bool residual) {
  TileEpilogue e;
  auto x = e.expression.input(), bias = e.expression.input();
  Access b;
  b.dtype = DType::kFloat32;
  e.in.push_back(b);
  auto y = e.expression.emit(EwOp::kAdd, {x, bias});
  if (residual) {
    Access r;
    r.dtype = dtype;
    r.row_stride = out_stride;
    e.in.push_back(r);
    y = e.expression.emit(EwOp::kAdd, {y, e.expression.input()});
  }
  e.expression.output(e.expression.emit(activation, {y}));
  Access out;
  out.dtype = dtype;
  out.row_stride = out_stride;
  e.out.push_back(out);
  return e;
}

inline Window image(int batch, int size, int channels, int kernel, int stride, int pad) {
  Window w;
  w.batch = batch;
  w.height = w.width = size;
  w.channels = channels;
  w.pixel_stride = channels;
  w.kernel[0] = w.kernel[1] = kernel;
  w.stride[0] = w.stride[1] = stride;
  w.pad[0] = w.pad[1] = pad;
  w.out_height = w.out_width = (size + 2 * pad - kernel) / stride + 1;
  return w;
}

inline void add_products(std::vector<Instance>& out, const DeviceInfo& device) {
  using T = ProductTactic;
  auto add = [&](const std::string& name, const Product& p, const T& t, const TileEpilogue& e) {
    if (refuse(p, t, device).empty()) out.push_back({name + " " + t.name(), plan_product(p, t, e, device)});
  };
  for (Math math : {Math::kHalf, Math::kBFloat16, Math::kTF32, Math::kTF32x3, Math::kFloat32}) {
    std::string m = fmt::format("math {}", static_cast<int>(math));
    Product conv;
    conv.math = math;
    conv.window = image(2, 28, 64, 3, 1, 1);
    conv.filters = 72;
    TileEpilogue relu = bias_epilogue(dtype_of(math), 96, EwOp::kRelu, true);
    bool simple = math == Math::kFloat32;
    add(m + " conv", conv, T{T::kMma, 64, 64, 2, 2, simple ? 2 : 3, 1}, relu);
    add(m + " conv", conv, T{T::kMma, 64, 64, 2, 2, 2, 4}, relu);
    if (math == Math::kHalf)
      add(m + " conv", conv, T{T::kMma, 128, 128, 2, 4, 3, 1}, bias_epilogue(DType::kFloat16, 96, EwOp::kSilu, false));
    add(m + " conv", conv, T{T::kWgmma, 128, 128, 4, 1, 4, 1}, bias_epilogue(dtype_of(math), 96, EwOp::kSilu, false));
    add(m + " conv", conv, T{T::kWgmma, 64, 64, 4, 1, 4, 4}, relu);
    Product stem = conv;
    stem.window = image(1, 64, 4, 7, 2, 3);
    add(m + " stem", stem, T{T::kMma, 128, 64, 4, 2, 2, 1}, relu);
  }
  Product gemm = Product::matrix(Math::kHalf, 128, 768, 3072, 3072);
  for (int bn : {32, 96, 192, 256}) {
    add("gemm", gemm, T{T::kWgmma, 128, bn, 4, 1, 4, 1}, bias_epilogue(DType::kFloat16, 768, EwOp::kGelu, false));
  }
  Product odd = Product::matrix(Math::kHalf, 100, 77, 198, 198);
  add("odd gemm", odd, T{T::kMma, 32, 32, 2, 2, 4, 1}, bias_epilogue(DType::kFloat32, 77, EwOp::kGelu, false));
  Product batched = Product::matrix(Math::kHalf, 50, 64, 64, 64);
  batched.batches = 12, batched.a_batch = 50 * 64, batched.b_batch = 64 * 64, batched.b_row = 64,
  batched.b_constant = false;
  TileEpilogue store = TileEpilogue::store(DType::kFloat16, 64);
  store.out[0].batch_stride = 50 * 64;
  add("batched", batched, T{T::kMma, 64, 64, 2, 2, 2, 1}, store);
}

inline void add_others(std::vector<Instance>& out, const DeviceInfo& device) {
  for (DType dtype : {DType::kFloat16, DType::kFloat32}) {
    std::string d = dtype == DType::kFloat16 ? "half" : "float";
    out.push_back({"depthwise " + d, plan_depthwise(image(1, 56, 144, 3, 2, 1), dtype,
                                                    bias_epilogue(dtype, 144, EwOp::kRelu, false), 2)});
    out.push_back({"pool max " + d,
                   plan_pool(image(1, 112, 64, 3, 2, 1), dtype, PoolKind::kMax, TileEpilogue::store(dtype, 64))});
    out.push_back({"pool all " + d, plan_pool(image(1, 7, 2048, 7, 1, 0), dtype, PoolKind::kMeanInside,
                                              TileEpilogue::store(dtype, 2048))});
    RowProblem softmax;
    softmax.rows = 100;
    softmax.cols = 1000;
    softmax.input.output(softmax.input.input());
    Access x;
    x.dtype = dtype;
    x.row_stride = 1000;
    softmax.in.push_back(x);
    softmax.epilogue = TileEpilogue::store(dtype, 1000);
    out.push_back({"softmax " + d, plan_rows(softmax)});
    RowProblem norm = softmax;
    norm.kind = RowKind::kLayerNorm;
    norm.cols = 768;
    norm.in[0].row_stride = 768;
    norm.epilogue = bias_epilogue(dtype, 768, EwOp::kRelu, false);
    out.push_back({"layer norm " + d, plan_rows(norm)});
    Region region;
    auto a = region.expression.input(), b = region.expression.input();
    region.expression.output(region.expression.emit(EwOp::kGelu, {region.expression.emit(EwOp::kAdd, {a, b})}));
    region.dims = {16, 24, 40};
    region.in_types = {dtype, DType::kFloat32};
    region.out_types = {dtype};
    region.in_strides = {{960, 40, 1}, {0, 0, 1}};
    region.out_strides = {{960, 40, 1}};
    out.push_back({"region " + d, plan_region(region)});
  }
  Attention a;
  a.heads = 12, a.share = 3, a.queries = 100, a.keys = 130, a.head = 64, a.causal = true, a.causal_shift = 30,
  a.softcap = 30;
  a.q = a.out = {12 * 64 * 100, 64, 768};
  a.k = a.v = {4 * 64 * 130, 64, 256};
  a.mask_type = DType::kFloat16;
  a.mask = {0, 0, 130};
  if (device.capability() >= 75) out.push_back({"attention 64", plan_attention(a, device)});
  Attention wide = a;
  wide.head = 128, wide.mask_type = DType::kBool, wide.q = wide.out = {153600, 128, 1536},
  wide.k = wide.v = {66560, 128, 512};
  if (device.shared_per_block >= 90000) out.push_back({"attention 128", plan_attention(wide, device)});
}

inline std::vector<Instance> instances(const DeviceInfo& device) {
  std::vector<Instance> out;
  add_products(out, device);
  add_others(out, device);
  return out;
}

}  // namespace tenon::cuda::testing
