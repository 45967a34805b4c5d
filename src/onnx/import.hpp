// ONNX model to Graph.
//
// The graph that comes out is canonical:
//  - Every operator has its newest meaning (opset 28), whatever opset (1, or 6 to 28) the model was written in.
//    Operators of ONNX's own domain are named plainly ("Conv"), others with their domain ("com.microsoft.QLinearAdd").
//  - Constant nodes and initializers are constants, those also listed among the graph's inputs included. Unused ones
//    are dropped. Weights are views into the mapped file, which the tensors keep open, wherever they are aligned.
//  - Model-local functions are inlined.
//  - Optional inputs left out are kNone, trailing ones are dropped; optional outputs left out before a wanted one have
//    a name of their own.
//  - Unnamed dimensions of the model's inputs are symbols "?<input>.<axis>". Declared types of other values are not
//    trusted: shapes are inferred.
//  - Nodes are in an order in which every value is made before it is used.
//  - A graph output that is a constant, or another value under a further name, comes from an Identity node of its own.
//    An input may be an output as well, under its own name.
//
// Sub-graphs (If, Loop, Scan, SequenceMap) are closed graphs: values of outer scopes that a node's bodies use are
// further inputs of the node, after its own, in order of first use over all its bodies, and further inputs at the end
// of EVERY body of the node in the same order. The node's attribute "captures" (absent: 0) says how many. Constants of
// outer scopes are not captured: the body has them as its own constants, with shared storage.
//
// Graph::metadata: "producer_name", "producer_version", "ir_version", "model_version", "domain", "doc", "graph_name",
// "opset" (of ONNX's own domain), "opset.<domain>", and "props.<key>" for each of the model's metadata_props.
//
// Errors: invalid argument for what is malformed (with the path of the field, or the node), unsupported for operators
// that Tenon does not have (all of them at once), not found for missing files. Input is untrusted: nesting, node
// counts, decoded sizes and names are bounded by ImportLimits and the constants in wire.hpp, proto.hpp and weights.hpp.
// Thread-safe: each call stands alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "graph/graph.hpp"

namespace tenon::onnx {

struct ImportLimits {
  int64_t nodes = int64_t{1} << 20;             ///< of all graphs, sub-graphs and inlined functions
  int64_t inlined_nodes = int64_t{1} << 18;     ///< of those, the ones that come from functions
  int64_t names = int64_t{1} << 24;             ///< inputs, outputs and attributes of all those nodes
  int64_t attribute_bytes = int64_t{64} << 20;  ///< decoded attributes, on top of eight times the model's bytes
  int function_depth = 64;                      ///< functions calling functions
};

struct ImportOptions {
  /// Keeps operators that Tenon does not know as nodes with outputs of unknown type. For looking at models.
  bool allow_unknown_ops = false;
  ImportLimits limits{};
};

GraphPtr import_file(const std::string& path, const ImportOptions& options = {});

/// As import_file. `owner` keeps `bytes` alive as long as the graph's constants; with none given, they are copied.
/// External data are refused.
GraphPtr import_bytes(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                      const ImportOptions& options = {});

}  // namespace tenon::onnx
