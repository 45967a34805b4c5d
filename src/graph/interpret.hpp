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

/// Runs the bodies of control-flow nodes in the interpreter's place, where it can: what a runtime sets for a call, so
/// that a loop that it cannot plan as a whole still has rounds that are planned.
class BodyRuntime {
 public:
  virtual ~BodyRuntime() = default;
  /// False: it does not run this body on these inputs; the interpreter does.
  virtual bool run(const Graph& body, std::span<const Datum> inputs, std::vector<Datum>& outputs) = 0;
};
/// Of this thread; null where there is none.
BodyRuntime*& body_runtime() noexcept;

/// Runs one node; missing inputs are null.
std::vector<Datum> interpret_node(const Node& node, const OpTable& ops, std::span<const Datum* const> inputs);

}  // namespace tenon
