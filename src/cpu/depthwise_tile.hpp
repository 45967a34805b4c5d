// The depthwise kernels of each ISA: one block of channels (a vector) of one output row. Internal to src/cpu.
#pragma once

#include <cstdint>

namespace tenon::cpu {

struct DepthwiseRow {
  const float* src;      // first tap row that lies in the image, column 0, first channel of the block
  int64_t row;           // floats between tap rows (dilation included)
  int64_t pixel;         // floats between input pixels
  const float* weights;  // lanes values for each tap, from that tap row on
  int64_t rows;          // tap rows that lie in the image
  const float* bias;     // lanes values
  float* dst;
  int64_t dst_pixel;
  int64_t ow, w;  // pixels of the output and the input row
  int64_t kw, stride, dilation, pad_left;
  int64_t channels;  // of this block: lanes, or fewer where the image has fewer
  bool clamp;
  float lo, hi;
};

struct DepthwiseKernels {
  int lanes;
  void (*row)(const DepthwiseRow&);
};

/// The set for the ISA in force.
const DepthwiseKernels& depthwise_kernels();

}  // namespace tenon::cpu
