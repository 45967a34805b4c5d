#include "ops/elementwise_call.hpp"

#include <limits>

namespace tenon {
namespace {

struct Parameter {
  EwOp op;
  const char *p, *q;
  double p_default, q_default;
};

constexpr Parameter kParameters[] = {
    {EwOp::kLeakyRelu, "alpha", "", 0.01, 0},
    {EwOp::kElu, "alpha", "", 1, 0},
    {EwOp::kCelu, "alpha", "", 1, 0},
    {EwOp::kSelu, "alpha", "gamma", 1.67326319217681884765625, 1.05070102214813232421875},
    {EwOp::kHardSigmoid, "alpha", "beta", 0.2, 0.5},
    {EwOp::kThresholdedRelu, "alpha", "", 1, 0},
    {EwOp::kShrink, "bias", "lambd", 0, 0.5},
    {EwOp::kSwish, "alpha", "", 1, 0},
    {EwOp::kIsInf, "detect_negative", "detect_positive", 1, 1},
    {EwOp::kAddConst, "p", "", 0, 0},
    {EwOp::kMulConst, "p", "", 1, 0},
    {EwOp::kAffine, "p", "q", 1, 0},
};

}  // namespace

std::optional<EwCall> elementwise_call(const Node& node) {
  if (node.op == "BitShift") {
    return EwCall{node.attrs.string("direction", "") == "LEFT" ? EwOp::kShiftLeft : EwOp::kShiftRight};
  }
  auto op = find_elementwise(node.op);
  if (!op || *op == EwOp::kClip) return std::nullopt;
  if (*op == EwOp::kGelu && node.attrs.string("approximate", "none") == "tanh") op = EwOp::kGeluTanh;
  if (*op == EwOp::kMod && node.attrs.integer("fmod", 0) != 0) op = EwOp::kFmod;
  if ((*op == EwOp::kMax || *op == EwOp::kMin) && node.inputs.size() != 2) return std::nullopt;
  EwCall call{*op};
  for (const Parameter& k : kParameters) {
    if (k.op != *op) continue;
    call.p = node.attrs.number(k.p, k.p_default);
    if (*k.q != '\0') call.q = node.attrs.number(k.q, k.q_default);
  }
  return call;
}

std::optional<EwCall> elementwise_call(const Graph& graph, const Node& node) {
  if (node.op != "Clip") return elementwise_call(node);
  EwCall call{EwOp::kClip, -std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity()};
  for (size_t i : {1, 2}) {
    if (!node.has(i)) continue;
    const Value& bound = graph.value(node.inputs[i]);
    if (!bound.is_constant() || bound.constant.size() != 1) return std::nullopt;
    (i == 1 ? call.p : call.q) = bound.constant.at(0);
  }
  return call;
}

}  // namespace tenon
