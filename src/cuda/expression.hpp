// A small expression over floats, as CUDA text: what an epilogue, a norm's scale and bias or a pointwise region
// computes. The operations are those of elementwise.def under their own texts, and what only tapes have. Built once,
// then immutable.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "ops/elementwise.hpp"
#include "tenon/types.hpp"

namespace tenon::cuda {

/// The C++ name of an element type in the kernels ("half_t"). Throws unsupported for types of less than a byte,
/// strings, 8-bit floats and complex numbers.
const char* type_name(DType dtype);

class Expression {
 public:
  using Value = int;

  /// The next input.
  Value input();
  Value constant(float value);
  Value emit(EwOp op, std::initializer_list<Value> args, float p = 0, float q = 0);
  Value round_to(Value x, DType dtype);         ///< to what float16 or bfloat16 can hold
  Value truncate(Value x, float lo, float hi);  ///< towards zero, clamped
  Value quantize(Value x, Value scale, Value zero, float lo, float hi);
  Value dequantize(Value x, Value scale, Value zero);
  void output(Value x);
  /// One more input, which is added to input 0 before anything else sees it: a bias.
  void add_to_first();

  int inputs() const noexcept { return inputs_; }
  int outputs() const noexcept { return static_cast<int>(outputs_.size()); }
  bool identity() const noexcept;  ///< one output, which is input 0

  /// The functions that body() calls, for namespace ew. Equal expressions give equal text.
  std::string functions() const;
  /// Statements that compute `float out0, out1, ...` from the C++ expressions `inputs`; they leave `result[j] = ...` to
  /// the caller: `stores[j]` is an assignable expression for output j.
  std::string body(const std::vector<std::string>& inputs, const std::vector<std::string>& stores) const;

 private:
  Value add(std::string text);
  std::vector<std::string> values_;  // the text of each value; an input is "@i"
  std::vector<EwOp> used_;
  std::vector<Value> outputs_;
  int inputs_ = 0, added_ = -1;
};

/// Where an operand of a kernel whose results are rows of columns lies, in elements: row / row_div * row_stride +
/// column * col_stride (0 or 1).
struct Access {
  DType dtype = DType::kFloat16;
  int64_t row_stride = 0, col_stride = 1, row_div = 1;
  int64_t batch_stride = 0;  ///< for kernels that make several products at once
  int alignment = 8;         ///< elements to whose multiple the address of row 0, column 0 is known to be aligned
};

/// An epilogue: input 0 of the expression is the kernel's result, the others are read by `in`; outputs are written by
/// `out`.
struct TileEpilogue {
  Expression expression;
  std::vector<Access> in, out;
  int first_in = 0;  ///< operands.in begins with so many of the kernel's own

  /// The one that stores the result in `dtype` with `row_stride` elements from row to row.
  static TileEpilogue store(DType dtype, int64_t row_stride);
  /// How many columns, at most `limit`, can be loaded and stored at once everywhere.
  int vector(int limit = 8) const;
  /// `template <int V> void epilogue(operands, row, col, const float (&x)[V])` and, with batches, batch_operands().
  std::string text() const;
};

/// Loads of `access` at (row, col) into `float to[V]`, from operands.in[index].
std::string load_text(const Access& access, int index, const std::string& to);

/// An elementwise region over `dims` (row-major index space of the outputs, merged already as far as wanted): strides
/// of every operand in elements, inputs first, one per dim.
struct Region {
  Expression expression;
  std::vector<int64_t> dims;
  std::vector<DType> in_types, out_types;
  std::vector<std::vector<int64_t>> in_strides, out_strides;
  int alignment = 8;  ///< elements to whose multiple all base addresses are aligned

  int64_t count() const;
  int vector() const;
  std::string text() const;
};

}  // namespace tenon::cuda
