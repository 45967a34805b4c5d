// Internal to resize: the interpolating loops of one instruction set. `src` is the start of the plane or batch item,
// `dst` that of the output row y.
#pragma once

#include "cpu/resize.hpp"

namespace tenon::cpu {

struct ResizeKernels {
  void (*pixels)(const ResizePlan& plan, const float* src, float* dst, int64_t y);  // channels contiguous
  void (*line)(const ResizePlan& plan, const float* src, float* dst, int64_t y);    // one plane, any width stride
};

const ResizeKernels& resize_kernels();

}  // namespace tenon::cpu
