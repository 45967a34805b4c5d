// Control flow in a program: the bodies of an If, Loop or Scan are programs of their own, and the node is a kernel that
// runs them. What a body captures is handed in by pointer; carried values alternate between two buffers; slices of scan
// inputs and outputs are read and written where they are (along axis 0), else copied one at a time. Counts and
// conditions are read on the host. All memory is workspace of the step, so that a run allocates nothing.
//
// This is for nodes whose types are all static, round after round. Others run on the interpreter's logic.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "plan/program.hpp"

namespace tenon {

/// The tactic's name in choices, steps and reports.
inline constexpr std::string_view kFlowTactic = "planned";

/// What an If, Loop or Scan node says, with its bodies. Derived from the graph, never stored.
struct FlowSpec {
  enum class Kind : uint8_t { kIf, kLoop, kScan };
  Kind kind = Kind::kIf;
  std::vector<GraphPtr> bodies;       ///< If: then, else; null for a branch that cannot run with these types
  std::vector<GraphPtr> interpreted;  ///< the same, for branches that are null above
  size_t first = 0;                   ///< input of the node that is the first carried value
  size_t carried = 0, scans = 0, captures = 0, collected = 0;
  int64_t rounds = -1;  ///< when known
  Ints in_axes, in_reversed, out_axes, out_reversed;
};

bool is_flow_op(const Node& node);

/// The node as something to plan; nothing, with the reason, when a type is not static or changes from round to round.
/// The types of the bodies are those that infer_types left there.
std::optional<FlowSpec> flow_spec(const Graph& graph, const Node& node, std::string& why);

/// The kernel over the programs of spec.bodies (null where those are). `in`, `out`: the node's operands, dense.
std::unique_ptr<Kernel> make_flow_kernel(FlowSpec spec, std::vector<std::shared_ptr<const Program>> programs,
                                         const Problem& problem);

/// Sees each step inside control flow, from the thread that runs the outer program. For reports and verification.
class FlowObserver {
 public:
  virtual ~FlowObserver() = default;
  virtual void before(const Program& body, const Step& step, const void* const* in) = 0;
  virtual void after(const Program& body, const Step& step, void* const* out) = 0;
};

/// What the flow kernels of this thread report to. `seconds`: one entry for each step inside the step about to run, in
/// the order of all_steps(); times are added.
struct FlowTrace {
  double* seconds = nullptr;
  FlowObserver* observer = nullptr;
};
FlowTrace& flow_trace() noexcept;  ///< of this thread

}  // namespace tenon
