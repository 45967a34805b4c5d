// CUDA tactics of Conv: channels-last implicit products on tensor cores, and depthwise.
#include <cstring>

#include "base/error.hpp"
#include "tactic/cuda.hpp"
#include "tactic/cuda_products.hpp"
#include "tactic/problem_window.hpp"

namespace tenon {
namespace {

std::vector<int> row_axes(const Operand& o) {
  return o.rank() == 3 ? std::vector<int>{0, 2} : std::vector<int>{0, 2, 3};
}

std::optional<size_t> bias_of(const Problem& p) {
  return p.has(2) && p.in[2].size() > 0 ? std::optional<size_t>(2) : std::nullopt;
}

Verdict judge(const Problem& p, bool depthwise) {
  const Operand &x = p.in[0], &w = p.in[1], &y = p.out[0];
  if (!cuda_float(x.dtype) || w.dtype != x.dtype) return Verdict::no("not for {}", name(x.dtype));
  if (w.constant == nullptr) return Verdict::no("the weights are not constant");
  if (x.rank() != 3 && x.rank() != 4) return Verdict::no("not a 1-D or 2-D convolution");
  if (y.size() == 0 || x.size() == 0) return Verdict::no("an empty operand");
  for (const Operand* o : {&x, &y}) {
    if (!o->dense() || (o->format != Format::kChannelsLast && !formats_agree(o->dims)))
      return Verdict::no("not channels-last");
  }
  int64_t groups = p.attrs().integer("group", 1);
  bool deep = groups == x.dims[1] && w.dims[0] == groups && groups > 1;
  if (depthwise != deep) return Verdict::no("{}", deep ? "depthwise" : "not depthwise");
  if (!depthwise && groups != 1) return Verdict::no("groups");
  std::string why;
  auto window = cuda_window(p, weight_window(w), why);
  if (!window) return Verdict::no("{}", why);
  auto epilogue = CudaEpilogue::make(p, row_axes(y), 1, bias_of(p), why);
  if (!epilogue) return Verdict::no("epilogue: {}", why);
  if (!depthwise) {
    cuda::Product product;
    product.math = cuda_math(x.dtype);
    product.window = *window;
    product.filters = static_cast<int>(w.dims[0]);
    if (cuda::product_tactics(product, epilogue->tile, CudaRuntime::current().device()->info(), 1).empty()) {
      return Verdict::no("no tile shape takes it (an odd number of 16-bit channels)");
    }
  }
  return cuda_yes(p);
}

Verdict judge_product(const Problem& p) { return judge(p, false); }
Verdict judge_depthwise(const Problem& p) { return judge(p, true); }

std::unique_ptr<Kernel> prepare_product(const Problem& p, WeightStore& store) {
  std::string why;
  const Operand& w = p.in[1];
  cuda::Product product;
  product.math = cuda_math(p.in[0].dtype);
  product.window = *cuda_window(p, weight_window(w), why);
  product.filters = static_cast<int>(w.dims[0]);
  auto epilogue = *CudaEpilogue::make(p, row_axes(p.out[0]), 1, bias_of(p), why);
  int64_t taps = element_count(weight_window(w));
  auto weights = [&](const cuda::FilterLayout& layout) {
    return packed_weights(store, *w.constant, layout, product.math, product.window.channels * taps, taps, 1, 1.0f);
  };
  return make_cuda_product(product, epilogue, weights, {}, 0);
}

std::unique_ptr<Kernel> prepare_depthwise(const Problem& p, WeightStore& store) {
  std::string why;
  const Operand& w = p.in[1];
  cuda::Window window = *cuda_window(p, weight_window(w), why);
  auto epilogue = *CudaEpilogue::make(p, row_axes(p.out[0]), 1, bias_of(p), why);
  DType dtype = p.in[0].dtype;
  int64_t taps = element_count(weight_window(w)), channels = window.channels;
  cuda::FilterLayout layout{1, taps * channels, taps, channels, channels};
  const std::byte* host = packed_weights(store, *w.constant, layout, cuda_math(dtype), 0, taps, 1, 1.0f);
  auto weights = CudaRuntime::current().resident(host, static_cast<size_t>(byte_size(dtype, layout.elements())));
  return make_cuda_kernel(cuda::plan_depthwise(window, dtype, epilogue.tile), [=](const CudaBinding& b) {
    cuda::Operands operands;
    epilogue.bind(operands, b);
    return cuda::depthwise_params(b.in[0], weights->get(), operands);
  });
}

}  // namespace

void define_conv_cuda(TacticTable& table) {
  table.add("Conv",
            {{"cuda_product", judge_product, prepare_product}, {"cuda_depthwise", judge_depthwise, prepare_depthwise}});
}

}  // namespace tenon
