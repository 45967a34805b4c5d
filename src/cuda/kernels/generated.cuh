// What stands here when a kernel is compiled is made for the instance (expression.cpp): this file only says what that is.
#pragma once
#include "prelude.cuh"

/// Products, pooling, depthwise, rows: loads the other operands at (row, col .. col + V), computes, stores.
template <int V>
TENON_INLINE void epilogue(const Operands& operands, i64 row, int col, const float (&x)[V]);
/// Products that are several at once: the operands of the batch-th.
TENON_INLINE Operands batch_operands(Operands operands, i64 batch);
/// Rows: V elements of a row.
template <int V>
TENON_INLINE void input(const Operands& operands, i64 row, int col, float (&x)[V]);
/// Pointwise regions: OUT_VEC elements from `index` on.
TENON_INLINE void region(const Operands& operands, i64 index);
