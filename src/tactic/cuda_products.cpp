#include "tactic/cuda_products.hpp"

#include <algorithm>
#include <cstring>

#include "base/error.hpp"
#include "tactic/problem_window.hpp"

namespace tenon {

std::optional<cuda::Window> cuda_window(const Problem& p, Ints kernel, std::string& why) {
  const Operand &x = p.in[0], &y = p.out[0];
  Window g = problem_window(p, std::move(kernel));
  bool flat = x.rank() == 3;
  size_t last = g.axes() - 1;
  for (const Operand* o : {&x, &y}) {
    for (int64_t d : o->dims) {
      if (d > (1 << 30)) {
        why = "a dimension beyond 2^30";
        return std::nullopt;
      }
    }
  }
  auto number = [](int64_t v) { return static_cast<int>(v); };
  cuda::Window w;
  w.batch = number(x.dims[0]);
  w.channels = number(x.dims[1]);
  w.pixel_stride = x.dims[1];
  w.height = flat ? 1 : number(x.dims[2]);
  w.width = number(x.dims.back());
  w.out_height = flat ? 1 : number(y.dims[2]);
  w.out_width = number(y.dims.back());
  w.kernel[0] = flat ? 1 : number(g.kernel[0]);
  w.kernel[1] = number(g.kernel[last]);
  w.stride[0] = flat ? 1 : number(g.strides[0]);
  w.stride[1] = number(g.strides[last]);
  w.dilation[0] = flat ? 1 : number(g.dilations[0]);
  w.dilation[1] = number(g.dilations[last]);
  w.pad[0] = flat ? 0 : number(g.begins[0]);
  w.pad[1] = number(g.begins[last]);
  if (*std::min_element(g.begins.begin(), g.begins.end()) < 0 || *std::min_element(g.ends.begin(), g.ends.end()) < 0) {
    why = "negative pads";
    return std::nullopt;
  }
  if (element_count(x.dims) > 0x7fffffff) {
    why = "more than 2^31 elements";
    return std::nullopt;
  }
  return w;
}

cuda::Math cuda_math(DType dtype) {
  if (dtype == DType::kFloat16) return cuda::Math::kHalf;
  if (dtype == DType::kBFloat16) return cuda::Math::kBFloat16;
  CudaRuntime& r = CudaRuntime::current();
  if (r.device()->info().capability() < 80) return cuda::Math::kFloat32;
  return r.tf32 ? cuda::Math::kTF32 : cuda::Math::kTF32x3;
}

const std::byte* packed_weights(WeightStore& store, const Tensor& constant, const cuda::FilterLayout& layout,
                                cuda::Math math, int64_t filter_stride, int64_t channel_stride, int64_t tap_stride,
                                float scale) {
  std::string key = fmt::format("cuda {} {}x{} {}x{} {} {} {} {}", element_size(math), layout.rows, layout.row,
                                layout.taps, layout.tap, filter_stride, channel_stride, tap_stride, scale);
  key += fmt::format(" m{}", static_cast<int>(math == cuda::Math::kBFloat16));
  return store.pack(constant, key, layout.elements() * cuda::element_size(math), [&](std::byte* to) {
    std::vector<float> wide;
    const float* source = nullptr;
    if (constant.dtype() == DType::kFloat32 && scale == 1.0f) {
      source = constant.data<float>();
    } else {
      wide.resize(static_cast<size_t>(constant.size()));
      for (int64_t i = 0; i < constant.size(); ++i)
        wide[static_cast<size_t>(i)] = static_cast<float>(constant.at(i)) * scale;
      source = wide.data();
    }
    auto packed = cuda::pack_filters(layout, math, source, filter_stride, channel_stride, tap_stride);
    std::memcpy(to, packed.data(), packed.size());
  });
}

}  // namespace tenon
