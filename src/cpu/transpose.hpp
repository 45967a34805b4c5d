// Copies between strided regions of any rank: transposes, layout changes (NCHW <-> NHWC), and the building block of
// concat, slice, split, pad and expand. Elements of 1, 2, 4 or 8 bytes, types do not matter. A plan is made once, then
// run by any thread.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/thread_pool.hpp"

namespace tenon::cpu {

struct CopyPlan {
  static constexpr int kMaxDims = 12;
  struct Dim {
    int64_t size, src, dst;  // strides in bytes
  };
  enum class Kind : uint8_t { kRows, kTiles, kElements };
  Kind kind = Kind::kRows;
  int element = 1;
  int64_t row_bytes = 0;  // kRows: what memcpy moves at once
  int rank = 0;           // outer dimensions
  std::array<Dim, kMaxDims> outer;
  Dim a{1, 0, 0};  // kTiles: contiguous in src; kElements: the inner loop
  Dim b{1, 0, 0};  // kTiles: contiguous in dst
  int64_t bytes = 0;
};

/// Strides in elements, for each of `dims`; a source stride may be 0 (expand) or negative (flip, with src at the first
/// element in index order). Neighbouring dimensions are merged, so callers need not.
CopyPlan make_copy(int element_size, std::span<const int64_t> dims, std::span<const int64_t> src_strides,
                   std::span<const int64_t> dst_strides);

/// src and dst must not overlap. Allocates nothing.
void run_copy(const CopyPlan& plan, const void* src, void* dst, ThreadPool& pool);

/// dst[perm order] = src, both dense: dst's dimension i is src's dimension perm[i].
CopyPlan make_transpose(int element_size, std::span<const int64_t> src_dims, std::span<const int64_t> perm);

/// Rows of a table: out[i] = table[index[i]], rows of `row_bytes`. Negative indices count from the end; one outside
/// [-table_rows, table_rows) is an error. Index: int32_t or int64_t.
template <class Index>
void gather_rows(const void* table, int64_t table_rows, int64_t row_bytes, const Index* index, int64_t count, void* out,
                 ThreadPool& pool);

}  // namespace tenon::cpu
