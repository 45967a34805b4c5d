// Convolutions by oneDNN, of whatever op and type: channels-last, cut into images or rows of an image. The op's file
// says what the convolution is; judging and preparing it is the same for all.
#pragma once

#include "tactic/onednn.hpp"

namespace tenon {

/// A convolution in the library's terms: [N, C, spatial...] of the logical dims, operands channels-last in memory.
struct OnednnConv {
  using Dims64 = std::vector<cpu::onednn::Dim>;
  Dims64 source, weights, result;  ///< weights with the groups in front where there are several
  Dims64 strides, dilations, begins, ends;
  DType source_type{}, weights_type{}, result_type{};
  Tensor constant;               ///< the weights
  const Tensor* bias = nullptr;  ///< float32, one value a channel
  int zero_point = -1;           ///< the input with the source's zero point, one 8-bit number
  std::vector<FusedStep> steps;
  size_t cut = 2;  ///< the axis along which an image is cut
};

/// Reads window, dims and layouts from the problem (input 0 and constant `weights_dims` [M, C / group, ...]). Types,
/// constants and steps are the caller's to fill in. Nothing with the reason in `why` when the library is absent or the
/// operands do not fit.
std::optional<OnednnConv> onednn_conv_of(const Problem& problem, const Dims& weights_dims, std::string& why);

Verdict judge_onednn_conv(const Problem& problem, const OnednnConv& conv);
std::unique_ptr<Kernel> prepare_onednn_conv(const Problem& problem, const OnednnConv& conv, WeightStore& store);

}  // namespace tenon
