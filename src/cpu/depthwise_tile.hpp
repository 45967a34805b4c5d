// The depthwise kernels of each ISA: one output row, all channels. Internal to src/cpu.
#pragma once

#include <cstdint>

namespace tenon::cpu {

struct DepthwiseRow {
  const float* src;       // first tap row that lies in the image, column 0, channel 0
  int64_t row;            // floats between tap rows (dilation included)
  int64_t pixel;          // floats between input pixels
  const float* weights;   // [block of channels][kh][kw][lanes], from the first tap row in the image on
  int64_t block_weights;  // floats between blocks
  int64_t rows;           // tap rows that lie in the image
  const float* bias;      // one value a channel, or null
  float* dst;
  int64_t dst_pixel;
  int64_t ow, w;  // pixels of the output and the input row
  int64_t kw, stride, dilation, pad_left;
  int64_t channels;
  int64_t block_begin, block_end;  // the blocks of channels to compute
  bool clamp;
  float lo, hi;
  bool swish;  // as in cpu/gemm_tile.hpp
  float mul, add;
};

// Channels are cut into vectors. Where they do not divide, the last vector reaches back over channels of the one before
// (their results are computed twice, to the same values), so that no vector is partial; packed weights follow the same
// blocks. Only an image with fewer channels than a vector has a partial one.
struct ChannelBlocks {
  int64_t channels, lanes;
  constexpr int64_t count() const { return (channels + lanes - 1) / lanes; }
  constexpr int64_t begin(int64_t block) const {
    const int64_t last = channels < lanes ? 0 : channels - lanes;
    return block * lanes < last ? block * lanes : last;
  }
};

struct DepthwiseKernels {
  int lanes;
  void (*row)(const DepthwiseRow&);
};

/// The set for the ISA in force.
const DepthwiseKernels& depthwise_kernels();

}  // namespace tenon::cpu
