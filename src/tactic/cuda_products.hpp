// What the CUDA tactics of convolutions, products and pools share: windows, arithmetic, packed weights.
#pragma once

#include "tactic/cuda.hpp"

namespace tenon {

/// The window of a Conv or pool problem whose operands are dense and channels-last.
std::optional<cuda::Window> cuda_window(const Problem& problem, Ints kernel, std::string& why);

/// How products of this type are computed: TF32 for float32 where the runtime allows it, else float32's precision.
cuda::Math cuda_math(DType dtype);

/// Weights in a kernel's layout, times `scale`; strides in elements of the constant. Lives as long as the store.
const std::byte* packed_weights(WeightStore& store, const Tensor& constant, const cuda::FilterLayout& layout,
                                cuda::Math math, int64_t filter_stride, int64_t channel_stride, int64_t tap_stride,
                                float scale);

}  // namespace tenon
