// Computing half-precision graphs in float32, for devices without half arithmetic.
#pragma once

#include "graph/op.hpp"

namespace tenon {

/// Makes every float16 and bfloat16 computation a float32 one: constants are widened, inputs get a Cast behind them,
/// outputs one before them, Casts to half are made Casts to float32, in sub-graphs too. True when there was any.
bool widen_half(Graph& graph, const OpTable& ops);

}  // namespace tenon
