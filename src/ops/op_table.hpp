// The table of all ops, assembled from the slices listed in ops.def.
#pragma once

#include "graph/op.hpp"

namespace tenon {

/// Every op that Tenon knows. Made once, immutable, safe to read from any thread.
const OpTable& all_ops();

}  // namespace tenon
