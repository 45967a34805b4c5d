// Functions of a byte as tables of 256 values: what a chain of elementwise operations between an 8-bit input and its
// result comes to. Thread-safe; nothing is allocated.
#pragma once

#include <cstdint>

namespace tenon::cpu {

/// `rows` rows of `cols` bytes, `ld` elements from row to row; `to` may be `from`.
struct LookupRows {
  const uint8_t* from;
  int64_t from_ld;
  int64_t to_ld;
  int64_t rows, cols;
};

/// to[i] = table[from[i]], 256 bytes.
void lookup_bytes(const uint8_t* table, const LookupRows& rows, uint8_t* to);
/// The same with 256 floats; `to` may not overlap `from`.
void lookup_floats(const float* table, const LookupRows& rows, float* to);

}  // namespace tenon::cpu
