// 3x3 convolution of stride 1 by Winograd's F(4x4, 3x3): a quarter of the multiplications of the direct sum, at one to
// three times its rounding error (measured for 16 to 512 channels: 0.8e-6 to 2.9e-6 of the largest output, direct
// 0.3e-6 to 2.1e-6), and four times the memory for weights. A candidate beside cpu/conv.hpp, whose rules and epilogue
// it shares; the caller measures and chooses. The filter is transformed in double when it is packed.
//
// Interpolation points are 0, +-sqrt(1/2), +-sqrt(2) and infinity: their products stay nearer to 1 than those of the
// usual 0, +-1, +-2, which keeps the rounding errors smaller. Lavin and Gray, "Fast algorithms for convolutional neural
// networks", 2015, has the method.
#pragma once

#include <cstddef>

#include "cpu/conv.hpp"

namespace tenon::cpu {

/// Whether this entry takes the shape: 3x3, stride 1, dilation 1, one group, at least 16 channels on both sides.
bool winograd_applies(const ConvShape& shape);

size_t winograd_packed_floats(const ConvShape& shape);
void winograd_pack(const ConvShape& shape, const float* oihw, float* packed);

size_t winograd_workspace_floats(const ConvShape& shape, int threads);
/// args.accumulate is not supported. dst must not overlap src.
void winograd(ThreadPool& pool, const ConvShape& shape, const ConvArgs& args, float* workspace);

}  // namespace tenon::cpu
