// The tape: a small register machine that evaluates a DAG of elementwise float ops block by block, in
// L1-resident registers, one vectorised loop an instruction. It is what convolution and matrix-product
// epilogues call on a hot row (`run_row`) and what a fused pointwise region runs (`make_plan` + `run`).
// Registers hold float32; bools are 1 and 0; integers beyond 2^24 round.
//
// A Tape is built once (add_*, emit, add_output, finish), then immutable and shared by threads. run_row and
// run allocate nothing. An output may share memory with one input if both have the same element size and
// strides; else they must not overlap.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "base/thread_pool.hpp"
#include "ops/elementwise.hpp"
#include "tenon/types.hpp"

namespace tenon::cpu {

/// The float ops of elementwise.def under their own numbers (Opcode(EwOp::kRelu) is kRelu), then what only
/// tapes have.
enum class Opcode : uint8_t {
#define TENON_EW_UNARY(Name, Types, expr) k##Name,
#define TENON_EW_UNARY_BOOL(Name, Types, expr) k##Name,
#define TENON_EW_BINARY(Name, Types, expr) k##Name,
#define TENON_EW_BINARY_BOOL(Name, Types, expr) k##Name,
#define TENON_EW_TERNARY(Name, Types, expr) k##Name,
#include "ops/elementwise.def"
  kCopy,           // a
  kQuantize,       // clamp(round_half_even(a / b) + c, p0, p1): b scale, c zero point
  kQuantizeEven,   // kQuantize where b and c are the same for all elements
  kDequantize,     // (a - c) * b: b scale, c zero point
  kDivConst,       // a / p0, correctly rounded; p1 is 1 / p0
  kRoundFloat16,   // a, rounded to what float16 can hold
  kRoundBFloat16,  // a, rounded to what bfloat16 can hold
  kTruncate,       // a towards zero, clamped to [p0, p1]: a cast to an integer type
  kTruth,          // a != 0
  kCount
};

struct TapeInst {
  Opcode op;
  uint8_t dst, a, b, c;  // slots
  float p0, p1;
};

class Tape {
 public:
  using Value = int;  // a value's id, as the add_ functions return it
  static constexpr int kMaxInstructions = 32;
  static constexpr int kMaxInputs = 16;
  static constexpr int kMaxOutputs = 8;
  static constexpr int kMaxSlots = 40;

  /// The next input; its memory holds `dtype`: float32/16/64, bfloat16, (u)int8/16/32/64 or bool.
  Value add_input(DType dtype);
  Value add_const(float value);
  Value emit(Opcode op, std::initializer_list<Value> args, float p0 = 0, float p1 = 0);
  Value emit(EwOp op, std::initializer_list<Value> args, float p0 = 0, float p1 = 0) {
    return emit(static_cast<Opcode>(op), args, p0, p1);
  }
  /// ONNX Cast, inside the registers. Out-of-range floats saturate.
  Value cast(Value x, DType to);
  /// ONNX QuantizeLinear to int8, uint8, int16 or uint16; scale and zero point are constants or inputs (per
  /// channel).
  Value quantize(Value x, Value scale, Value zero_point, DType to);
  Value dequantize(Value x, Value scale, Value zero_point);
  /// The next output. float -> integer stores truncate and saturate, float16 and bfloat16 stores round to
  /// nearest even.
  void add_output(Value x, DType dtype);
  /// Simplifies, drops what no output needs, assigns slots. Needed before run; nothing may be added after.
  void finish();

  // What finish() made, for the machine and for printing.
  struct Input {
    DType dtype;
    int slot;
    bool used;
  };
  struct Const {
    float value;
    int slot;
  };
  struct Output {
    DType dtype;
    int slot;
  };
  bool finished() const { return finished_; }
  std::span<const Input> inputs() const { return inputs_; }
  std::span<const Const> consts() const { return consts_; }
  std::span<const Output> outputs() const { return outputs_; }
  std::span<const TapeInst> code() const { return code_; }
  int slots() const { return slots_; }
  int block() const { return block_; }  // floats in a slot
  /// The output that the last instruction writes and no other reads, or -1: it can go straight to memory.
  int last_output() const { return last_output_; }
  /// Rough nanoseconds an element on one core; for deciding how to split.
  float cost() const { return cost_; }

 private:
  struct Node {
    Opcode op = Opcode::kCopy;
    int kind = 0;  // 0 input, 1 constant, 2 instruction
    int args[3] = {-1, -1, -1};
    int nargs = 0;
    float p0 = 0, p1 = 0;  // a constant's value is p0
    int index = 0;         // input number
  };
  Value add_node(Node node);
  bool is_const(int value, float* out) const;
  void simplify(Node& node);
  void simplify_pow(Node& node);
  void simplify_division(Node& node);
  std::vector<bool> live_nodes() const;
  void assign_slots(const std::vector<bool>& live);

  std::vector<Node> nodes_;
  std::vector<int> output_values_;
  std::vector<Input> inputs_;
  std::vector<Const> consts_;
  std::vector<Output> outputs_;
  std::vector<TapeInst> code_;
  int slots_ = 0, block_ = 0, last_output_ = -1;
  float cost_ = 0;
  bool finished_ = false;
};

/// Evaluates n consecutive elements: outputs are dense; input i is read at inputs[i][j * strides[i]] (0
/// broadcasts one element).
void run_row(const Tape& tape, const void* const* inputs, const int64_t* input_strides, void* const* outputs,
             int64_t n);

/// The same for `rows` rows of n elements, which share the fixed costs of a call: what an epilogue runs on a hot tile.
/// Row r of input i starts at element r * input_row_strides[i] (0: the same row again, as for a bias), of output j at
/// r * output_row_strides[j].
void run_rows(const Tape& tape, const void* const* inputs, const int64_t* input_strides,
              const int64_t* input_row_strides, void* const* outputs, const int64_t* output_row_strides, int64_t rows,
              int64_t n);

/// A tape over an N-dimensional region, prepared: dimensions sorted by the first output's strides and merged.
struct PointwisePlan {
  static constexpr int kMaxDims = 8;
  static constexpr int kMaxOperands = Tape::kMaxInputs + Tape::kMaxOutputs;
  struct Dim {
    int64_t size;
    std::array<int64_t, kMaxOperands> stride;  // bytes; inputs, then outputs
  };
  Tape tape;
  std::array<Dim, kMaxDims> dims;  // outermost first; the last is the row, the one before it groups short rows
  int rank = 0;
  int64_t outer = 1;  // rows groups run over this many index combinations
  int64_t rows = 1, row = 1;
  int64_t tile_rows = 1, tile_cols = 1, tiles_per_outer = 1;
  int64_t elements = 0;
};

/// `strides[i]`: in elements, one for each of `dims`, operands in order inputs then outputs; 0 where an input
/// broadcasts.
PointwisePlan make_plan(Tape tape, std::span<const int64_t> dims, std::span<const std::vector<int64_t>> strides);

void run(const PointwisePlan& plan, const void* const* inputs, void* const* outputs, ThreadPool& pool);

/// Bytes of one element; 0 for types that are not whole bytes or that tapes cannot load.
int tape_dtype_size(DType dtype);

}  // namespace tenon::cpu
