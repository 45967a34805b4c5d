// Program: a graph with concrete shapes, made executable: one step a node (or none, where a view suffices), every
// buffer at an exact offset of one arena, weights packed. Immutable once built; sessions bring the memory.
//
// What a program is built from is a graph and a Choice for each node. Offsets, views and copies are always derived anew
// from those two, also when a plan is loaded: a plan file holds no offset that would have to be trusted.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "graph/op.hpp"
#include "tactic/tactic.hpp"

namespace tenon {

/// How one node is run.
struct Choice {
  std::string tactic;          ///< "" : the reference; "view": no work or a strided copy (reshape, concat, split...);
                               ///< "planned": control flow whose bodies are programs
  Format in = Format::kPlain;  ///< of the layout-relevant inputs
  Format out = Format::kPlain;
  double seconds = 0;  ///< measured or estimated
  bool measured = false;
  std::vector<std::vector<Choice>> bodies;  ///< "planned": by body (If: then, else), empty for one that is interpreted
};

/// Where a value lives while a program runs.
struct Location {
  enum class Kind : uint8_t { kAbsent, kArena, kConstant, kInput, kOutput, kDatum };
  Kind kind = Kind::kAbsent;
  int32_t index = 0;   ///< of the input, output, constant or datum
  int64_t offset = 0;  ///< bytes from its beginning
};

struct Program;

struct Step {
  std::string name;  ///< the node's name, or what the planner inserted ("reorder input -> channels_last")
  std::string op;
  std::string tactic;              ///< "conv_nhwc", "reference", "copy"
  std::unique_ptr<Kernel> kernel;  ///< null: the reference runs `node`
  NodeId node = kNone;             ///< in Program::graph; kNone for inserted copies
  std::vector<Location> in, out;
  std::vector<Type> in_types, out_types;  ///< how to view the bytes
  std::vector<Ints> in_strides;           ///< elements, of each input where it is read; of kernels of nodes
  std::vector<Ints> out_strides;          ///< elements, of each output where it is written
  int64_t bytes = 0;                      ///< read and written, for reports
  double flops = 0;
  std::vector<std::shared_ptr<const Program>> bodies;  ///< control flow: what it runs (null: interpreted)
};

struct Program {
  GraphPtr graph;
  std::vector<Choice> choices;  ///< by position in graph->order()
  std::vector<Step> steps;
  std::vector<Tensor> constants;  ///< those that steps read directly
  std::vector<Type> inputs, outputs;
  std::vector<Location> output_locations;  ///< an output that is an input, a constant, or data-dependent
  int64_t arena_bytes = 0;                 ///< values and workspace
  int64_t workspace_offset = 0;
  int32_t datum_count = 0;  ///< values whose size only the data decide
  int threads = 1;
  bool allocation_free() const;  ///< no step runs a reference or has data-dependent sizes
};

/// All steps, those inside control flow right behind the step that they are in. Times of steps come in this order.
std::vector<const Step*> all_steps(const Program& program);
/// How many steps are inside a step, all the way down.
size_t inner_steps(const Step& step);

struct BuildOptions {
  int threads = 1;
  bool views = true;  ///< concat/split without copies, in place; off: every value has a buffer of its own
};

/// The operands of a node as a tactic sees them, dense, in the given formats.
Problem make_problem(const Graph& graph, const Node& node, Format in, Format out, int threads);

/// Whether the planner itself handles the op by views and strided copies.
bool is_view_op(const Graph& graph, const Node& node);

/// Whether all tensors of the node have concrete shapes and types that fit in the arena.
bool is_static_node(const Graph& graph, const Node& node);

std::unique_ptr<Program> build_program(GraphPtr graph, std::vector<Choice> choices, const TacticTable& tactics,
                                       WeightStore& weights, const BuildOptions& options);

/// Multiply-adds of a node, times two; 0 where it is not dominated by them.
double node_flops(const Graph& graph, const Node& node);

}  // namespace tenon
