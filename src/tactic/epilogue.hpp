// Epilogues on the CPU: a graph of elementwise nodes compiled to a tape, or to the activation that a kernel applies in
// its registers. Used by every tactic with an epilogue; pointwise regions use the tape alone.
#pragma once

#include <optional>
#include <string>

#include "cpu/gemm.hpp"
#include "cpu/pointwise.hpp"
#include "cpu/qgemm.hpp"
#include "tactic/requant.hpp"
#include "tactic/tactic.hpp"

namespace tenon {

/// Compiles a body of elementwise nodes. `types`: element types of its inputs. Null with the reason in `why` when a
/// node has no tape form (or the tape would be too long).
std::optional<cpu::Tape> compile_tape(const Graph& body, std::span<const DType> types, std::string& why);

/// Whether a tape may stand for arithmetic in this type (float32 and narrower floats; bool as a truth value).
bool tape_type(DType dtype);

/// An operand seen from a kernel whose results are rows of columns: broadcast to the result's shape, then addressed by
/// row.
struct RowOperand {
  int64_t element = 4;        // bytes
  int64_t column = 0;         // stride in elements along columns, 0 or 1
  std::vector<int64_t> rows;  // stride along each row axis
  int64_t uniform = -1;       // stride from row to row when it is the same everywhere

  static std::optional<RowOperand> make(const Operand& operand, const Dims& result, const std::vector<int>& row_axes,
                                        int column_axis, std::string& why);
  /// Elements from the operand's beginning to row `row`.
  int64_t offset(const std::vector<int64_t>& row_dims, int64_t row) const;
};

/// The epilogue of an 8-bit kernel: its int32 accumulators go to the result, of any type, by requantisation in the
/// kernel's registers where that is all (tactic/requant.hpp), else through a tape.
class IntEpilogue {
 public:
  static std::optional<IntEpilogue> make(const Problem& problem, std::vector<int> row_axes, int column_axis,
                                         std::string& why);
  struct Bound {
    const IntEpilogue* epilogue;
    const void* extras[cpu::Tape::kMaxInputs];
    void* out;
  };
  /// What the kernel is to do; `bound` lives on the caller's stack while the kernel runs, and so must this object.
  cpu::QEpilogue bind(const void* const* in, void* out, Bound& bound) const;

 private:
  static void apply(const void* ctx, const int32_t* acc, int64_t ld_acc, int64_t row_begin, int64_t rows,
                    int64_t col_begin, int64_t cols);
  std::optional<RequantForm> requant_;
  int64_t ld_out_ = 0;  // of the requantised result
  std::optional<cpu::Tape> tape_;
  std::vector<RowOperand> extras_;
  RowOperand out_;
  std::vector<int64_t> row_dims_;
  size_t first_extra_ = 0;
};

/// The epilogue of a float32 kernel whose results are rows of columns.
class RowEpilogue {
 public:
  /// `row_axes` and `column_axis` are the output's logical axes in the kernel's order of rows and its columns. The
  /// anchor's result has the output's shape. Nothing with the reason in `why` when the epilogue does not fit.
  static std::optional<RowEpilogue> make(const Problem& problem, std::vector<int> row_axes, int column_axis,
                                         std::string& why);

  /// What a run binds: addresses of the extra inputs. Lives on the caller's stack while the kernel runs.
  struct Bound {
    const RowEpilogue* epilogue;
    const void* extras[cpu::Tape::kMaxInputs];
  };
  /// `in` is RunArgs::in. `bias`: one value a column or null.
  cpu::Epilogue bind(const void* const* in, const float* bias, Bound& bound) const;

 private:
  static void apply(const void* ctx, float* data, int64_t row_begin, int64_t rows, int64_t ld, int64_t col_begin,
                    int64_t cols);

  cpu::Epilogue::Act act_ = cpu::Epilogue::kNone;
  float lo_ = 0, hi_ = 0, mul_ = 1, add_ = 0;
  std::optional<cpu::Tape> tape_;
  std::vector<RowOperand> extras_;
  std::vector<int64_t> row_dims_;
  size_t first_extra_ = 0;
};

}  // namespace tenon
