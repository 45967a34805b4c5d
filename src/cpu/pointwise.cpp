#include "cpu/pointwise.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/error.hpp"
#include "cpu/pointwise_kernels.hpp"

namespace tenon::cpu {
namespace {

struct Range {
  float lo, hi;
};

std::optional<Range> integer_range(DType type) {
  switch (type) {
    case DType::kInt8: return Range{-128, 127};
    case DType::kUInt8: return Range{0, 255};
    case DType::kInt16: return Range{-32768, 32767};
    case DType::kUInt16: return Range{0, 65535};
    case DType::kInt32: return Range{-2147483648.0f, 2147483520.0f};
    case DType::kUInt32: return Range{0, 4294967040.0f};
    case DType::kInt64: return Range{-9223372036854775808.0f, 9223371487098961920.0f};
    case DType::kUInt64: return Range{0, 18446742974197923840.0f};
    default: return std::nullopt;
  }
}

/// Rough nanoseconds an element, from one AVX2 core.
float op_cost(Opcode op) {
  switch (op) {
    case Opcode::kExp:
    case Opcode::kLog:
    case Opcode::kErf:
    case Opcode::kTanh:
    case Opcode::kSigmoid:
    case Opcode::kSilu:
    case Opcode::kSwish:
    case Opcode::kGelu:
    case Opcode::kGeluTanh:
    case Opcode::kElu:
    case Opcode::kCelu:
    case Opcode::kSelu:
    case Opcode::kMish: return 0.6f;
    case Opcode::kSoftplus:
    case Opcode::kLogSigmoid: return 1.2f;
    case Opcode::kSin:
    case Opcode::kCos:
    case Opcode::kTan:
    case Opcode::kAsin:
    case Opcode::kAcos:
    case Opcode::kAtan:
    case Opcode::kSinh:
    case Opcode::kCosh:
    case Opcode::kAsinh:
    case Opcode::kAcosh:
    case Opcode::kAtanh:
    case Opcode::kPow:
    case Opcode::kMod:
    case Opcode::kFmod: return 10.0f;
    default: return 0.1f;
  }
}

int arity(Opcode op) {
  if (op < Opcode::kCopy) return info(static_cast<EwOp>(op)).arity;
  return op == Opcode::kQuantize || op == Opcode::kQuantizeEven || op == Opcode::kDequantize ? 3 : 1;
}

}  // namespace

int tape_dtype_size(DType dtype) {
  switch (dtype) {
    case DType::kBool:
    case DType::kInt8:
    case DType::kUInt8: return 1;
    case DType::kFloat16:
    case DType::kBFloat16:
    case DType::kInt16:
    case DType::kUInt16: return 2;
    case DType::kFloat32:
    case DType::kInt32:
    case DType::kUInt32: return 4;
    case DType::kFloat64:
    case DType::kInt64:
    case DType::kUInt64: return 8;
    default: return 0;
  }
}

Tape::Value Tape::add_node(Node node) {
  TENON_CHECK(!finished_);
  nodes_.push_back(node);
  return static_cast<Value>(nodes_.size()) - 1;
}

Tape::Value Tape::add_input(DType dtype) {
  if (tape_dtype_size(dtype) == 0)
    fail(Code::kUnsupported, "a tape cannot read elements of type number {}", int(dtype));
  if (inputs_.size() == kMaxInputs) fail(Code::kUnsupported, "a tape has at most {} inputs", kMaxInputs);
  inputs_.push_back({dtype, 0, false});
  Node node;
  node.kind = 0;
  node.index = static_cast<int>(inputs_.size()) - 1;
  return add_node(node);
}

Tape::Value Tape::add_const(float value) {
  Node node;
  node.kind = 1;
  node.p0 = value;
  return add_node(node);
}

Tape::Value Tape::emit(Opcode op, std::initializer_list<Value> args, float p0, float p1) {
  TENON_CHECK(op < Opcode::kCount && static_cast<int>(args.size()) == arity(op));
  if (op < Opcode::kCopy && info(static_cast<EwOp>(op)).types == EwTypes::kInt) {
    fail(Code::kUnsupported, "{} works on integers only; a tape computes in float32", info(static_cast<EwOp>(op)).name);
  }
  Node node;
  node.kind = 2;
  node.op = op;
  node.p0 = p0;
  node.p1 = p1;
  for (Value v : args) {
    TENON_CHECK(v >= 0 && v < static_cast<Value>(nodes_.size()));
    node.args[node.nargs++] = v;
  }
  return add_node(node);
}

Tape::Value Tape::cast(Value x, DType to) {
  switch (to) {
    case DType::kFloat32:
    case DType::kFloat64: return x;
    case DType::kFloat16: return emit(Opcode::kRoundFloat16, {x});
    case DType::kBFloat16: return emit(Opcode::kRoundBFloat16, {x});
    case DType::kBool: return emit(Opcode::kTruth, {x});
    default: break;
  }
  const auto range = integer_range(to);
  if (!range) fail(Code::kUnsupported, "a tape cannot cast to type number {}", int(to));
  return emit(Opcode::kTruncate, {x}, range->lo, range->hi);
}

Tape::Value Tape::quantize(Value x, Value scale, Value zero_point, DType to) {
  const auto range = integer_range(to);
  if (!range || tape_dtype_size(to) > 2) {
    fail(Code::kUnsupported, "a tape quantizes to int8, uint8, int16 or uint16, not to type number {}", int(to));
  }
  return emit(Opcode::kQuantize, {x, scale, zero_point}, range->lo, range->hi);
}

Tape::Value Tape::dequantize(Value x, Value scale, Value zero_point) {
  return emit(Opcode::kDequantize, {x, scale, zero_point});
}

void Tape::add_output(Value x, DType dtype) {
  TENON_CHECK(!finished_ && x >= 0 && x < static_cast<Value>(nodes_.size()));
  if (tape_dtype_size(dtype) == 0)
    fail(Code::kUnsupported, "a tape cannot write elements of type number {}", int(dtype));
  if (outputs_.size() == kMaxOutputs) fail(Code::kUnsupported, "a tape has at most {} outputs", kMaxOutputs);
  // Every output is an instruction's result, so that an input's memory is never handed out as an output's.
  if (nodes_[x].kind != 2) x = emit(Opcode::kCopy, {x});
  outputs_.push_back({dtype, 0});
  output_values_.push_back(x);
}

bool Tape::is_const(int value, float* out) const {
  if (value < 0 || nodes_[value].kind != 1) return false;
  *out = nodes_[value].p0;
  return true;
}

void Tape::simplify_pow(Node& node) {
  float exponent;
  if (!is_const(node.args[1], &exponent)) return;
  const auto become = [&](Opcode op) {
    node.op = op;
    node.args[1] = -1;
    node.nargs = 1;
  };
  if (exponent == 1) become(Opcode::kCopy);
  if (exponent == 2) become(Opcode::kSquare);
  if (exponent == -1) become(Opcode::kReciprocal);
}

/// Divisors that are constants: multiplications by their reciprocals, with the same rounding.
void Tape::simplify_division(Node& node) {
  float c, zero;
  int exponent;
  if (!is_const(node.args[1], &c) || !(std::fabs(c) > 1e-30f && std::fabs(c) < 1e30f)) return;
  if (node.op == Opcode::kQuantize) {
    if (is_const(node.args[2], &zero)) node.op = Opcode::kQuantizeEven;
    return;
  }
  const bool power = std::frexp(c, &exponent) == 0.5f;
  node.op = power ? Opcode::kMulConst : Opcode::kDivConst;
  node.p0 = power ? 1 / c : c;
  node.p1 = power ? 0 : 1 / c;
  node.args[1] = -1;
  node.nargs = 1;
}

/// Cheaper forms with the same rounding, except silu (x * sigmoid(x) becomes x / (1 + e^-x), closer to the
/// truth).
void Tape::simplify(Node& node) {
  if (node.kind != 2) return;
  float c;
  if ((node.op == Opcode::kAdd || node.op == Opcode::kMul) && is_const(node.args[0], &c)) {
    std::swap(node.args[0], node.args[1]);
  }
  const bool constant = node.nargs == 2 && is_const(node.args[1], &c);
  const auto immediate = [&](Opcode op, float p) {
    node.op = op;
    node.p0 = p;
    node.args[1] = -1;
    node.nargs = 1;
  };
  switch (node.op) {
    case Opcode::kAdd:
      if (constant) immediate(Opcode::kAddConst, c);
      break;
    case Opcode::kSub:
      if (constant) immediate(Opcode::kAddConst, -c);
      break;
    case Opcode::kDiv:
    case Opcode::kQuantize: simplify_division(node); break;
    case Opcode::kMul:
      if (constant) immediate(Opcode::kMulConst, c);
      for (int i = 0; i < 2 && node.op == Opcode::kMul; ++i) {
        const Node& gate = nodes_[node.args[i]];
        if (gate.kind == 2 && gate.op == Opcode::kSigmoid && gate.args[0] == node.args[1 - i]) {
          const int x = node.args[1 - i];
          immediate(Opcode::kSilu, 0);
          node.args[0] = x;
        }
      }
      break;
    case Opcode::kPow: simplify_pow(node); break;
    default: break;
  }
  if (node.op == Opcode::kAddConst) {
    const Node& before = nodes_[node.args[0]];
    if (before.kind == 2 && before.op == Opcode::kMulConst) {
      const float shift = node.p0;
      node.op = Opcode::kAffine;
      node.p0 = before.p0;
      node.p1 = shift;
      node.args[0] = before.args[0];
    }
  }
}

std::vector<bool> Tape::live_nodes() const {
  std::vector<bool> live(nodes_.size(), false);
  for (int value : output_values_) live[value] = true;
  for (int i = static_cast<int>(nodes_.size()) - 1; i >= 0; --i) {
    if (!live[i]) continue;
    for (int k = 0; k < nodes_[i].nargs; ++k) live[nodes_[i].args[k]] = true;
  }
  return live;
}

void Tape::assign_slots(const std::vector<bool>& live) {
  const int count = static_cast<int>(nodes_.size());
  std::vector<int> slot(count, -1), last_use(count, -1);
  for (int i = 0; i < count; ++i) {
    for (int k = 0; live[i] && k < nodes_[i].nargs; ++k) last_use[nodes_[i].args[k]] = i;
  }
  for (int value : output_values_) last_use[value] = count;  // read at the end
  for (int i = 0; i < count; ++i) {
    if (!live[i] || nodes_[i].kind == 2) continue;
    slot[i] = slots_++;
    if (nodes_[i].kind == 1) consts_.push_back({nodes_[i].p0, slot[i]});
    if (nodes_[i].kind == 0) inputs_[nodes_[i].index].slot = slot[i], inputs_[nodes_[i].index].used = true;
  }
  std::vector<int> spare;
  for (int i = 0; i < count; ++i) {
    if (!live[i] || nodes_[i].kind != 2) continue;
    const Node& node = nodes_[i];
    for (int k = 0; k < node.nargs; ++k) {
      const int arg = node.args[k];
      if (nodes_[arg].kind == 2 && last_use[arg] == i) {
        last_use[arg] = -1;  // once, even if it is both operands
        spare.push_back(slot[arg]);
      }
    }
    if (spare.empty()) spare.push_back(slots_++);
    slot[i] = spare.back();
    spare.pop_back();
    const auto operand = [&](int k) { return static_cast<uint8_t>(slot[node.args[k < node.nargs ? k : 0]]); };
    code_.push_back({node.op, static_cast<uint8_t>(slot[i]), operand(0), operand(1), operand(2), node.p0, node.p1});
    cost_ += op_cost(node.op);
  }
  for (size_t i = 0; i < outputs_.size(); ++i) outputs_[i].slot = slot[output_values_[i]];
}

void Tape::finish() {
  TENON_CHECK(!finished_);
  expect(!outputs_.empty(), "a tape needs an output: call add_output before finish");
  for (Node& node : nodes_) simplify(node);
  const std::vector<bool> live = live_nodes();
  assign_slots(live);
  if (static_cast<int>(code_.size()) > kMaxInstructions || slots_ > kMaxSlots) {
    fail(Code::kUnsupported,
         "a tape holds {} instructions and {} slots, this expression needs {} and {}: cut the region", kMaxInstructions,
         kMaxSlots, code_.size(), slots_);
  }
  block_ = slots_ * (512 + kSlotSlack) <= kFrameFloats ? 512 : 256;
  int last = static_cast<int>(nodes_.size()) - 1;
  while (!live[last] || nodes_[last].kind != 2) --last;
  int users = 0;
  for (size_t i = 0; i < output_values_.size(); ++i) {
    if (output_values_[i] == last) last_output_ = static_cast<int>(i), ++users;
  }
  if (users != 1) last_output_ = -1;
  for (const Input& input : inputs_) cost_ += 0.05f * static_cast<float>(tape_dtype_size(input.dtype));
  cost_ += 0.1f * static_cast<float>(outputs_.size());
  finished_ = true;
}

}  // namespace tenon::cpu
