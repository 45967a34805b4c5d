#include "tactic/epilogue.hpp"

#include <algorithm>
#include <cstring>
#include <map>

#include "base/error.hpp"
#include "graph/op.hpp"
#include "ops/elementwise_call.hpp"

namespace tenon {
namespace {

using cpu::Opcode;
using cpu::Tape;

class TapeCompiler {
 public:
  TapeCompiler(const Graph& body, std::string& why) : g_(body), why_(why) {}

  std::optional<Tape> compile(std::span<const DType> types) {
    if (types.size() > static_cast<size_t>(Tape::kMaxInputs) ||
        g_.outputs.size() > static_cast<size_t>(Tape::kMaxOutputs)) {
      why_ = "too many operands for a tape";
      return std::nullopt;
    }
    for (size_t i = 0; i < types.size(); ++i) {
      if (cpu::tape_dtype_size(types[i]) == 0) return no("elements of type " + std::string(name(types[i])));
      values_[g_.inputs[i]] = tape_.add_input(types[i]);
    }
    int instructions = 0;
    for (NodeId id : g_.order()) {
      if (++instructions > Tape::kMaxInstructions) return no("more than 32 instructions");
      if (!node(g_.node(id))) return std::nullopt;
    }
    for (ValueId v : g_.outputs) {
      auto value = of(v);
      DType dtype = g_.value(v).type.dtype;
      if (!value || cpu::tape_dtype_size(dtype) == 0) return no("an output that a tape cannot store");
      tape_.add_output(*value, dtype);
    }
    tape_.finish();
    return std::move(tape_);
  }

 private:
  std::nullopt_t no(std::string why) {
    why_ = std::move(why);
    return std::nullopt;
  }

  std::optional<Tape::Value> of(ValueId v) {
    auto at = values_.find(v);
    if (at != values_.end()) return at->second;
    const Value& value = g_.value(v);
    if (!value.is_constant() || value.constant.size() != 1 || value.constant.dtype() == DType::kString) {
      why_ = "a constant in the epilogue is not a scalar";
      return std::nullopt;
    }
    return values_[v] = tape_.add_const(static_cast<float>(value.constant.at(0)));
  }

  // Arithmetic in integers of more than 24 bits is not what a float tape does.
  bool types_fit(const Node& n) {
    for (ValueId v : n.outputs) {
      DType t = g_.value(v).type.dtype;
      if (!tape_type(t) && n.op != "Cast" && n.op != "QuantizeLinear") {
        why_ = fmt::format("{} computes in {}", n.op, name(t));
        return false;
      }
    }
    return true;
  }

  bool node(const Node& n) {
    if (!types_fit(n)) return false;
    std::vector<Tape::Value> args;
    for (ValueId v : n.inputs) {
      if (v == kNone) continue;
      auto value = of(v);
      if (!value) return false;
      args.push_back(*value);
    }
    auto result = emit(n, args);
    if (!result) {
      if (why_.empty()) why_ = n.op + " has no tape form";
      return false;
    }
    values_[n.outputs[0]] = *result;
    return true;
  }

  std::optional<Tape::Value> emit(const Node& n, const std::vector<Tape::Value>& args) {
    if (n.op == "Identity") return args.at(0);
    if (n.op == "Cast") return tape_.cast(args.at(0), g_.value(n.outputs[0]).type.dtype);
    if (n.op == "QuantizeLinear") {
      Tape::Value zero = args.size() > 2 ? args[2] : tape_.add_const(0);
      return tape_.quantize(args.at(0), args.at(1), zero, g_.value(n.outputs[0]).type.dtype);
    }
    if (n.op == "DequantizeLinear") {
      Tape::Value zero = args.size() > 2 ? args[2] : tape_.add_const(0);
      return tape_.dequantize(args.at(0), args.at(1), zero);
    }
    if (auto call = elementwise_call(g_, n)) {
      auto arity = static_cast<size_t>(info(call->op).arity);
      auto p = static_cast<float>(call->p), q = static_cast<float>(call->q);
      if (args.size() < arity) return std::nullopt;
      if (arity == 1) return tape_.emit(call->op, {args[0]}, p, q);
      if (arity == 2) return tape_.emit(call->op, {args[0], args[1]}, p, q);
      return tape_.emit(call->op, {args[0], args[1], args[2]}, p, q);
    }
    // Max, Min, Sum of several.
    EwOp op = n.op == "Max" ? EwOp::kMax : n.op == "Min" ? EwOp::kMin : EwOp::kAdd;
    if ((n.op == "Max" || n.op == "Min" || n.op == "Sum") && !args.empty()) {
      Tape::Value value = args[0];
      for (size_t i = 1; i < args.size(); ++i) value = tape_.emit(op, {value, args[i]});
      return value;
    }
    return std::nullopt;
  }

