// Depthwise convolution in fp32, channels last: one filter for each channel (groups = cin = cout). A channel multiplier
// above 1 is a grouped convolution: cpu/conv.hpp. Rules as in cpu/gemm.hpp; no workspace is needed.
#pragma once

#include <cstddef>

#include "cpu/conv.hpp"

namespace tenon::cpu {

/// Whether the shape is one for this kernel.
bool is_depthwise(const ConvShape& shape);

size_t depthwise_packed_floats(const ConvShape& shape);
/// From ONNX's [channels, 1, kh, kw].
void depthwise_pack(const ConvShape& shape, const float* weights, float* packed);

/// dst must not overlap src.
void depthwise(ThreadPool& pool, const ConvShape& shape, const ConvArgs& args);

}  // namespace tenon::cpu
