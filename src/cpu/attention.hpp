// softmax(scale * Q K' + bias) V in float32, without the matrix of scores: queries go in blocks, keys in blocks under a
// running maximum and sum. K and V of each head are packed once for all of its query blocks; a few queries alone
// (decoding) read them as they lie. Heads may share keys and values. Nothing is allocated; workspace is in floats,
// 64-byte aligned. Everything is addressed by strides, so (batch, heads, length, size) and (batch, length, heads *
// size) both work; the elements of one row of Q, K, V and the output are contiguous.
#pragma once

#include <cstdint>

#include "base/thread_pool.hpp"

namespace tenon::cpu {

struct HeadStrides {
  int64_t batch = 0, head = 0, row = 0;
};

struct Attention {
  int64_t batch = 1, heads = 1, kv_heads = 1;  // heads is a multiple of kv_heads
  int64_t queries = 0, keys = 0, size = 0, v_size = 0;
  float scale = 1;
  HeadStrides q, k, v, out;
  // What is added to the scores, or null; strides are 0 where it broadcasts.
  int64_t mask_batch = 0, mask_head = 0, mask_row = 0, mask_key = 0;
  bool mask_is_bool = false;  // one byte each: false masks
  bool causal = false;        // key j is seen by query i when j <= i + past
  int64_t past = 0;
};

int64_t attention_workspace_floats(const Attention& shape, int threads);

/// `mask` is null, or floats, or bytes. A row with every key masked by -infinity or false gives zeros.
void attention(const Attention& shape, const float* q, const float* k, const float* v, const void* mask, float* out,
               float* workspace, ThreadPool& pool);

}  // namespace tenon::cpu
