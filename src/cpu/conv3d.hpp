// 3-D convolution in fp32, channels last (NDHWC): for each output plane, a sum of 2-D convolutions over the filter's
// planes. Rules as in cpu/conv.hpp; weights are packed from ONNX's [cout, cin / groups, kd, kh, kw]. PostOp rows are
// output voxels, ((n * od + z) * oh + y) * ow + x.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/conv.hpp"

namespace tenon::cpu {

struct Conv3dShape {
  ConvShape plane;  // everything but the depth; plane.n is the batch
  int64_t d = 1, kd = 1, stride_d = 1, dilation_d = 1, pad_front = 0, pad_back = 0;

  int64_t od() const {
    const int64_t span = (kd - 1) * dilation_d + 1, padded = d + pad_front + pad_back;
    return padded < span ? 0 : (padded - span) / stride_d + 1;
  }
};

size_t conv3d_packed_floats(const Conv3dShape& shape);
void conv3d_pack(const Conv3dShape& shape, const float* weights, float* packed);

size_t conv3d_workspace_floats(const Conv3dShape& shape, int threads);
/// The strides of `args` are those of one plane (batch = from image to image); src_plane and dst_plane count the floats
/// between planes. args.accumulate is not supported. dst must not overlap src.
void conv3d(ThreadPool& pool, const Conv3dShape& shape, const ConvArgs& args, int64_t src_plane, int64_t dst_plane,
            float* workspace);

}  // namespace tenon::cpu
