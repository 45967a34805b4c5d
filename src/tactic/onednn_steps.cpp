// Epilogues in oneDNN's terms.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.hpp"
#include "ops/elementwise_call.hpp"
#include "tactic/onednn.hpp"

namespace tenon {
namespace {

namespace dnn = cpu::onednn;

float finite(double v) {
  constexpr float kMost = std::numeric_limits<float>::max();
  return std::clamp(static_cast<float>(v), -kMost, kMost);
}

std::optional<FusedStep> unary_step(const EwCall& c) {
  auto p = static_cast<float>(c.p), q = static_cast<float>(c.q);
  switch (c.op) {
    case EwOp::kRelu: return FusedStep{dnn::kRelu};
    case EwOp::kLeakyRelu: return FusedStep{dnn::kRelu, p};
    case EwOp::kClip: return FusedStep{dnn::kClip2, finite(c.p), finite(c.q)};
    case EwOp::kSigmoid: return FusedStep{dnn::kLogistic};
    case EwOp::kTanh: return FusedStep{dnn::kTanh};
    case EwOp::kElu: return FusedStep{dnn::kElu, p};
    case EwOp::kAbs: return FusedStep{dnn::kAbs};
    case EwOp::kSqrt: return FusedStep{dnn::kSqrt};
    case EwOp::kExp: return FusedStep{dnn::kExp};
    case EwOp::kLog: return FusedStep{dnn::kLog};
    case EwOp::kSquare: return FusedStep{dnn::kSquare};
    case EwOp::kNeg: return FusedStep{dnn::kLinear, -1};
    case EwOp::kSilu: return FusedStep{dnn::kSwish, 1};
    case EwOp::kSwish: return FusedStep{dnn::kSwish, p};
    case EwOp::kGelu: return FusedStep{dnn::kGeluErf};
    case EwOp::kGeluTanh: return FusedStep{dnn::kGeluTanh};
    case EwOp::kHardSwish: return FusedStep{dnn::kHardSwish, 1.0f / 6, 0.5f};
    case EwOp::kHardSigmoid: return FusedStep{dnn::kHardSigmoid, p, q};
    case EwOp::kMish: return FusedStep{dnn::kMish};
    case EwOp::kSoftplus: return FusedStep{dnn::kSoftRelu, 1};
    case EwOp::kAddConst: return FusedStep{dnn::kLinear, 1, p};
    case EwOp::kMulConst: return FusedStep{dnn::kLinear, p, 0};
    case EwOp::kAffine: return FusedStep{dnn::kLinear, p, q};
    default: return std::nullopt;
  }
}

// The operation with a constant: cur OP c.
std::optional<FusedStep> scalar_step(EwOp op, float c) {
  switch (op) {
    case EwOp::kAdd: return FusedStep{dnn::kLinear, 1, c};
    case EwOp::kSub: return FusedStep{dnn::kLinear, 1, -c};
    case EwOp::kMul: return FusedStep{dnn::kLinear, c, 0};
    case EwOp::kDiv: return FusedStep{dnn::kLinear, 1 / c, 0};
    case EwOp::kMax: return FusedStep{dnn::kClip2, c, finite(HUGE_VAL)};
    case EwOp::kMin: return FusedStep{dnn::kClip2, finite(-HUGE_VAL), c};
    default: return std::nullopt;
  }
}

int binary_algorithm(EwOp op) {
  switch (op) {
    case EwOp::kAdd: return dnn::kBinaryAdd;
    case EwOp::kSub: return dnn::kBinarySub;
    case EwOp::kMul: return dnn::kBinaryMul;
    case EwOp::kDiv: return dnn::kBinaryDiv;
    case EwOp::kMax: return dnn::kBinaryMax;
    case EwOp::kMin: return dnn::kBinaryMin;
    default: return 0;
  }
}

// Appends a step; linear ones in a row become one, and none where they cancel.
void add_step(std::vector<FusedStep>& steps, FusedStep step) {
  bool linear = step.extra < 0 && step.algorithm == dnn::kLinear;
  if (linear && !steps.empty() && steps.back().extra < 0 && steps.back().algorithm == dnn::kLinear) {
    step = {dnn::kLinear, steps.back().alpha * step.alpha, steps.back().beta * step.alpha + step.beta};
    steps.pop_back();
  }
  bool nothing = linear && std::abs(step.alpha - 1) < 1e-6f && step.beta == 0;
  if (!nothing) steps.push_back(step);
}

// x * f(x), the way in which exporters write activations out: SiLU, HardSwish, GELU and Mish in all scalings. f is a
// linear map, a core and another linear map.
class Gate {
 public:
  Gate(const Graph& body, ValueId x) : g_(body), x_(x) {}

