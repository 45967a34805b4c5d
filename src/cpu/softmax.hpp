// Softmax and log-softmax of float32 over one axis of a region [outer, axis, inner] with explicit strides, so both
// layouts and views work. Fast when the axis or the inner dimension has stride 1 in both tensors. Subtracts the maximum
// first; a row that holds NaN or +infinity, or -infinity alone, gives NaN, as the formula does. dst may be src if the
// strides agree.
#pragma once

#include <cstdint>

#include "base/thread_pool.hpp"

namespace tenon::cpu {

struct SoftmaxShape {
  int64_t outer = 1, axis = 1, inner = 1;
  int64_t src_outer = 0, src_axis = 0, src_inner = 0;  // strides in elements
  int64_t dst_outer = 0, dst_axis = 0, dst_inner = 0;

  /// Both tensors dense, in that order.
  static SoftmaxShape dense(int64_t outer, int64_t axis, int64_t inner) {
    return {outer, axis, inner, axis * inner, inner, 1, axis * inner, inner, 1};
  }
};

/// Runs on the pool; allocates nothing.
void softmax(const SoftmaxShape& shape, const float* src, float* dst, ThreadPool& pool);
void log_softmax(const SoftmaxShape& shape, const float* src, float* dst, ThreadPool& pool);

}  // namespace tenon::cpu
