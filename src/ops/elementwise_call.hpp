// From a node to the line of elementwise.def that it means, with its parameters p and q. Shared by the references, the
// tactics and the fusion of pointwise regions, so that there is one reading of attributes. Pure functions.
#pragma once

#include <optional>

#include "graph/graph.hpp"
#include "ops/elementwise.hpp"

namespace tenon {

struct EwCall {
  EwOp op{};
  double p = 0, q = 0;
};

/// The expression that a node of one expression means; its inputs are the expression's operands in order. Nothing for
/// ops that are none and for nodes that are more than one (Max of three, Sum, Mean). Clip: see clip_bounds.
std::optional<EwCall> elementwise_call(const Node& node);

/// As above for nodes of a graph; a Clip whose bounds are absent or constants gives kClip with the bounds as p and q
/// (only its first input is an operand then).
std::optional<EwCall> elementwise_call(const Graph& graph, const Node& node);

}  // namespace tenon