  /// Reads nodes from order[i] on to the product and moves i behind it.
  bool match(const std::vector<NodeId>& order, size_t& i, std::vector<FusedStep>& steps) {
    ValueId at = x_;
    for (; i < order.size(); ++i) {
      const Node& n = g_.node(order[i]);
      auto call = elementwise_call(g_, n);
      if (!call || n.outputs.size() != 1 || std::count(n.inputs.begin(), n.inputs.end(), at) != 1) return false;
      bool gates = at != x_ && call->op == EwOp::kMul && std::count(n.inputs.begin(), n.inputs.end(), x_) == 1;
      if (at != x_ && g_.use_count(at) != 1) return false;
      at = n.outputs[0];
      if (gates) {
        ++i;
        result_ = at;
        return finish(steps);
      }
      if (!inner(n, *call)) return false;
    }
    return false;
  }
  ValueId result() const { return result_; }

 private:
  bool inner(const Node& n, const EwCall& call) {
    std::optional<FusedStep> step = unary_step(call);
    if (!step && n.inputs.size() == 2) {
      bool first = g_.value(n.inputs[1]).is_constant();
      const Value& other = g_.value(n.inputs[first ? 1 : 0]);
      if (!other.is_constant() || other.constant.size() != 1 || (!first && call.op == EwOp::kDiv)) return false;
      step = scalar_step(call.op, static_cast<float>(other.constant.at(0)));
      if (step && !first && call.op == EwOp::kSub) step = FusedStep{dnn::kLinear, -1, -step->beta};
    }
    if (step && step->algorithm == dnn::kLinear) {
      float* map = core_ < 0 ? before_ : after_;
      map[0] *= step->alpha;
      map[1] = map[1] * step->alpha + step->beta;
      return true;
    }
    bool tanh_of_softplus = call.op == EwOp::kTanh && core_ == dnn::kSoftRelu && after_[0] == 1 && after_[1] == 0;
    if (tanh_of_softplus) core_ = dnn::kMish;
    if (tanh_of_softplus) return true;
    if (core_ >= 0) return false;
    core_ = call.op == EwOp::kErf ? static_cast<int>(dnn::kGeluErf) : step ? step->algorithm : -1;
    if (step) core_step_ = *step;
    return core_ >= 0;
  }

  bool finish(std::vector<FusedStep>& steps) const {
    float a = before_[0], b = before_[1], c = after_[0], d = after_[1];
    if (core_ == dnn::kLogistic && b == 0 && d == 0) {
      add_step(steps, {dnn::kSwish, a, 0});
    } else if (core_ == dnn::kGeluErf && b == 0 && std::abs(a - 0.70710678f) < 1e-5f && c == d) {
      add_step(steps, {dnn::kGeluErf, 0, 0});
      c *= 2;
    } else if (core_ == dnn::kMish && a == 1 && b == 0 && d == 0) {
      add_step(steps, {dnn::kMish, 0, 0});
    } else if (core_ == dnn::kHardSigmoid && d == 0) {
      add_step(steps, {dnn::kHardSwish, core_step_.alpha * a, core_step_.alpha * b + core_step_.beta});
    } else if (core_ == dnn::kClip2 && core_step_.alpha * c + d == 0 && core_step_.beta > core_step_.alpha &&
               core_step_.beta < 1e6f) {
      float low = core_step_.alpha, width = core_step_.beta - low;
      add_step(steps, {dnn::kHardSwish, a / width, (b - low) / width});
      c *= width;
    } else {
      return false;
    }
    add_step(steps, {dnn::kLinear, c, 0});
    return true;
  }

  const Graph& g_;
  ValueId x_, result_ = kNone;
  float before_[2] = {1, 0}, after_[2] = {1, 0};
  int core_ = -1;
  FusedStep core_step_;
};

// Walks a body that is one chain from its first input to its output.
class Chain {
 public:
  Chain(const Problem& p, const Graph& body, int channel_axis, std::string& why)
      : p_(p), g_(body), channel_axis_(channel_axis), why_(why), current_(body.inputs[0]) {}

  bool walk(std::vector<FusedStep>& steps) {
    if (g_.outputs.size() != 1) return no("it has several results");
    std::vector<NodeId> order = g_.order();
    for (size_t i = 0; i < order.size();) {
      if (g_.use_count(current_) == 2 && g_.value(current_).type.dtype == DType::kFloat32) {
        Gate gate(g_, current_);
        if (!gate.match(order, i, steps)) return no("it is not one chain of operations");
        current_ = gate.result();
        continue;
      }
      const Node& n = g_.node(order[i++]);
      bool first = i == 1, last = i == order.size();
      bool only_reader = g_.use_count(current_) == 1;
      if (!only_reader || n.outputs.size() != 1 || std::count(n.inputs.begin(), n.inputs.end(), current_) != 1) {
        return no("it is not one chain of operations");
      }
      if (n.op == "QuantizeLinear") {
        if (!quantize(n, last, steps)) return false;
        current_ = n.outputs[0];
        continue;
      }
      if (first && n.op == "Cast" && g_.value(current_).type.dtype == DType::kInt32) {
        current_ = n.outputs[0];
        continue;
      }
      if (g_.value(n.outputs[0]).type.dtype != DType::kFloat32) return no(n.op + " does not compute in float32");
      if (first && g_.value(current_).type.dtype != DType::kFloat32) return no("it does not begin with a Cast");
      if (!node(n, steps)) return false;
      current_ = n.outputs[0];
    }
    return current_ == g_.outputs[0] || no("its result is not the last of its chain");
  }