  const Graph& g_;
  std::string& why_;
  Tape tape_;
  std::map<ValueId, Tape::Value> values_;
};

// One call of an epilogue: a block of rows and columns goes through the tape at once where every operand moves evenly
// from row to row, else row by row.
class Rows {
 public:
  struct Source {
    const void* data;
    int64_t ld, element;
  };
  struct Target {
    const RowOperand* operand;  // null: in place, over the source
    std::byte* data;
  };

  Rows(const Tape& tape, const std::vector<RowOperand>& extras, const void* const* bases,
       const std::vector<int64_t>& row_dims, int64_t col_begin)
      : tape_(tape), extras_(extras), bases_(bases), row_dims_(row_dims), col_begin_(col_begin) {}

  void run(const Source& source, const Target& target, int64_t row_begin, int64_t rows, int64_t cols) {
    bool even = target.operand == nullptr || target.operand->uniform >= 0;
    for (const RowOperand& x : extras_) even = even && x.uniform >= 0;
    int64_t step = even ? rows : 1;
    for (int64_t r = 0; r < rows; r += step) part(source, target, row_begin, r, step, cols);
  }

 private:
  void part(const Source& source, const Target& target, int64_t row_begin, int64_t r, int64_t rows, int64_t cols) {
    const void* inputs[Tape::kMaxInputs];
    int64_t strides[Tape::kMaxInputs], row_strides[Tape::kMaxInputs];
    inputs[0] = static_cast<const std::byte*>(source.data) + r * source.ld * source.element;
    strides[0] = 1;
    row_strides[0] = source.ld;
    for (size_t i = 0; i < extras_.size(); ++i) {
      const RowOperand& x = extras_[i];
      int64_t element = x.offset(row_dims_, row_begin + r) + col_begin_ * x.column;
      inputs[i + 1] = static_cast<const std::byte*>(bases_[i]) + element * x.element;
      strides[i + 1] = x.column;
      row_strides[i + 1] = std::max<int64_t>(x.uniform, 0);
    }
    void* out = const_cast<void*>(inputs[0]);
    int64_t out_row = source.ld;
    if (target.operand != nullptr) {
      const RowOperand& y = *target.operand;
      out = target.data + (y.offset(row_dims_, row_begin + r) + col_begin_ * y.column) * y.element;
      out_row = std::max<int64_t>(y.uniform, 0);
    }
    cpu::run_rows(tape_, inputs, strides, row_strides, &out, &out_row, rows, cols);
  }

