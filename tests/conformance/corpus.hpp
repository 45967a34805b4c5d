// The official ONNX backend tests on disk: <part>/<test>/model.onnx with test_data_set_*/{input,output}_N.pb, and in
// the part "light" light_X.onnx with light_X_output_0.pb, whose input counts from 0 to 1. Plain functions; thread-safe.
#pragma once

#include <string>
#include <vector>

#include "graph/graph.hpp"

namespace tenon::conformance {

struct Case {
  std::string name;  ///< "node/test_abs"
  std::string part;  ///< "node"
  std::string model;
  std::vector<std::string> sets;  ///< folders of data; none for a light model
  std::string wanted;             ///< of a light model: the file of its output
};

struct Data {
  std::vector<Datum> inputs, outputs;
};

/// All tests below `folder`, by name.
std::vector<Case> find_cases(const std::string& folder);

/// The data sets of a test, read as the types of the graph's inputs and outputs.
std::vector<Data> read_data(const Case& test, const Graph& graph);

/// What differs, in words; empty when `got` is close enough by the official rule: same types and shapes, text equal,
/// numbers within 1e-3 relative and 1e-7 absolute (bfloat16: 2^-6 relative), NaN where NaN is wanted.
std::string difference(const Datum& wanted, const Datum& got);

/// As difference, of types and shapes only: for values that are random.
std::string kind_difference(const Datum& wanted, const Datum& got);

}  // namespace tenon::conformance
