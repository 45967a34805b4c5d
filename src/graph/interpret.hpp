// The interpreter: runs a graph node by node with the ops' references. Slow and right; what plans are verified against.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "graph/op.hpp"

namespace tenon {

/// Called after each node with its outputs; used to compare layer by layer.
using Observer = std::function<void(const Node& node, std::span<const Datum> outputs)>;

/// Runs `graph` on `inputs` (in the order of graph.inputs) and returns its outputs. Values are freed after their last
/// use. Errors carry the node they came from. Nested calls (control flow) are limited to a depth of 100.
std::vector<Datum> interpret(const Graph& graph, const OpTable& ops, std::span<const Datum> inputs,
                             const Observer& observer = nullptr);

/// Runs one node; missing inputs are null.
std::vector<Datum> interpret_node(const Node& node, const OpTable& ops, std::span<const Datum* const> inputs);

}  // namespace tenon