  const Tape& tape_;
  const std::vector<RowOperand>& extras_;
  const void* const* bases_;
  const std::vector<int64_t>& row_dims_;
  int64_t col_begin_;
};

// The scalar constant beside `x` in a node of two operands.
std::optional<float> scalar_beside(const Graph& e, const Node& n, ValueId x) {
  if (n.inputs.size() != 2 || (n.inputs[0] == x) == (n.inputs[1] == x)) return std::nullopt;
  const Value& other = e.value(n.inputs[n.inputs[0] == x ? 1 : 0]);
  if (!other.is_constant() || other.constant.size() != 1 || other.constant.dtype() != DType::kFloat32)
    return std::nullopt;
  return static_cast<float>(other.constant.at(0));
}

// HardSwish, and perhaps a multiplication by and then an addition of a scalar behind it.
bool is_hard_swish(const Graph& e, float& mul, float& add) {
  if (e.inputs.size() != 1 || e.outputs.size() != 1) return false;
  ValueId at = e.inputs[0];
  int nodes = 0;
  mul = 1, add = 0;
  for (const char* op : {"HardSwish", "Mul", "Add"}) {
    const auto& uses = e.value(at).uses;
    if (at == e.outputs[0] || uses.size() != 1 || e.is_output(at)) break;
    const Node& n = e.node(uses[0].node);
    if (n.op != op) {
      if (nodes == 0) return false;
      continue;
    }
    if (nodes > 0) {
      const auto scalar = scalar_beside(e, n, at);
      if (!scalar) return false;
      (n.op == "Mul" ? mul : add) = *scalar;
    }
    ++nodes;
    at = n.outputs[0];
  }
  return at == e.outputs[0] && nodes == e.node_count();
}

// Relu and Clip with constant bounds alone are done in the kernel's registers.
bool in_registers(const Graph& e, cpu::Epilogue::Act& act, float& lo, float& hi) {
  if (e.inputs.size() != 1 || e.node_count() != 1) return false;
  const Node* n = e.producer(e.outputs[0]);
  if (n == nullptr || n->in(0) != e.inputs[0]) return false;
  auto call = elementwise_call(e, *n);
  if (!call) return false;
  if (call->op == EwOp::kRelu) {
    act = cpu::Epilogue::kRelu;
    return true;
  }
  if (call->op != EwOp::kClip) return false;
  act = cpu::Epilogue::kClip;
  lo = static_cast<float>(call->p);
  hi = static_cast<float>(call->q);
  return lo <= hi;
}

}  // namespace

bool tape_type(DType t) {
  return t == DType::kFloat32 || t == DType::kFloat16 || t == DType::kBFloat16 || t == DType::kBool;
}

std::optional<Tape> compile_tape(const Graph& body, std::span<const DType> types, std::string& why) {
  return TapeCompiler(body, why).compile(types);
}

std::optional<RowOperand> RowOperand::make(const Operand& o, const Dims& result, const std::vector<int>& row_axes,
                                           int column_axis, std::string& why) {
  if (o.rank() > static_cast<int>(result.size())) {
    why = "an extra input has more dimensions than the result";
    return std::nullopt;
  }
  // The operand's strides aligned to the result's axes; broadcast axes do not move.
  Ints strides(result.size(), 0);
  size_t shift = result.size() - o.dims.size();
  for (size_t a = 0; a < o.dims.size(); ++a) strides[shift + a] = o.dims[a] == 1 ? 0 : o.strides[a];
  auto column = static_cast<size_t>(column_axis);
  RowOperand out;
  out.element = bits(o.dtype) / 8;
  out.column = result[column] == 1 ? 0 : strides[column];
  if (out.column > 1) {
    why = "an operand is not contiguous along the columns";
    return std::nullopt;
  }
  for (int axis : row_axes) out.rows.push_back(strides[static_cast<size_t>(axis)]);
  out.uniform = out.rows.empty() ? 0 : out.rows.back();
  int64_t expected = out.uniform;
  for (size_t a = row_axes.size(); a-- > 0;) {
    int64_t extent = result[static_cast<size_t>(row_axes[a])];
    if (extent != 1 && out.rows[a] != expected) out.uniform = -1;
    expected *= extent;
  }
  // A last row axis of one element says nothing about the step.
  if (!row_axes.empty() && result[static_cast<size_t>(row_axes.back())] == 1) out.uniform = -1;
  return out;
}

int64_t RowOperand::offset(const std::vector<int64_t>& row_dims, int64_t row) const {
  if (uniform >= 0) return row * uniform;
  int64_t at = 0;
  for (size_t a = row_dims.size(); a-- > 0;) {
    at += row % row_dims[a] * rows[a];
    row /= row_dims[a];
  }
  return at;
}

std::optional<IntEpilogue> IntEpilogue::make(const Problem& p, std::vector<int> row_axes, int column_axis,
                                             std::string& why) {
  IntEpilogue e;
  const Graph* graph = p.epilogue();
  const Dims& result = p.out[0].dims;
  std::vector<DType> types{DType::kInt32};
  e.first_extra_ = p.extra_begin();
  for (int axis : row_axes) e.row_dims_.push_back(result[static_cast<size_t>(axis)]);
  for (size_t i = e.first_extra_; i < p.in.size(); ++i) {
    types.push_back(p.in[i].dtype);
    auto extra = RowOperand::make(p.in[i], result, row_axes, column_axis, why);
    if (!extra) return std::nullopt;
    e.extras_.push_back(std::move(*extra));
  }
  auto out = RowOperand::make(p.out[0], result, row_axes, column_axis, why);
  if (!out) return std::nullopt;
  e.out_ = std::move(*out);
  if (graph == nullptr) {
    if (p.out[0].dtype == DType::kInt32) return e;
    why = "the result is not int32";
    return std::nullopt;
  }
  e.ld_out_ = p.out[0].dense() ? result[static_cast<size_t>(column_axis)] : e.out_.uniform;
  if (e.ld_out_ >= 0) e.requant_ = requant_form(p, column_axis);
  if (e.requant_) return e;
  e.tape_ = compile_tape(*graph, types, why);
  if (!e.tape_) return std::nullopt;
  return e;
}

cpu::QEpilogue IntEpilogue::bind(const void* const* in, void* out, Bound& bound) const {
  cpu::QEpilogue q;
  if (requant_) {
    const RequantForm& r = *requant_;
    q.kind = cpu::QEpilogueKind::kRequant;
    q.out_type = r.type;
    q.out = out;
    q.ld_out = ld_out_;
    q.scale = r.scale.data();
    q.scale_per_column = true;
    q.bias = r.bias.empty() ? nullptr : r.bias.data();
    q.lo = r.lo;
    q.hi = r.hi;
    q.out_zp = r.zero;
    q.table = r.bytes.empty() ? nullptr : r.bytes.data();
    q.float_table = r.floats.empty() ? nullptr : r.floats.data();
    return q;
  }
  bound.epilogue = this;
  bound.out = out;
  for (size_t i = 0; i < extras_.size(); ++i) bound.extras[i] = in[first_extra_ + i];
  q.kind = cpu::QEpilogueKind::kPostOp;
  q.post = {&IntEpilogue::apply, &bound};
  return q;
}

void IntEpilogue::apply(const void* ctx, const int32_t* acc, int64_t ld_acc, int64_t row_begin, int64_t rows,
                        int64_t col_begin, int64_t cols) {
  const Bound& b = *static_cast<const Bound*>(ctx);
  const IntEpilogue& e = *b.epilogue;
  if (e.tape_) {
    Rows r(*e.tape_, e.extras_, b.extras, e.row_dims_, col_begin);
    r.run({acc, ld_acc, 4}, {&e.out_, static_cast<std::byte*>(b.out)}, row_begin, rows, cols);
    return;
  }
  for (int64_t r = 0; r < rows; ++r) {
    int64_t element = e.out_.offset(e.row_dims_, row_begin + r) + col_begin * e.out_.column;
    std::memcpy(static_cast<std::byte*>(b.out) + element * 4, acc + r * ld_acc, static_cast<size_t>(cols) * 4);
  }
}

std::optional<RowEpilogue> RowEpilogue::make(const Problem& p, std::vector<int> row_axes, int column_axis,
                                             std::string& why) {
  RowEpilogue e;
  const Graph* graph = p.epilogue();
  if (p.out[0].dtype != DType::kFloat32) {
    why = "the result is not float32";
    return std::nullopt;
  }
  if (graph == nullptr || in_registers(*graph, e.act_, e.lo_, e.hi_)) return e;
  if (is_hard_swish(*graph, e.mul_, e.add_)) {
    e.act_ = cpu::Epilogue::kHardSwish;
    return e;
  }
  e.first_extra_ = p.extra_begin();
  std::vector<DType> types{DType::kFloat32};
  const Dims& out = p.out[0].dims;
  for (int axis : row_axes) e.row_dims_.push_back(out[static_cast<size_t>(axis)]);
  for (size_t i = e.first_extra_; i < p.in.size(); ++i) {
    const Operand& o = p.in[i];
    types.push_back(o.dtype);
    auto extra = RowOperand::make(o, out, row_axes, column_axis, why);
    if (!extra) return std::nullopt;
    e.extras_.push_back(std::move(*extra));
  }
  auto tape = compile_tape(*graph, types, why);
  if (!tape) return std::nullopt;
  e.tape_ = std::move(*tape);
  return e;
}

cpu::Epilogue RowEpilogue::bind(const void* const* in, const float* bias, Bound& bound) const {
  cpu::Epilogue out;
  out.bias = bias;
  out.act = act_;
  out.lo = lo_;
  out.hi = hi_;
  out.mul = mul_;
  out.add = add_;
  if (!tape_) return out;
  bound.epilogue = this;
  for (size_t i = 0; i < extras_.size(); ++i) bound.extras[i] = in[first_extra_ + i];
  out.post = {&RowEpilogue::apply, &bound};
  return out;
}

void RowEpilogue::apply(const void* ctx, float* data, int64_t row_begin, int64_t rows, int64_t ld, int64_t col_begin,
                        int64_t cols) {
  const Bound& b = *static_cast<const Bound*>(ctx);
  const RowEpilogue& e = *b.epilogue;
  Rows r(*e.tape_, e.extras_, b.extras, e.row_dims_, col_begin);
  r.run({data, ld, 4}, {nullptr, reinterpret_cast<std::byte*>(data)}, row_begin, rows, cols);
}

}  // namespace tenon
