// Graph to ONNX model: opset 21 and IR 10, or newer where an operator or element type of the graph needs it.
//
// Only ONNX's operators (and those of known domains, such as com.microsoft) can be written; operators that Tenon made
// itself ("tenon.*") must be decomposed before, an unsupported error names them. Sub-graphs get what they capture by
// outer-scope names again. Values keep their names where these are unique. Graph::metadata goes back where the importer
// took it from. Needs inferred types for the graph's inputs and outputs. Thread-safe for distinct graphs.
#pragma once

#include <cstdint>
#include <string>

#include "graph/graph.hpp"

namespace tenon::onnx {

struct ExportOptions {
  /// Models whose constants have more bytes than this put them into FILE.data beside FILE (a protobuf file cannot pass
  /// 2 GiB).
  int64_t external_above = int64_t{1} << 30;
};

/// The model as bytes of an ONNX file; constants of 2 GiB and more are an error here.
std::string export_bytes(const Graph& graph);

/// Writes the model; an old file stays intact unless all is written.
void export_file(const Graph& graph, const std::string& path, const ExportOptions& options = {});

}  // namespace tenon::onnx
