// The naive convolution in doubles that Conv, ConvInteger and QLinearConv share: it decides what is right, so it is
// plain loops; the innermost one runs along output rows so that the compiler vectorises it.
#pragma once

#include <vector>

#include "ops/window.hpp"

namespace tenon {

struct ConvPlan {
  Window window;
  Dims in, weight, out;  // [N, C, ...], [M, C / group, ...], [N, M, ...]
  int64_t group = 1;
};

/// Checks shapes and attributes of a convolution and computes the output shape.
ConvPlan plan_conv(const RefContext& ctx, const Dims& x, const Dims& w);

/// The convolution; padding counts as 0.
std::vector<double> convolve(const ConvPlan& plan, const std::vector<double>& x, const std::vector<double>& w);

}  // namespace tenon
