// Tactics for elementwise nodes and pointwise regions: the float tape, tables for functions of a byte, and plain loops
// in the elements' own type.
#pragma once

#include "tactic/tactic.hpp"

namespace tenon {

/// What an elementwise node or a region computes, as a graph over the operands `operands` of the problem; a single
/// node's constants of one element are inside. Null for a region without a body.
GraphPtr pointwise_body(const Problem& problem, std::vector<size_t>& operands);

/// "tape": one node or a region as a tape over the output's index space, any strides.
Verdict judge_tape(const Problem& problem);
std::unique_ptr<Kernel> prepare_tape(const Problem& problem, WeightStore& store);

/// "table": a region with one 8-bit input and scalars, as 256 results that are looked up.
Verdict judge_table(const Problem& problem);
std::unique_ptr<Kernel> prepare_table(const Problem& problem, WeightStore& store);

/// "plain": one node in integer, bool or double arithmetic.
Verdict judge_plain(const Problem& problem);
std::unique_ptr<Kernel> prepare_plain(const Problem& problem, WeightStore& store);

}  // namespace tenon
