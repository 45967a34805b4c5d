// Normalizations of float32: layer and RMS norm over contiguous rows, group and instance norm over [batch, channels,
// space] with explicit strides (plain or channels-last). Statistics are taken in two passes (the mean first, then
// squared distances from it), so a large mean costs no accuracy; partial sums of 1024 elements are added up in double.
// Nothing is allocated. dst may be src if the strides agree.
#pragma once

#include <cstdint>

#include "base/thread_pool.hpp"

namespace tenon::cpu {

struct RowNorm {
  int64_t rows = 0, size = 0;              // elements of a row are contiguous
  int64_t src_stride = 0, dst_stride = 0;  // between rows
  const float* scale = nullptr;            // [size], or null for 1
  const float* bias = nullptr;             // [size], or null for 0
  float epsilon = 1e-5f;
};

/// (x - mean) / sqrt(var + epsilon) * scale + bias, per row.
void layer_norm(const RowNorm& norm, const float* src, float* dst, ThreadPool& pool);
/// x / sqrt(mean(x^2) + epsilon) * scale + bias, per row.
void rms_norm(const RowNorm& norm, const float* src, float* dst, ThreadPool& pool);

struct GroupNorm {
  int64_t batch = 1, channels = 1, space = 1;             // space: H * W (* D), one merged dimension
  int64_t groups = 1;                                     // channels for instance norm
  int64_t src_batch = 0, src_channel = 0, src_space = 0;  // strides in elements
  int64_t dst_batch = 0, dst_channel = 0, dst_space = 0;
  const float* scale = nullptr;  // [channels], or null for 1
  const float* bias = nullptr;   // [channels], or null for 0
  float epsilon = 1e-5f;
};

/// Each group of channels / groups channels of one batch item is normalised over its channels and space. The channel or
/// the space stride has to be 1 in both tensors, and the same one in both.
void group_norm(const GroupNorm& norm, const float* src, float* dst, ThreadPool& pool);

}  // namespace tenon::cpu
