// Recognises epilogues of 8-bit kernels that are a requantisation: the accumulator times a constant scale, plus a
// constant bias, bounded and quantised by scalars, and from there on a function of the one byte. Kernels do the first
// part in their registers, and a table of 256 values does the rest, however long it is.
#pragma once

#include <optional>
#include <vector>

#include "cpu/qgemm.hpp"
#include "tactic/tactic.hpp"

namespace tenon {

struct RequantForm {
  std::vector<float> scale;  // one a column
  std::vector<float> bias;   // one a column, or none
  float lo = 0, hi = 0;      // of the scaled value
  int32_t zero = 0;
  cpu::QType type = cpu::QType::kU8;
  std::vector<uint8_t> bytes;  // [256], or none: the byte is the result
  std::vector<float> floats;   // [256] when the result is float32
};

/// The epilogue of `problem` in that form; null when it is another. Bytes and floats are exactly what the nodes give;
/// the scaled value differs by its rounding (scale and quantisation scale are divided beforehand).
std::optional<RequantForm> requant_form(const Problem& problem, int column_axis);

/// All 256 results of a body of elementwise nodes with one 8-bit input, in the order of the byte's bits: bytes or
/// floats by the result's type. False when it has another form.
bool tabulate(const Graph& body, std::vector<uint8_t>& bytes, std::vector<float>& floats);

}  // namespace tenon
