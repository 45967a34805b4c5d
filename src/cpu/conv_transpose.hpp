// Transposed 2-D convolution in fp32, channels last, with a fused epilogue. Output pixels of one phase (their position
// modulo the stride) are an ordinary convolution with some of the filter's taps, so the kernels of cpu/conv.hpp do the
// work and no column buffer is needed. Rules as there; weights are packed from ONNX's [cin, cout / groups, kh, kw].
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/conv.hpp"

namespace tenon::cpu {

struct ConvTransposeShape {
  int64_t n = 1, h = 1, w = 1, cin = 1, cout = 1;
  int64_t kh = 1, kw = 1;
  int64_t stride_h = 1, stride_w = 1;
  int64_t dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0;
  int64_t oh = 1, ow = 1;  // as ONNX defines them, output_padding included; rows that no input reaches get the bias
  int64_t groups = 1;
  /// The taps of a filter row are columns of one product: where can_join() says so and dst's pixels are dense. Weights
  /// are packed for either way.
  bool joined = false;
};

/// The filter is as large as its stride, so that no two inputs meet in an output, and nothing is cut off or left over.
bool can_join(const ConvTransposeShape& shape);

size_t conv_transpose_packed_floats(const ConvTransposeShape& shape);
void conv_transpose_pack(const ConvTransposeShape& shape, const float* weights, float* packed);

size_t conv_transpose_workspace_floats(const ConvTransposeShape& shape, int threads);
/// args.accumulate is not supported. dst must not overlap src.
void conv_transpose(ThreadPool& pool, const ConvTransposeShape& shape, const ConvArgs& args, float* workspace);

}  // namespace tenon::cpu
