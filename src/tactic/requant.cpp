#include "tactic/requant.hpp"

#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "ops/elementwise_call.hpp"
#include "tactic/epilogue.hpp"

namespace tenon {
namespace {

bool is_byte(DType t) { return t == DType::kInt8 || t == DType::kUInt8; }

class Matcher {
 public:
  Matcher(const Problem& p, int column_axis)
      : p_(p),
        g_(*p.epilogue()),
        axis_(column_axis),
        columns_(static_cast<size_t>(p.out[0].dims[static_cast<size_t>(column_axis)])) {}

  std::optional<RequantForm> match() {
    if (g_.inputs.empty() || g_.outputs.size() != 1) return std::nullopt;
    scale_.assign(columns_, 1.0);
    bias_.assign(columns_, 0.0);
    ValueId at = g_.inputs[0];
    for (const Node* n = next(at); n != nullptr; n = next(at)) {
      at = n->outputs[0];
      taken_.push_back(n->id);
      if (n->op == "QuantizeLinear") return quantised(*n);
      if (!step(*n)) return std::nullopt;
    }
    return std::nullopt;
  }

 private:
  // The only reader of a value.
  const Node* next(ValueId v) const {
    const auto& uses = g_.value(v).uses;
    if (uses.size() != 1 || g_.is_output(v)) return nullptr;
    return &g_.node(uses[0].node);
  }

  // Accumulator -> Cast, Mul, Add, Relu or Clip, in this order.
  bool step(const Node& n) {
    if (n.op == "Cast") return phase_ == 0 && g_.value(n.outputs[0]).type.dtype == DType::kFloat32 && (phase_ = 1);
    const ValueId last = taken_.size() > 1 ? g_.node(taken_[taken_.size() - 2]).outputs[0] : g_.inputs[0];
    if ((n.op == "Mul" && phase_ == 1) || (n.op == "Add" && (phase_ == 1 || phase_ == 2))) {
      if (n.inputs.size() != 2 || n.inputs[0] == n.inputs[1]) return false;
      std::vector<double>& into = n.op == "Mul" ? scale_ : bias_;
      if (n.op == "Add") phase_ = 2;
      return columns_of(n.inputs[n.inputs[0] == last ? 1 : 0], n.op == "Mul", into);
    }
    if (phase_ != 1 && phase_ != 2) return false;
    const auto call = elementwise_call(g_, n);
    if (!call || n.inputs[0] != last || (call->op != EwOp::kRelu && call->op != EwOp::kClip)) return false;
    lo_ = call->op == EwOp::kRelu ? 0.0 : call->p;
    hi_ = call->op == EwOp::kRelu ? std::numeric_limits<double>::infinity() : call->q;
    phase_ = 3;
    return lo_ <= hi_;
  }

  const Tensor* constant(ValueId v) const {
    if (g_.value(v).is_constant()) return &g_.value(v).constant;
    for (size_t i = 1; i < g_.inputs.size(); ++i) {
      if (g_.inputs[i] == v) return p_.in[p_.extra_begin() + i - 1].constant;
    }
    return nullptr;
  }

  // Multiplies (or adds) a constant of one value or one a column into `into`.
  bool columns_of(ValueId v, bool multiply, std::vector<double>& into) const {
    const Tensor* t = constant(v);
    if (t == nullptr || t->dtype() != DType::kFloat32) return false;
    const int64_t shift = p_.out[0].rank() - t->rank();
    const bool by_column = shift >= 0 && axis_ >= shift && t->size() == static_cast<int64_t>(columns_) &&
                           t->dims()[static_cast<size_t>(axis_ - shift)] == t->size();
    if (t->size() != 1 && !by_column) return false;
    for (size_t c = 0; c < columns_; ++c) {
      const double value = t->at(t->size() == 1 ? 0 : static_cast<int64_t>(c));
      into[c] = multiply ? into[c] * value : into[c] + value;
    }
    return true;
  }

