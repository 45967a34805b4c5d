// Elementwise ops in the element type's own arithmetic (int64 shape arithmetic, masks, doubles): plain loops over
// broadcast strides, compiled from elementwise.def. For float tensors of any size use the tape (cpu/pointwise.hpp).
#pragma once

#include <cstdint>
#include <span>

#include "ops/elementwise.hpp"
#include "tenon/types.hpp"

namespace tenon::cpu {

struct PlainOperand {
  const void* data;
  std::span<const int64_t> strides;  // elements, one a dimension; 0 broadcasts
};

/// Whether run_plain has `op` for elements of `dtype` (float32, float64, (u)int8/16/32/64, bool).
bool has_plain(EwOp op, DType dtype);

/// out[i] = op(inputs...[i]) for every index of `dims` (at most 16 dimensions). `dtype` is the type of the operands;
/// Where's condition and the result of comparisons are bool. p and q as in elementwise.def. Runs on the calling thread,
/// allocates nothing. `out` may be one of the inputs if the strides agree and the element sizes do.
void run_plain(EwOp op, DType dtype, std::span<const int64_t> dims, std::span<const PlainOperand> inputs, void* out,
               std::span<const int64_t> out_strides, double p = 0, double q = 0);

}  // namespace tenon::cpu
