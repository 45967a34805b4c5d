// Passes: Graph -> Graph. A pass is idempotent, deterministic and knows no device. The manager runs the pipeline (one
// list in pipeline.cpp), cleans up after each change (fold, CSE, DCE), verifies, times, and honours what is disabled.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "graph/op.hpp"

namespace tenon {

struct PassContext {
  const OpTable& ops;
  int64_t fold_bytes = int64_t{64} << 20;  ///< constants that folding may make, in all
  bool fold_dequantized = false;           ///< whether 8-bit weights may be folded to floats yet
};

struct Pass {
  std::string_view name;                            ///< verb_object
  std::string_view why;                             ///< why it stands where it stands in the pipeline
  bool (*run)(Graph& graph, PassContext& context);  ///< true when the graph changed
};

/// The pipeline, in order.
std::span<const Pass> pipeline();

struct PassReport {
  std::string_view name;
  bool changed = false;
  double milliseconds = 0;
  int nodes_after = 0;
};

struct OptimizeOptions {
  std::set<std::string, std::less<>> disabled;  ///< names of passes (or cleanup steps) to leave out
  std::string stop_after;                       ///< run no pass after this one
  int64_t fold_bytes = int64_t{64} << 20;
  std::function<void(const Graph&, const PassReport&)> trace;  ///< called after each pass
};

/// Runs the pipeline on the graph and on every graph inside it until nothing changes (at most a few rounds). The types
/// are inferred anew. Throws when a disabled or stop_after name is not a pass, with the nearest name.
std::vector<PassReport> optimize(Graph& graph, const OpTable& ops, const OptimizeOptions& options = {});

/// Structural soundness: single assignment, ids in range, uses consistent, no cycle, known ops, input counts within the
/// op's schema, sub-graphs closed. Throws internal naming `after`.
void verify(const Graph& graph, const OpTable& ops, std::string_view after);

// Cleanup steps; the manager runs them, passes never do.
bool fold_constants(Graph& graph, PassContext& context);
bool merge_equal_nodes(Graph& graph, PassContext& context);  ///< CSE, equal constants included
bool remove_dead_nodes(Graph& graph, PassContext& context);

/// Pass and cleanup names, for --disable-pass and its completion.
std::vector<std::string> pass_names();

}  // namespace tenon