  std::optional<RequantForm> quantised(const Node& n) {
    const ValueId y = n.outputs[0];
    const Tensor* scale = n.inputs.size() > 1 ? constant(n.inputs[1]) : nullptr;
    const bool has_zero = n.inputs.size() > 2 && n.inputs[2] != kNone;
    const Tensor* zero = has_zero ? constant(n.inputs[2]) : nullptr;
    const DType dtype = g_.value(y).type.dtype;
    if (phase_ == 0 || scale == nullptr || scale->size() != 1 || !is_byte(dtype)) return std::nullopt;
    if (has_zero && (zero == nullptr || zero->size() != 1)) return std::nullopt;
    const double step = scale->at(0);
    if (!(step > 0) || !std::isfinite(step)) return std::nullopt;
    RequantForm form;
    bool any_bias = false;
    for (size_t c = 0; c < columns_; ++c) {
      form.scale.push_back(static_cast<float>(scale_[c] / step));
      form.bias.push_back(static_cast<float>(bias_[c] / step));
      if (!std::isfinite(form.scale[c]) || !std::isfinite(form.bias[c])) return std::nullopt;
      any_bias = any_bias || form.bias[c] != 0;
    }
    if (!any_bias) form.bias.clear();
    form.lo = static_cast<float>(lo_ / step);
    form.hi = static_cast<float>(hi_ / step);
    form.zero = zero == nullptr ? 0 : static_cast<int32_t>(zero->int_at(0));
    form.type = dtype == DType::kInt8 ? cpu::QType::kS8 : cpu::QType::kU8;
    if (g_.outputs[0] == y) return form;
    const auto rest = rest_of(y);
    if (rest == nullptr || !tabulate(*rest, form.bytes, form.floats)) return std::nullopt;
    return form;
  }

  // What follows the quantisation, as a graph of one input; null when it needs more.
  GraphPtr rest_of(ValueId byte) const {
    auto rest = std::make_shared<Graph>();
    std::map<ValueId, ValueId> to;
    to[byte] = rest->add_input("x", Type::tensor(g_.value(byte).type.dtype, Shape{256}));
    for (NodeId id : g_.order()) {
      if (std::find(taken_.begin(), taken_.end(), id) != taken_.end()) continue;
      const Node& n = g_.node(id);
      std::vector<ValueId> inputs;
      for (ValueId v : n.inputs) {
        if (v != kNone && !to.contains(v)) {
          if (!g_.value(v).is_constant()) return nullptr;
          to[v] = rest->add_constant(g_.value(v).constant);
        }
        inputs.push_back(v == kNone ? kNone : to.at(v));
      }
      const NodeId made = rest->add_node(n.op, std::move(inputs), std::vector<std::string>(n.outputs.size()), n.attrs);
      for (size_t i = 0; i < n.outputs.size(); ++i) {
        to[n.outputs[i]] = rest->node(made).outputs[i];
        rest->value(rest->node(made).outputs[i]).type = Type::tensor(g_.value(n.outputs[i]).type.dtype, Shape{256});
      }
    }
    if (!to.contains(g_.outputs[0])) return nullptr;
    rest->outputs.push_back(to.at(g_.outputs[0]));
    return rest;
  }

  const Problem& p_;
  const Graph& g_;
  int64_t axis_;
  size_t columns_;
  int phase_ = 0;  // what has been seen: 1 the cast, 2 the bias, 3 the bounds
  std::vector<double> scale_, bias_;
  double lo_ = -std::numeric_limits<double>::infinity(), hi_ = std::numeric_limits<double>::infinity();
  std::vector<NodeId> taken_;
};

}  // namespace

bool tabulate(const Graph& body, std::vector<uint8_t>& bytes, std::vector<float>& floats) {
  if (body.inputs.size() != 1 || body.outputs.size() != 1) return false;
  const DType from = body.value(body.inputs[0]).type.dtype, to = body.value(body.outputs[0]).type.dtype;
  if (!is_byte(from) || !(is_byte(to) || to == DType::kFloat32)) return false;
  std::string why;
  const auto tape = compile_tape(body, std::span(&from, 1), why);
  if (!tape) return false;
  std::vector<uint8_t> all(256);
  std::iota(all.begin(), all.end(), uint8_t{0});
  const void* in = all.data();
  const int64_t stride = 1;
  if (to == DType::kFloat32) floats.resize(256);
  if (to != DType::kFloat32) bytes.resize(256);
  void* out = to == DType::kFloat32 ? static_cast<void*>(floats.data()) : bytes.data();
  cpu::run_row(*tape, &in, &stride, &out, 256);
  return true;
}

std::optional<RequantForm> requant_form(const Problem& problem, int column_axis) {
  if (problem.epilogue() == nullptr) return std::nullopt;
  return Matcher(problem, column_axis).match();
}

}  // namespace tenon
