// Strided copies: what the planner inserts where a view does not do (reorders, concatenations, slices).
#pragma once

#include "tactic/tactic.hpp"

namespace tenon {

/// A kernel that copies in[0] to out[0]: one logical shape, element strides on either side. Types of whole bytes only.
std::unique_ptr<Kernel> make_copy(DType dtype, const Dims& dims, const Ints& from, const Ints& to);

}  // namespace tenon
