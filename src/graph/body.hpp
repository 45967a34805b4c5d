// Bodies of composite ops (Op::body): what the op means, in graph text. One or more graphs, separated by lines `or`;
// the one that is meant has as many inputs as the node, of the types that it declares, mentions every attribute that
// the node has, and makes every output that the node has. `$name` in an attribute is the node's attribute (left out
// where the node has none); `e = Attr<value=$epsilon, otherwise=0.00001>()` makes a number of it, in the type of the
// first input.
//
// A body is interpreted where an op has no reference, put in an op's place where no tactic wants the op, held against
// the reference by a test, and read by people.
#pragma once

#include "graph/op.hpp"

namespace tenon {

/// Replaces the node by its op's body. False, with nothing changed, when the op has none that fits.
bool expand_body(Graph& graph, NodeId node, const OpTable& ops);

}  // namespace tenon
