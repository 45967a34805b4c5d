// Strided copies: what the planner inserts where a view does not do (reorders, concatenations, slices).
#pragma once

#include "tactic/tactic.hpp"

namespace tenon {

/// A kernel that copies in[0] to out[0]: one logical shape, element strides on either side. Types of whole bytes only.
/// It says what it copies, so that another device can do the same.
struct CopyShape {
  DType dtype;
  Dims dims;
  Ints from, to;
};
const CopyShape* copy_shape(const Kernel& kernel) noexcept;  // null: not one of these
std::unique_ptr<Kernel> make_copy(DType dtype, const Dims& dims, const Ints& from, const Ints& to);

}  // namespace tenon
