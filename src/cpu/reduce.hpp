// Reductions over any axes of a strided region: sum, mean, max, min, product, L1, L2, sum of squares, log-sum,
// log-sum-exp for float32 (and sum, mean, max, min, product, L1, sum of squares for int32 and int64), and argmax /
// argmin over one axis. Partial sums of at most 1024 floats are added up in double. NaN wins max and min. A plan is
// made once, then run by any thread.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/thread_pool.hpp"

namespace tenon::cpu {

enum class ReduceOp : uint8_t { kSum, kMean, kMax, kMin, kProd, kL1, kL2, kSumSquare, kLogSum, kLogSumExp };

struct ReducePlan {
  static constexpr int kMaxDims = 8;
  struct Dim {
    int64_t size = 1, src = 0, dst = 0;  // strides in elements; dst is 0 for reduced dimensions
  };
  enum class Kind : uint8_t { kRows, kColumns, kScattered };  // stride 1 is reduced, kept, or absent
  ReduceOp op = ReduceOp::kSum;
  Kind kind = Kind::kScattered;
  Dim inner;  // kRows: the contiguous reduced dimension; kColumns: the contiguous kept one
  int kept_rank = 0, reduced_rank = 0;
  std::array<Dim, kMaxDims> kept, reduced;    // the others
  int64_t kept_count = 1, reduced_count = 1;  // products of those
};

/// `reduce[d]` says whether dimension d disappears. Strides in elements; dst_strides of reduced dimensions are ignored.
/// Reducing zero elements gives the op's neutral element (0, 1, -inf, +inf; mean gives NaN).
ReducePlan make_reduce(ReduceOp op, std::span<const int64_t> dims, std::span<const int64_t> src_strides,
                       std::span<const int64_t> dst_strides, std::span<const bool> reduce);

void run_reduce(const ReducePlan& plan, const float* src, float* dst, ThreadPool& pool);
/// Integers wrap; mean truncates. The ops that need roots or logarithms are an error.
void run_reduce(const ReducePlan& plan, const int32_t* src, int32_t* dst, ThreadPool& pool);
void run_reduce(const ReducePlan& plan, const int64_t* src, int64_t* dst, ThreadPool& pool);

struct ArgReduce {
  bool largest = true;       // argmax; else argmin
  bool select_last = false;  // among equals
  int64_t outer = 1, axis = 1, inner = 1;
  int64_t src_outer = 0, src_axis = 0, src_inner = 0;  // strides in elements
  int64_t dst_outer = 0, dst_inner = 0;
};

/// The index of the extreme element; the first (or last) NaN wins over any number, as in numpy.
void run_arg_reduce(const ArgReduce& shape, const float* src, int64_t* dst, ThreadPool& pool);

/// Smallest and largest of n floats, NaN if any is NaN; n > 0. (Dynamic quantization starts with this.)
void min_max(const float* src, int64_t n, float* smallest, float* largest, ThreadPool& pool);

/// ONNX DynamicQuantizeLinear: uint8, the range always includes 0.
void dynamic_quantize(const float* src, int64_t n, uint8_t* dst, float* scale, uint8_t* zero_point, ThreadPool& pool);

}  // namespace tenon::cpu
