// The text form of graphs: dumps, rules, composite bodies, goldens and plan files are all in this one grammar.
//
//   graph main (float32[N,64] x, float32[64,10] w = random(1)) => (y) {
//     b = float32[10] {1, 2.5, ...}                  a constant in full; also zeros, random(seed), @3 (blob 3)
//     t = MatMul(x, w)                               types are optional: the inference fills them in
//     float32[N,10] y = Add(t, b) @"layer1/bias"     @"..." is the node's name
//     p, q = Split<axis=1, num_outputs=2>(y)
//     z = Mul(y, 0.5)                                a bare number is a scalar constant
//     c = If<then_branch=graph a () => (..) {..}, captures=0>(cond)
//   }
//
// Names that are not plain words are quoted: %"/model.0/conv". `_` stands for an input left out.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.hpp"

namespace tenon {

struct PrintOptions {
  bool types = true;
  bool node_names = false;
  int64_t inline_limit = 16;             ///< constants of up to this many elements are printed in full
  std::vector<Tensor>* blobs = nullptr;  ///< larger ones are appended here and printed as @index; without it they are
                                         ///< printed as a summary that cannot be parsed back
};

std::string print(const Graph& graph, const PrintOptions& options = {});

/// One node as a line of the dump, for messages and tables.
std::string print_node(const Graph& graph, const Node& node, bool types = true);

/// Parses one graph. `blobs` resolves @index. Errors name line and column. The result's types are what the text says.
GraphPtr parse_graph(std::string_view text, const std::vector<Tensor>* blobs = nullptr);

}  // namespace tenon
