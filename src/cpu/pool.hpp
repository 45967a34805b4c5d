// Maximum and average pooling over two dimensions (1-D: height 1), float32, and maximum over int8 and uint8. Strides
// are explicit; fast when channels (channels-last) or the width (plain) have stride 1 in both tensors. NaN in a window
// gives NaN. Global pooling is a mean or a maximum over the space: cpu/reduce.hpp, or a window of the whole image here.
#pragma once

#include <cstdint>

#include "base/thread_pool.hpp"

namespace tenon::cpu {

struct Pool2D {
  int64_t batch = 1, channels = 1;
  int64_t in_h = 1, in_w = 1, out_h = 1, out_w = 1;  // ceil_mode is the caller's choice of out_h and out_w
  int64_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1;
  int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;  // bottom and right: only for count_include_pad
  int64_t dilation_h = 1, dilation_w = 1;
  bool count_include_pad =
      false;  // averages divide by the window's cells inside image and padding, else inside the image
  int64_t src_n = 0, src_c = 0, src_h = 0, src_w = 0;  // strides in elements
  int64_t dst_n = 0, dst_c = 0, dst_h = 0, dst_w = 0;
};

/// Whether the loops run over channels (else over the width, or one element at a time).
inline bool pools_by_pixel(const Pool2D& p) {
  return p.src_c == 1 && p.dst_c == 1 && !(p.channels == 1 && p.src_w == 1 && p.dst_w == 1);
}

/// Windows without one cell of the image give -inf (int8: -128, uint8: 0) for max_pool and 0 for average_pool.
void max_pool(const Pool2D& pool2d, const float* src, float* dst, ThreadPool& pool);
void max_pool(const Pool2D& pool2d, const int8_t* src, int8_t* dst, ThreadPool& pool);
void max_pool(const Pool2D& pool2d, const uint8_t* src, uint8_t* dst, ThreadPool& pool);
void average_pool(const Pool2D& pool2d, const float* src, float* dst, ThreadPool& pool);

/// How many outputs ONNX wants along one dimension.
int64_t pool_output_size(int64_t in, int64_t kernel, int64_t stride, int64_t pad_begin, int64_t pad_end,
                         int64_t dilation, bool ceil_mode);

}  // namespace tenon::cpu
