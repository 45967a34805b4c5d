// A build ends by verifying the plan: it runs on sample inputs and is compared with the reference on the graph as it
// was imported. What differs is traced to the fusion or tactic that is to blame, which is left out, and reported.
#pragma once

#include <string>
#include <vector>

#include "runtime/engine.hpp"

namespace tenon {

struct VerifyOptions {
  std::vector<Datum> inputs;  ///< sample inputs, for the shapes that are planned
  /// Allowed root mean square error relative to the root mean square of each output. 0 chooses: 1e-4 for graphs in
  /// float32, 0.02 with half floats, 0.15 with quantisation (a value at a rounding boundary falls on either side, and
  /// later layers carry that on).
  double tolerance = 0;
};

struct VerifyReport {
  bool done = false;
  bool passed = false;
  bool by_layer = false;  ///< passed because every step agrees on the same inputs: the model amplifies rounding
  double worst = 0;       ///< of the engine that is returned
  double tolerance = 0;
  std::string output;               ///< where the worst error is
  std::string why_not;              ///< why nothing was verified
  std::vector<std::string> blamed;  ///< "pass fuse_epilogue", "tactic gemm_nhwc of node conv1"
};

/// Builds, verifies, and where that fails builds again without what is to blame. Throws only what a build throws; look
/// at report.passed. Nothing is verified (report.done is false) when no program was planned.
std::shared_ptr<EngineCore> build_verified(const GraphPtr& imported, const std::map<std::string, Dims>& shapes,
                                           const std::map<std::string, ProfileRange>& profile, EngineOptions options,
                                           const VerifyOptions& verify, VerifyReport& report);

/// Root mean square error relative to the wanted values' root mean square; infinity where shapes, types or NaNs differ.
double rms_error(const Datum& wanted, const Datum& got);

}  // namespace tenon
