// Regions: bodies of elementwise nodes, as pointwise regions and epilogues carry them. Shared by the fusion passes.
#pragma once

#include <vector>

#include "graph/op.hpp"

namespace tenon {

/// A body and the values of the surrounding graph that are its inputs, in order, without repeats.
struct Region {
  GraphPtr body;
  std::vector<ValueId> inputs;
};

/// Limits within which every device's machine takes a region.
inline constexpr int kMaxRegionNodes = 20;
inline constexpr size_t kMaxRegionInputs = 12;

/// Whether the node is elementwise in types that regions compute in: floats, truth values, conversions from and to
/// integers, quantisation by scalars.
bool is_pointwise(const Graph& graph, const Node& node, const OpTable& ops);

/// The node as a region: its body if it is a region already, else a body of one.
Region region_of(const Graph& graph, const Node& node);

/// Several pointwise nodes, each after those it reads, as one region that makes `result`.
Region merge(const Graph& graph, const std::vector<NodeId>& members, ValueId result);

/// Puts the body's nodes back in the place of a tenon.Pointwise node, or behind the op of a node with an epilogue.
void inline_region(Graph& graph, NodeId node);

/// The same for all regions and epilogues of the graph and of the graphs inside it.
void inline_regions(Graph& graph);

}  // namespace tenon
