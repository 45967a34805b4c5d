// The naive matrix product that MatMul, Gemm, MatMulInteger and QLinearMatMul share: shapes as numpy has them, plain
// loops with rows of the output innermost.
#pragma once

#include <vector>

#include "ops/support.hpp"

namespace tenon {

struct MatMulPlan {
  int64_t rows = 1, inner = 1, columns = 1;
  Dims batch;             ///< broadcast batch axes
  Ints a_batch, b_batch;  ///< strides over them, in elements
  Dims out;
};

/// The output's shape where it is known; rejects inner extents that differ.
std::optional<Shape> matmul_shape(InferContext& ctx, size_t a, size_t b);
MatMulPlan plan_matmul(const RefContext& ctx, Dims a, Dims b);

template <class T>
std::vector<T> multiply(const MatMulPlan& p, const std::vector<T>& a, const std::vector<T>& b) {
  std::vector<T> out(static_cast<size_t>(element_count(p.out)), T(0));
  if (out.empty()) return out;
  T* to = out.data();
  walk<2>(p.batch, {p.a_batch, p.b_batch}, [&](std::array<int64_t, 2> at) {
    const T *x = a.data() + at[0], *y = b.data() + at[1];
    for (int64_t r = 0; r < p.rows; ++r, to += p.columns) {
      for (int64_t k = 0; k < p.inner; ++k) {
        T factor = x[r * p.inner + k];
        const T* row = y + k * p.columns;
        for (int64_t c = 0; c < p.columns; ++c) to[c] += factor * row[c];
      }
    }
  });
  return out;
}

}  // namespace tenon