 private:
  bool no(const std::string& why) {
    why_ = why;
    return false;
  }

  bool node(const Node& n, std::vector<FusedStep>& steps) {
    if (n.op == "Identity") return true;
    if (n.op == "DequantizeLinear") {
      float scale = 1, zero = 0;
      if (!scalars(n, scale, zero)) return no("it dequantizes with scales that are no constant scalars");
      add_step(steps, {dnn::kLinear, scale, -zero * scale});
      return true;
    }
    auto call = elementwise_call(g_, n);
    if (!call) return no(n.op + " is no post-operation of oneDNN");
    if (auto step = unary_step(*call)) {
      add_step(steps, *step);
      return true;
    }
    int algorithm = binary_algorithm(call->op);
    if (algorithm == 0 || n.inputs.size() != 2) return no(n.op + " is no post-operation of oneDNN");
    bool first = n.inputs[0] == current_;
    ValueId other = n.inputs[first ? 1 : 0];
    EwOp op = call->op;
    if (!first && op == EwOp::kDiv) return no("it divides by the result");
    if (!first && op == EwOp::kSub) {  // b - x is -x + b
      add_step(steps, {dnn::kLinear, -1, 0});
      op = EwOp::kAdd;
      algorithm = dnn::kBinaryAdd;
    }
    const Value& value = g_.value(other);
    if (value.is_constant()) {
      if (value.constant.size() != 1) return no("a constant in it is not a scalar");
      auto step = scalar_step(op, static_cast<float>(value.constant.at(0)));
      if (step) add_step(steps, *step);
      return step || no(n.op + " with a constant is no post-operation of oneDNN");
    }
    return operand(other, algorithm, steps);
  }

  // Scale and zero point of a Quantize- or DequantizeLinear that are constant scalars.
  bool scalars(const Node& n, float& scale, float& zero) const {
    zero = 0;
    for (size_t i = 1; i < n.inputs.size(); ++i) {
      if (!n.has(i)) continue;
      const Value& v = g_.value(n.inputs[i]);
      if (!v.is_constant() || v.constant.size() != 1) return false;
      (i == 1 ? scale : zero) = static_cast<float>(v.constant.at(0));
    }
    return n.has(1);
  }

  bool quantize(const Node& n, bool last, std::vector<FusedStep>& steps) {
    float scale = 1, zero = 0;
    DType type = g_.value(n.outputs[0]).type.dtype;
    if (type != DType::kInt8 && type != DType::kUInt8) return no("it quantizes to another type than 8-bit integers");
    if (!scalars(n, scale, zero) || scale == 0) return no("it quantizes with scales that are no constant scalars");
    add_step(steps, {dnn::kLinear, 1 / scale, zero});
    if (last) return true;
    float low = type == DType::kInt8 ? -128.0f : 0.0f;
    steps.push_back({dnn::kRound});
    steps.push_back({dnn::kClip2, low, low + 255});
    return true;
  }

  bool operand(ValueId v, int algorithm, std::vector<FusedStep>& steps) {
    auto at = std::find(g_.inputs.begin(), g_.inputs.end(), v);
    if (at == g_.inputs.end()) return no("it is not one chain of operations");
    size_t index = p_.extra_begin() + static_cast<size_t>(at - g_.inputs.begin()) - 1;
    const Operand& o = p_.in[index];
    if (o.dtype != DType::kFloat32) return no("an operand is not float32");
    if (!spread_of(o, p_.out[0].dims, channel_axis_)) return no("an operand is broadcast in another way");
    steps.push_back({algorithm, 0, 0, static_cast<int>(index)});
    return true;
  }

  const Problem& p_;
  const Graph& g_;
  int channel_axis_;
  std::string& why_;
  ValueId current_;
};

}  // namespace

std::optional<Spread> spread_of(const Operand& o, const Dims& result, int channel_axis) {
  if (o.size() == 1) return Spread::kScalar;
  if (o.dims == result) return Spread::kFull;
  if (o.rank() > static_cast<int>(result.size())) return std::nullopt;
  size_t shift = result.size() - o.dims.size();
  for (size_t i = 0; i < o.dims.size(); ++i) {
    bool channel = shift + i == static_cast<size_t>(channel_axis);
    if (o.dims[i] != (channel ? result[shift + i] : 1)) return std::nullopt;
  }
  return Spread::kChannel;
}

std::optional<std::vector<FusedStep>> fused_steps(const Problem& problem, int channel_axis, std::string& why) {
  std::vector<FusedStep> steps;
  const Graph* body = problem.epilogue();
  if (body == nullptr || Chain(problem, *body, channel_axis, why).walk(steps)) return steps;
  return std::nullopt;
}

}  // namespace tenon
