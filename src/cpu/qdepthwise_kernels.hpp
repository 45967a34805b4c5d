// Inside of the 8-bit depthwise convolution. Channels go in blocks of 16, which lie in natural order: kernel rows are
// combined, 4 bytes (VNNI) or 2 int16 of one channel to a 32-bit lane, once for each input column and block, and each
// column serves all the outputs that it is a tap of.
//   weights: [block of 16 channels][plane][kernel column][group of kernel rows][16][4 int8 or 2 int16]
// The weights have their zero points subtracted. When that leaves int8's range, the i8 layout has a second and a third
// plane with the rest, whose products are added.
#pragma once

#include <cstdint>

#include "cpu/qgemm_kernels.hpp"

namespace tenon::cpu::q {

inline constexpr uint32_t kLayoutDepthwiseI8x4 = 0x51020410;
inline constexpr uint32_t kLayoutDepthwiseI16x2 = 0x51020210;
inline constexpr int64_t kBlock = 16;  // channels

/// `count` outputs of one line and block of channels.
struct DepthwiseLine {
  const uint8_t* const* rows;  // the input line of each kernel row, at this block's first channel; nullptr: padding
  const uint8_t* fill;         // 16 bytes of the activation zero point, before flipping
  int64_t pixel_stride;
  int64_t iw, ix;  // width, and first input column of the first output; may be negative
  int64_t kh, kw, sw, dw;
  int64_t count;
  int64_t channels;  // of the block, at most 16
  uint8_t flip;
  int planes;
  const void* weights;
  void* columns;  // memory for the combined columns
  int32_t* acc;   // row stride kTileCols
};

using DepthwiseFn = void (*)(const DepthwiseLine& line);
DepthwiseFn depthwise_simd(QIsa isa) noexcept;
DepthwiseFn depthwise_vnni() noexcept;

}  // namespace tenon::cpu::q
