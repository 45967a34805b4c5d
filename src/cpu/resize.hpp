// ONNX Resize over height and width (1-D: height 1 to 1): nearest for elements of 1, 2 or 4 bytes, linear and cubic for
// float32, with every coordinate mode. Which source pixels an output pixel reads, and with what weight, is worked out
// once, per axis, by make_resize_axis; running only multiplies and adds. Strides are explicit; fast when channels or
// the width have stride 1.
#pragma once

#include <cstdint>
#include <vector>

#include "base/thread_pool.hpp"

namespace tenon::cpu {

enum class ResizeMode : uint8_t { kNearest, kLinear, kCubic };
enum class ResizeCoordinate : uint8_t {
  kHalfPixel,
  kHalfPixelSymmetric,
  kPytorchHalfPixel,
  kAlignCorners,
  kAsymmetric,
  kTfCropAndResize,
};
enum class ResizeNearest : uint8_t { kRoundPreferFloor, kRoundPreferCeil, kFloor, kCeil };

struct ResizeOptions {
  ResizeMode mode = ResizeMode::kNearest;
  ResizeCoordinate coordinate = ResizeCoordinate::kHalfPixel;
  ResizeNearest nearest = ResizeNearest::kRoundPreferFloor;
  float cubic_a = -0.75f;
  bool exclude_outside = false;
  bool antialias = false;
  float extrapolation_value = 0;  // kTfCropAndResize: for pixels outside the image
};

/// One axis: output i is the sum over t < taps of weight[i * taps + t] * source[index[i * taps + t]].
struct ResizeAxis {
  int64_t in = 1, out = 1, taps = 1;
  std::vector<int32_t> index;
  std::vector<float> weight;
  std::vector<uint8_t> outside;  // 1: take the extrapolation value
  bool any_outside = false;
};

/// `scale`: as ONNX has it (out = floor(in * scale)); it need not be out / in. roi_start, roi_end: kTfCropAndResize
/// only.
ResizeAxis make_resize_axis(const ResizeOptions& options, int64_t in, int64_t out, double scale, double roi_start = 0,
                            double roi_end = 1);

struct ResizePlan {
  ResizeOptions options;
  ResizeAxis y, x;
  int64_t batch = 1, channels = 1;
  int64_t src_n = 0, src_c = 0, src_h = 0, src_w = 0;  // strides in elements
  int64_t dst_n = 0, dst_c = 0, dst_h = 0, dst_w = 0;
};

/// element_size: 1, 2 or 4 for nearest (float32 extrapolation only); 4, float32, for linear and cubic. Allocates
/// nothing.
void run_resize(const ResizePlan& plan, int element_size, const void* src, void* dst, ThreadPool& pool);

}  // namespace tenon::cpu
